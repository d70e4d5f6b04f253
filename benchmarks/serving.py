"""What a request costs the serving process, beside the graph alone and beside other servers.

    python -m benchmarks.serving requests [--home HOME] [--nodes 500] [--rounds 3]

CPU milliseconds a request of the server's processes (``/proc/PID/stat``), which other work on the
machine disturbs less than time on the clock; the load comes from this process, one connection that
is kept. All servers run the same graph on one thread. Progress on stderr, Markdown on stdout.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.serving_home import NAME, make_home
from benchmarks.tables import head, row
from models.exported import open_session
from models.windows import WindowBuilder
from serving.gate.keys import Keys
from serving.store import Store

_ENVIRONMENT = {
    "BENTOML_DO_NOT_TRACK": "True",
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # MLflow calls uvicorn by name
}
TICKS = os.sysconf("SC_CLK_TCK")
JSON, ARROW = "application/json", "application/vnd.apache.arrow.stream"
TEN = "nodes=" + ",".join(f"n{n:04}" for n in range(10))
_CACHED = (1.0, "empty", 1.5)
BARS = {
    "cached GET, JSON": _CACHED,
    "cached GET, ten nodes": _CACHED,
    "cached GET, gzip": _CACHED,
    "cached GET, 304": _CACHED,
    "computed GET": (None, "floor", 2.5),
    "Arrow tensors": (None, "floor", 2.0),
    "JSON tensors": (None, "floor", 6.0),
}
"""Milliseconds at most, what else it is held against, and how many times that at most."""


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    port: int
    key: dict[str, str] = field(default_factory=dict)
    link: http.client.HTTPConnection = field(init=False)

    def __post_init__(self) -> None:
        self.link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        """One request; what comes back must be a success."""
        self.link.request(method, path, body, headers | self.key)
        answer = self.link.getresponse()
        content = answer.read()
        if answer.status not in (200, 304):
            raise SystemExit(f"{method} {path}: {answer.status} {content[:300]!r}")
        return content

    def cpu(self) -> float:
        """Seconds of the processor so far, of the process and those it started."""
        total = 0.0
        for pid in family(self.process.pid):
            parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(parts[11]) + int(parts[12])) / TICKS
        return total


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    found = [pid]
    for member in found:
        for task in Path(f"/proc/{member}/task").glob("*/children"):
            found += [int(child) for child in task.read_text().split()]
    return found


@contextmanager
def started(command: list[str], probe: str, **environment: str) -> Iterator[Server]:
    """A server that answers; ``{port}`` in the command is a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.replace("{port}", str(port)) for part in command)],
        env=os.environ | _ENVIRONMENT | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        for _ in range(1200):
            try:
                probing = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                probing.request("GET", probe)
                if probing.getresponse().status < 500:
                    break
            except OSError:
                time.sleep(0.1)
            if process.poll() is not None:
                raise SystemExit(f"{command} ended by itself")
        yield Server(process, port)
    finally:
        for pid in family(process.pid):  # BentoML's workers are in groups of their own
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@dataclass(frozen=True)
class Kind:
    """A kind of request."""

    name: str
    server: str
    times: int
    method: str
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)


def window(release: Path) -> tuple[WindowBuilder, dict[str, np.ndarray]]:
    """The inputs of one sample, gaps filled: some of the rivals cannot say NaN."""
    from benchmarks.serving_home import city, series

    manifest = json.loads((release / "manifest.json").read_bytes())
    nodes = len(json.loads((release / "graph.json").read_bytes())["ids"])
    end = np.datetime64(manifest["data"]["start"].rstrip("Z"), "s") + np.timedelta64(
        60 * 24 - 1, "h"
    )
    start, flow, warm = series(nodes, end)
    builder = WindowBuilder(city(nodes)[0], start, flow, warm)
    arrays = builder.batch(np.array([1000])).inputs()
    return builder, {n: np.nan_to_num(a) if a.dtype.kind == "f" else a for n, a in arrays.items()}


def tensors(arrays: dict[str, np.ndarray]) -> dict[str, bytes]:
    """One sample as each server wants it."""
    import pyarrow as pa

    from benchmarks.serving_rivals import packed

    listed = [
        {
            "name": name,
            "datatype": "FP32" if array.dtype.kind == "f" else "INT64",
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in arrays.items()
    ]
    columns = [pa.FixedShapeTensorArray.from_numpy_ndarray(a) for a in arrays.values()]
    batch, sink = pa.RecordBatch.from_arrays(columns, names=list(arrays)), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    nested = {name: array.tolist() for name, array in arrays.items()}
    return {
        "json": json.dumps({"inputs": listed}).encode(),
        "arrow": sink.getvalue().to_pybytes(),
        "packed": packed(arrays),
        "nested": json.dumps(nested).encode(),
        "mlflow": json.dumps({"inputs": nested}).encode(),
    }


def kinds(bodies: dict[str, bytes], tag: str) -> list[Kind]:
    """Every kind of request that is measured."""
    url, infer = f"/v1/forecasts/{NAME}", f"/v2/models/{NAME}/infer"
    post, stream = {"content-type": JSON}, {"content-type": ARROW}
    zipped, plain = {"accept-encoding": "gzip"}, {"accept-encoding": "identity"}
    return [
        Kind("empty mounted route", "rival", 1000, "GET", "/mounted/empty"),
        Kind("cached GET, JSON", "felsina", 1000, "GET", url, None, plain),
        Kind("cached GET, ten nodes", "felsina", 1000, "GET", f"{url}?{TEN}", None, plain),
        Kind("cached GET, gzip", "felsina", 1000, "GET", url, None, zipped),
        Kind("cached GET, 304", "felsina", 1000, "GET", url, None, plain | {"if-none-match": tag}),
        Kind("computed GET", "felsina", 60, "GET", f"{url}?{TEN}&init_time={{time}}"),
        Kind("Arrow tensors", "felsina", 60, "POST", infer, bodies["arrow"], stream),
        Kind("JSON tensors", "felsina", 40, "POST", infer, bodies["json"], post),
        Kind("bare Starlette, binary", "bare", 60, "POST", "/infer", bodies["packed"]),
        Kind("BentoML @api, JSON", "rival", 30, "POST", "/infer", bodies["nested"], post),
        Kind(
            "mlflow models serve, JSON",
            "mlflow",
            20,
            "POST",
            "/invocations",
            bodies["mlflow"],
            post,
        ),
    ]


def requests(release: Path, home: Path, place: Path, rounds: int) -> None:
    """Every kind of request in turn, several times over."""
    os.environ["FELSINA_GRAPH"] = str(graph := release / "model.onnx")
    from benchmarks.serving_rivals import save_mlflow
    from tests.fixtures.boards import charter_of

    builder, arrays = window(release)
    save_mlflow(graph, place / "mlflow", arrays)
    session, bodies = open_session(graph), tensors(arrays)
    store = {"FELSINA_HOME": str(home), "FELSINA_STORE": str(home / "observations.db")}
    store["FELSINA_BOARD"] = str(charter_of(home))
    place_of = ["--host", "127.0.0.1", "--port", "{port}"]
    bento = ["bentoml", "serve", *place_of]
    plain = ["uvicorn", "benchmarks.serving_rivals:starlette", "--log-level", "error", *place_of]
    scoring = ["mlflow", "models", "serve", "-m", str(place / "mlflow"), "--env-manager", "local"]
    with (
        started([*bento, "serving.service:Felsina"], "/readyz", **store) as one,
        started([*bento, "benchmarks.serving_rivals:Rival"], "/readyz") as rival,
        started(plain, "/") as bare,
        started([*scoring, *place_of], "/ping") as flow,
    ):
        servers = {"felsina": one, "rival": rival, "bare": bare, "mlflow": flow}
        keys = Keys(Store(home / "observations.db").engine)
        one.key["authorization"] = f"Bearer {keys.create(f'load-{time.time_ns()}', 'read', 1e6)}"
        whole = {"accept-encoding": "identity"} | one.key
        one.link.request("GET", f"/v1/forecasts/{NAME}", headers=whole)
        answer = one.link.getresponse()
        answer.read()
        asked = kinds(bodies, answer.headers["etag"])
        newest = builder.times(np.arange(len(builder.values)))[:-100:][::-1]
        hours = (f"{newest[i]}Z" for i in count())
        spent: dict[str, list[float]] = {"floor": []} | {kind.name: [] for kind in asked}
        for _ in range(rounds):
            began = time.process_time()
            for _ in range(100):
                session.run(None, arrays)
            spent["floor"].append(10 * (time.process_time() - began))
            for kind in asked:
                spent[kind.name].append(each(servers[kind.server], kind, hours))
                print(f"{kind.name}: {spent[kind.name][-1]:.2f} ms", file=sys.stderr, flush=True)
    tell(spent, {name: len(body) for name, body in bodies.items()})


def each(server: Server, kind: Kind, hours: Iterator[str]) -> float:
    """CPU milliseconds a request, after a few that do not count."""
    began = 0.0
    server.link.close()  # the server ends what was idle for long; the next request opens anew
    for turn in range(-3, kind.times):
        if turn == 0:
            began = server.cpu()
        path = kind.path.replace("{time}", next(hours)) if "{time}" in kind.path else kind.path
        server.ask(kind.method, path, kind.body, kind.headers)
    return 1000 * (server.cpu() - began) / kind.times


def tell(spent: dict[str, list[float]], sizes: dict[str, int]) -> None:
    """The table: medians, ratios and whether the bars are met."""
    middle = {name: float(np.median(values)) for name, values in spent.items()}
    against = {"floor": middle["floor"], "empty": middle["empty mounted route"]}
    head("request", "CPU ms", "rounds", "x graph", "x empty", "bar")
    for name, value in middle.items():
        bars = []
        most, base, times = BARS.get(name, (None, "", 0.0))
        if most is not None:
            bars.append(f"<= {most} ms: {'yes' if value <= most else '**no**'}")
        if base:
            met = value <= times * against[base]
            bars.append(f"<= {times} x {base}: {'yes' if met else '**no**'}")
        rounds = " ".join(f"{one:.2f}" for one in spent[name])
        ratios = (f"{value / against[key]:.2f}" for key in ("floor", "empty"))
        row(name, f"{value:.2f}", rounds, *ratios, "; ".join(bars))
    told = ", ".join(f"{name} {size // 1000} kB" for name, size in sizes.items())
    print(f"\nBodies: {told}.")


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description="What requests cost.")
    parser.add_argument("what", choices=("requests",))
    parser.add_argument("--home", type=Path)
    parser.add_argument("--nodes", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = options.home or Path(place, "home")
        release = make_home(home.resolve(), options.nodes)
        requests(release, home.resolve(), Path(place), options.rounds)


if __name__ == "__main__":
    main()
