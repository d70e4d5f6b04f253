"""Tensors in, tensors out: the graph of a release by itself, as JSON or as an Arrow stream.

JSON as the Open Inference Protocol has it (version 2, https://kserve.github.io/website); NaN, which
JSON lacks, is null. In Arrow each tensor is a column of ``arrow.fixed_shape_tensor``
(https://arrow.apache.org/docs/format/CanonicalExtensions.html), each sample a row.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument, RunOptions

from models.contracts import FelsinaError
from serving.arrow import numbers, stream
from serving.runtime import Runtime
from serving.schemas import MOST_VALUES

MOST_SAMPLES = 512
"""Largest batch of an exported graph."""
_KINDS = {
    "tensor(float)": ("FP32", np.dtype("<f4"), pa.float32()),
    "tensor(int64)": ("INT64", np.dtype("<i8"), pa.int64()),
}

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes:
        name: of it.
        datatype: as the protocol calls it.
        dtype: of its array.
        arrow: type of its values.
        shape: of one sample.
    """

    name: str
    datatype: str
    dtype: np.dtype[Any]
    arrow: pa.DataType
    shape: tuple[int, ...]

    def told(self) -> dict[str, Any]:
        """Metadata of the protocol; -1 stands for the samples."""
        return {"name": self.name, "datatype": self.datatype, "shape": [-1, *self.shape]}


class Graph:
    """The tensors that a release's graph takes and gives.

    Args:
        runtime: of the release.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, session = runtime, runtime.session
        self.inputs = {
            node.name: _tensor(node, tuple(node.shape[1:])) for node in session.get_inputs()
        }
        spec, nodes = runtime.release.spec, runtime.release.graph.nodes
        (output,) = session.get_outputs()
        self.output = _tensor(output, (spec.horizon, nodes, len(spec.quantiles)))
        self.most = max(1, min(MOST_SAMPLES, MOST_VALUES // int(np.prod(self.output.shape))))

    @cached_property
    def masked(self) -> frozenset[str]:
        """Inputs that may hold NaN: the graph reads a mask off them and stays finite."""
        zeros = {t.name: np.zeros((1, *t.shape), t.dtype) for t in self.inputs.values()}

        def finite(name: str) -> bool:
            part = zeros[name].copy()
            part.reshape(-1)[::2] = np.nan
            return bool(np.isfinite(self._run(zeros | {name: part})).all())

        floats = [t.name for t in self.inputs.values() if t.dtype.kind == "f"]
        return frozenset(name for name in floats if finite(name))

    def infer(self, given: Tensors) -> NDArray[Any]:
        """Quantiles [B, H, N, Q] of a batch.

        Raises:
            FelsinaError: naming the tensor that is missing, unknown or does not fit.
        """
        if set(given) != set(self.inputs):
            wrong = ", ".join(sorted(set(given) ^ set(self.inputs)))
            raise FelsinaError(f"inputs: {wrong}; the graph takes {', '.join(self.inputs)}")
        samples = {len(array) for array in given.values()}
        if len(samples) > 1 or not 1 <= max(samples) <= self.most:
            some = ", ".join(map(str, sorted(samples)))
            raise FelsinaError(f"inputs hold {some} samples; give each 1 to {self.most} alike")
        for name, array in given.items():
            if array.dtype.kind != "f" or np.isfinite(array.sum()):
                continue
            if np.isinf(array).any():
                raise FelsinaError(f"input {name}: a value is not finite")
            if np.isnan(array).any() and name not in self.masked:
                raise FelsinaError(f"input {name}: a value is missing, and the graph has no mask")
        found = self._run(given)
        if not np.isfinite(found).all():
            raise FelsinaError(
                "the inputs lie so far outside what the model knows that it has no number for them"
            )
        return found

    def _run(self, given: Tensors) -> NDArray[Any]:
        try:
            return np.asarray(self.runtime.session.run(None, given, _quiet())[0])
        except InvalidArgument as error:  # what a graph of ours says of an index in its calendar
            whole = [name for name, tensor in self.inputs.items() if tensor.dtype.kind == "i"]
            raise FelsinaError(
                f"inputs {', '.join(whole)}: a value is beyond what the graph counts; give the "
                "calendar that the dataset's windows have"
            ) from error


def _quiet() -> RunOptions:
    """Without the runtime's own lines on stderr: what a caller got wrong, the caller is told."""
    options = RunOptions()
    options.log_severity_level = 4
    return options


def _tensor(node: Any, shape: tuple[int, ...]) -> Tensor:
    datatype, dtype, arrow = _KINDS[node.type]
    return Tensor(node.name, datatype, dtype, arrow, tuple(int(size) for size in shape))


def infer_json(graph: Graph, content: bytes) -> bytes:
    """The protocol's answer to its request."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise FelsinaError(f"body: no JSON: {error}") from error
    listed = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise FelsinaError("body: give an object with a list of inputs")
    wanted = body.get("outputs") or [{"name": graph.output.name}]
    if not isinstance(wanted, list) or any(
        not isinstance(one, dict) or one.get("name") != graph.output.name for one in wanted
    ):
        raise FelsinaError(f"outputs: the graph gives {graph.output.name} alone")
    if not isinstance(body.get("id", ""), str):
        raise FelsinaError("id: give a text")
    given: Tensors = {}
    for one in listed:
        tensor = _known(graph, one.get("name"), given)
        given[tensor.name] = _read(tensor, one)
    found = graph.infer(given)
    release = graph.runtime.release
    answer = {
        "model_name": release.spec.dataset,
        "model_version": release.id,
        **({"id": body["id"]} if "id" in body else {}),
        "outputs": [
            {
                "name": graph.output.name,
                "shape": list(found.shape),
                "datatype": graph.output.datatype,
                "data": np.ascontiguousarray(found).reshape(-1),
            }
        ],
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _known(graph: Graph, name: Any, given: Mapping[str, object]) -> Tensor:
    if not isinstance(name, str) or name not in graph.inputs:
        known = ", ".join(graph.inputs)
        raise FelsinaError(f"input {str(name)[:60]!r} is unknown; the graph takes {known}")
    if name in given:
        raise FelsinaError(f"input {name}: given twice")
    return graph.inputs[name]


def _read(tensor: Tensor, one: dict[str, Any]) -> NDArray[Any]:
    """An input's array from its JSON object; its data may be flat or nested."""
    name, shape, data = tensor.name, one.get("shape"), one.get("data")
    if one.get("datatype") != tensor.datatype:
        raise FelsinaError(
            f"input {name}: datatype {str(one.get('datatype'))[:20]!r}; the graph takes "
            f"{tensor.datatype}"
        )
    expected = f"[samples, {', '.join(map(str, tensor.shape))}]"
    if (
        not isinstance(shape, list)
        or {type(size) for size in shape} != {int}
        or tuple(shape[1:]) != tensor.shape
    ):
        raise FelsinaError(f"input {name}: shape {str(shape)[:60]}; the graph takes {expected}")
    flat = _leaves(name, data if isinstance(data, list) else [])
    whole = tensor.dtype.kind == "i"
    try:
        if not set(map(type, flat)) <= ({int} if whole else {int, float, type(None)}):
            raise OverflowError
        raw = np.array(flat, np.int64 if whole else np.float64)  # where null is NaN
    except OverflowError as error:
        raise FelsinaError(f"input {name}: data holds what is no {tensor.datatype}") from error
    if raw.size != shape[0] * int(np.prod(tensor.shape)) or not raw.size:
        raise FelsinaError(f"input {name}: {raw.size} values do not fill shape {str(shape)[:60]}")
    with np.errstate(over="ignore"):  # what becomes infinite is refused with the rest
        return raw.reshape(shape).astype(tensor.dtype)


def _leaves(name: str, data: list[Any]) -> list[Any]:
    """What lists in lists hold, in order; an array of it all is made once its types are known.

    One long text among numbers would make numpy hold as many bytes for each of them.
    """
    while set(map(type, data)) == {list}:
        if len(set(map(len, data))) > 1:
            raise FelsinaError(f"input {name}: data is ragged")
        data = [value for part in data for value in part]
    return data


def infer_arrow(graph: Graph, content: bytes) -> bytes:
    """The answer to a stream: one column, a sample a row."""
    try:
        parts = _columns(graph, content)
    except (pa.ArrowException, OSError, StopIteration, ValueError, struct.error) as error:
        text = str(error).partition("\n")[0][:200]
        raise FelsinaError(f"body: no Arrow stream of tensors: {text}") from error
    found = graph.infer(
        {n: p[0] if len(p) == 1 else np.concatenate(p) for n, p in parts.items() if p}
    )
    tensor = graph.output
    values = numbers(found.astype(tensor.dtype, copy=False).reshape(-1), tensor.arrow)
    storage = pa.FixedSizeListArray.from_arrays(values, int(np.prod(tensor.shape)))
    kind = pa.fixed_shape_tensor(tensor.arrow, tensor.shape)
    column = pa.ExtensionArray.from_storage(kind, storage)
    return stream(pa.RecordBatch.from_arrays([column], names=[tensor.name]))


def _columns(graph: Graph, content: bytes) -> dict[str, list[NDArray[Any]]]:
    """Arrays of each column, one a batch of the stream."""
    buffer = pa.py_buffer(content)
    for place, message in enumerate(pa.ipc.MessageReader.open_stream(buffer)):
        if message.type != ("record batch" if place else "schema") or (
            place and _compressed(message.metadata.to_pybytes())
        ):
            raise FelsinaError(
                "body: send a schema and plain batches, not compressed, without dictionaries"
            )
    reader = pa.ipc.open_stream(buffer)
    schema = reader.schema
    found: dict[str, list[NDArray[Any]]] = {}
    for field in schema:
        tensor = _known(graph, field.name, found)
        expected = pa.fixed_shape_tensor(tensor.arrow, tensor.shape)
        if field.type != expected:
            raise FelsinaError(
                f"input {field.name}: {str(field.type)[:120]}; the graph takes "
                f"{tensor.datatype} of shape {list(tensor.shape)} a row"
            )
        found[field.name] = []
    for batch in reader:
        batch.validate(full=True)
        for name, column in zip(schema.names, batch.columns, strict=True):
            values = column.storage.flatten()
            if column.null_count or values.null_count:
                raise FelsinaError(f"input {name}: a value is null; write NaN where one is missing")
            tensor = graph.inputs[name]
            raw = np.frombuffer(values.buffers()[1], tensor.dtype)
            rows = raw[values.offset : values.offset + len(values)]
            found[name].append(rows.reshape(-1, *tensor.shape))
    return found


def _compressed(metadata: bytes) -> bool:
    """Whether a record batch says that its buffers are compressed (Arrow's Message.fbs).

    A few bytes may unpack to more than the memory there is, before anything can be checked.
    """

    def field(table: int, slot: int) -> int:
        """Place of a table's field; 0 where it is left out."""
        start = table - struct.unpack_from("<i", metadata, table)[0]
        size = struct.unpack_from("<H", metadata, start)[0]
        at = 4 + 2 * slot
        offset = struct.unpack_from("<H", metadata, start + at)[0] if at < size else 0
        return table + offset if offset else 0

    header = field(struct.unpack_from("<I", metadata)[0], 2)
    batch = header + struct.unpack_from("<I", metadata, header)[0]
    return bool(field(batch, 3))
