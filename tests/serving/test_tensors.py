"""Tensor calls: what the graph says, by the Open Inference Protocol and by Arrow."""

import json
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from serving.formats import MEDIA
from serving.release import load_release
from serving.runtime import Runtime
from serving.tensors import Graph, infer_json
from tests.fixtures.tensors import Arrays, as_batch, as_stream
from tests.fixtures.tiny import Tiny

URL = "/v2/models/tiny/infer"
ARROW = {"content-type": MEDIA["arrow"]}


@pytest.fixture
def arrays(tiny: Tiny) -> Arrays:
    """Three windows, with their gaps."""
    found = tiny.builder.batch(tiny.origins[[0, 5, 50]]).inputs()
    assert np.isnan(found["past"]).any()
    return found


def as_json(arrays: Arrays) -> dict[str, Any]:
    kinds = {"f": "FP32", "i": "INT64"}
    return {
        "inputs": [
            {
                "name": name,
                "datatype": kinds[array.dtype.kind],
                "shape": list(array.shape),
                "data": [None if v != v else v for v in array.ravel().tolist()],
            }
            for name, array in arrays.items()
        ]
    }


def read(content: bytes) -> np.ndarray:
    (column,) = pa.ipc.open_stream(content).read_all().combine_chunks().columns
    return column.combine_chunks().to_numpy_ndarray()


@pytest.fixture
def truth(tiny: Tiny, arrays: Arrays) -> np.ndarray:
    runtime = Runtime(load_release(tiny.release))
    return runtime.session.run(None, arrays)[0]


def test_both_formats_give_what_the_graph_says(client: TestClient, tiny, arrays, truth) -> None:
    body = as_json(arrays) | {"id": "seven", "outputs": [{"name": "quantiles"}]}
    answer = client.post(URL, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["felsina-release"] == tiny.release.name
    told = answer.json()
    (output,) = told.pop("outputs")
    assert told == {"model_name": "tiny", "model_version": tiny.release.name, "id": "seven"}
    assert (output["name"], output["datatype"]) == ("quantiles", "FP32")
    found = np.array(output["data"], "f4").reshape(output["shape"])
    np.testing.assert_array_equal(found, truth)
    answer = client.post(URL, content=as_stream(as_batch(arrays)), headers=ARROW)
    assert answer.headers["content-type"] == MEDIA["arrow"]
    np.testing.assert_array_equal(read(answer.content), truth)


def test_data_may_be_nested_and_batches_many(client: TestClient, arrays, truth) -> None:
    body = as_json(arrays)
    for one, array in zip(body["inputs"], arrays.values(), strict=True):
        one["data"] = np.where(array != array, None, array).tolist()
    (output,) = client.post(URL, json=body).json()["outputs"]
    np.testing.assert_array_equal(np.array(output["data"], "f4"), truth.ravel())
    whole = as_batch(arrays)
    parts = as_stream(whole.slice(0, 1), whole.slice(1, 2))
    answer = client.post(URL, content=parts, headers=ARROW)
    np.testing.assert_array_equal(read(answer.content), truth)


def test_what_a_model_takes_and_gives_is_told(client: TestClient, tiny, arrays) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "felsina"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    told = client.get("/v2/models/tiny").json()
    assert told["versions"] == [tiny.release.name]
    shapes = {one["name"]: one["shape"] for one in told["inputs"]}
    assert shapes == {name: [-1, *array.shape[1:]] for name, array in arrays.items()}
    assert told["outputs"] == [{"name": "quantiles", "datatype": "FP32", "shape": [-1, 6, 4, 11]}]
    for path in ("", "/ready"):
        absent = client.get(f"/v2/models/nosuch{path}")
        assert absent.status_code == 404
        assert absent.json()["error"] == absent.json()["detail"]


def changed(position: int, **parts: Any):
    return lambda body: body["inputs"][position].update(parts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.pop("inputs"), "list of inputs"),
        (lambda body: body["inputs"].pop(), "inputs: future_calendar"),
        (lambda body: body["inputs"].append(body["inputs"][0]), "input past: given twice"),
        (changed(0, name="nosuch"), "'nosuch' is unknown; the graph takes past"),
        (changed(0, name=["past"]), "is unknown"),
        (changed(0, datatype="FP64"), "'FP64'; the graph takes FP32"),
        (changed(0, shape=[3, 48, 5]), "takes [samples, 48, 4]"),
        (changed(0, shape=[]), "takes [samples, 48, 4]"),
        (changed(0, shape=[4, 48, 4]), "do not fill"),
        (changed(0, shape=[-1, 48, 4]), "do not fill"),
        (changed(0, shape=[True, 48, 4], data=[1.0] * 192), "takes [samples, 48, 4]"),
        (changed(0, shape=[3, 48.0, 4]), "takes [samples, 48, 4]"),
        (changed(0, shape=[0, 48, 4], data=[]), "do not fill"),
        (changed(0, data="x"), "do not fill"),
        (changed(0, data=[[1.0], [1.0, 2.0]]), "ragged"),
        (changed(0, data=[1.0, [2.0]]), "no FP32"),
        (changed(0, data=["1.0"] * 576), "no FP32"),
        (changed(0, data=[True] * 576), "no FP32"),
        (changed(0, data=[None, True] * 288), "no FP32"),
        (changed(0, data=[1e39] * 576), "input past: a value is not finite"),
        (changed(4, data=[0.5] * 864), "no INT64"),
        (changed(4, data=[None] * 864), "no INT64"),
        (changed(4, data=[2**63] * 864), "no INT64"),
        (changed(4, data=[True] * 864), "no INT64"),
        (changed(4, data=[10**6] * 864), "a value is beyond what the graph counts"),
        (changed(4, data=[-(10**6)] * 864), "a value is beyond what the graph counts"),
        (lambda body: body.update(outputs=[{"name": "x"}]), "gives quantiles alone"),
        (lambda body: body.update(id=7), "id: give a text"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(client, arrays, change, said, capfd) -> None:
    body = as_json(arrays)
    assert [one["name"] for one in body["inputs"]][4] == "past_calendar"
    assert client.post(URL, json=body).status_code == 200
    change(body)
    answer = client.post(URL, json=body)
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert capfd.readouterr().err == ""


def test_one_long_text_does_not_take_its_length_for_every_value(tiny, arrays) -> None:
    graph, body = Graph(Runtime(load_release(tiny.release))), as_json(arrays)

    def peak() -> int:
        tracemalloc.start()
        try:
            with suppress(FelsinaError):
                infer_json(graph, json.dumps(body).encode())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    whole = peak()
    for data in (["x" * 100_000] + [1.0] * 575, [[["x" * 100_000, 1.0]] * 2] * 144):
        body["inputs"][0]["data"] = data
        assert peak() < whole + 40 * len(json.dumps(data))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"inputs": [NaN]}', b'{"inputs": [1]}'])
def test_a_body_that_is_no_request_is_refused(client: TestClient, content: bytes) -> None:
    assert client.post(URL, content=content).status_code == 422
    assert client.post(URL, content=content, headers=ARROW).status_code == 422


def test_arrow_that_does_not_fit_is_refused(client: TestClient, arrays) -> None:
    whole = as_batch(arrays)
    plain = whole.drop_columns(["past"]).append_column("past", pa.array([1.0, 2.0, 3.0]))
    renamed = whole.rename_columns(["nosuch", *whole.schema.names[1:]])
    wrong = as_batch(arrays | {"past": arrays["past"][:, :-1]})
    doubled = as_batch(arrays | {"past": arrays["past"].astype("f8")})
    infinite = as_batch(arrays | {"past": np.full_like(arrays["past"], np.inf)})
    nothing = whole.slice(0, 0)
    good = as_stream(whole)
    for content, said in (
        (as_stream(plain), "input past: double"),
        (as_stream(renamed), "'nosuch' is unknown"),
        (as_stream(wrong), "shape [48, 4] a row"),
        (as_stream(doubled), "shape [48, 4] a row"),
        (as_stream(infinite), "not finite"),
        (as_stream(nothing), "0 samples"),
        (as_stream(whole, compression="zstd"), "plain batches, not compressed"),
        (as_stream(whole, compression="lz4"), "plain batches, not compressed"),
        (good[: len(good) // 2], "no Arrow stream"),
        (good[:200], ""),
        (good[8:], ""),
    ):
        answer = client.post(URL, content=content, headers=ARROW)
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["error"]


def test_bytes_that_were_changed_never_break_the_server(client: TestClient, arrays) -> None:
    good = as_stream(as_batch(arrays))
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(150):
        content = bytearray(good)
        for place in rng.integers(0, 2500, 3):  # of the schema and the first batch's head
            content[place] = rng.integers(0, 256)
        seen.add(client.post(URL, content=bytes(content), headers=ARROW).status_code)
    assert seen <= {200, 422}
    assert 422 in seen


def test_a_stream_that_begins_with_a_batch_is_refused(client: TestClient, arrays) -> None:
    """Arrow's reader of schemas reads out of bounds where it is handed something else."""
    good = as_stream(as_batch(arrays))
    (reader := pa.ipc.MessageReader.open_stream(good)).read_next_message()
    batch = reader.read_next_message().serialize().to_pybytes()
    for content in (batch, batch + good, good + good):
        answer = client.post(URL, content=content, headers=ARROW)
        assert answer.status_code in (200, 422)
        assert (answer.status_code == 200) == (content == good + good)  # what follows is not read


def test_a_batch_has_a_bound(client: TestClient, tiny, arrays, monkeypatch) -> None:
    most = Graph(Runtime(load_release(tiny.release))).most
    assert most == 512
    many = {name: np.repeat(array[:1], most + 1, axis=0) for name, array in arrays.items()}
    answer = client.post(URL, content=as_stream(as_batch(many)), headers=ARROW)
    assert answer.status_code == 422
    assert f"{most + 1} samples; give each 1 to {most}" in answer.json()["error"]


def test_a_missing_value_is_taken_where_the_graph_masks_it(tiny, arrays, client) -> None:
    graph = Graph(Runtime(load_release(tiny.release)))
    for name in ("past", "lags", "past_forcings", "future_forcings"):
        part = arrays[name].copy()
        part.reshape(-1)[::3] = np.nan
        body = as_json(arrays | {name: part})
        status = client.post(URL, content=json.dumps(body)).status_code
        assert status == (200 if name in graph.masked else 422)
    assert "past" in graph.masked
