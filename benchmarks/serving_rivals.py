"""What Felsina's requests are measured beside: each serves the same graph, in the plainest way.

``benchmarks.serving`` starts them: ``starlette`` by uvicorn, ``Rival`` by BentoML, and MLflow's own
scoring server from what ``save_mlflow`` writes. ``FELSINA_GRAPH`` names the ONNX file.
"""

from __future__ import annotations

import os
from pathlib import Path

import bentoml
import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from models.exported import open_session

_session = open_session(Path(os.environ["FELSINA_GRAPH"]))
_inputs = [
    (node.name, np.dtype("<f4" if "float" in node.type else "<i8"), node.shape[1:])
    for node in _session.get_inputs()
]


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The inputs one after the other, without anything between."""
    return b"".join(arrays[name].astype(dtype).tobytes() for name, dtype, _ in _inputs)


def run_packed(content: bytes) -> bytes:
    """From ``packed`` inputs to the output's bytes."""
    arrays, at = {}, 0
    for name, dtype, shape in _inputs:
        size = int(np.prod(shape))
        arrays[name] = np.frombuffer(content, dtype, size, at).reshape(1, *shape)
        at += size * dtype.itemsize
    return _session.run(None, arrays)[0].tobytes()


async def _infer(request: Request) -> Response:
    return Response(await run_in_threadpool(run_packed, await request.body()))


async def _empty(_: Request) -> Response:
    return Response(b"")


starlette = Starlette(routes=[Route("/infer", _infer, methods=["POST"])])
mounted = Starlette(routes=[Route("/empty", _empty)])


@bentoml.service(name="rival", workers=1, threads=4, traffic={"timeout": 30, "max_concurrency": 64})
@bentoml.asgi_app(mounted, path="/mounted")
class Rival:
    """An empty route that is mounted, and an inference by arrays."""

    @bentoml.api
    def infer(
        self,
        past: np.ndarray,
        lags: np.ndarray,
        past_forcings: np.ndarray,
        future_forcings: np.ndarray,
        past_calendar: np.ndarray,
        future_calendar: np.ndarray,
    ) -> np.ndarray:
        """One window."""
        given = (past, lags, past_forcings, future_forcings, past_calendar, future_calendar)
        names = [name for name, _, _ in _inputs]
        kinds = [dtype for _, dtype, _ in _inputs]
        arrays = {n: a.astype(d) for n, d, a in zip(names, kinds, given, strict=True)}
        return _session.run(None, arrays)[0]


def save_mlflow(graph: Path, folder: Path, arrays: dict[str, np.ndarray]) -> None:
    """The graph as an MLflow model."""
    import mlflow.onnx
    import onnx
    from mlflow.models import infer_signature

    mlflow.onnx.save_model(
        onnx.load(graph),
        str(folder),
        signature=infer_signature(arrays),
        save_as_external_data=False,
    )
