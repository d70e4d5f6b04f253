"""The routes of the Open Inference Protocol, version 2: tensors for a release's graph."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from serving.catalogue import Catalogue
from serving.formats import MEDIA
from serving.runtime import Runtime
from serving.tensors import Graph, infer_arrow, infer_json


class Server(BaseModel):
    """The server."""

    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    """Whether the server answers."""

    live: bool


class Ready(BaseModel):
    """Whether releases are loaded."""

    ready: bool
    board: str | None = Field(None, description="What is wrong with the board's decisions.")


class ModelReady(Ready):
    """Whether a model may be asked."""

    name: str


class TensorEntry(BaseModel):
    """A tensor that a model takes or gives; -1 stands for the samples."""

    name: str
    datatype: str
    shape: list[int]


class ModelEntry(BaseModel):
    """A model: the graph of a dataset's release."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorEntry]
    outputs: list[TensorEntry]


class Output(TensorEntry):
    """A tensor given, its values in row order."""

    data: list[float]


class Inferred(BaseModel):
    """What a model gives for tensors."""

    model_config = ConfigDict(protected_namespaces=())

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[Output]


_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape", "data"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": ["FP32", "INT64"]},
        "shape": {"type": "array", "items": {"type": "integer"}},
        "data": {
            "type": "array",
            "items": {},
            "description": "Numbers in row order, flat or nested; null where a value is missing.",
        },
    },
}
_BODY = {
    "required": True,
    "content": {
        MEDIA["json"]: {
            "schema": {
                "type": "object",
                "required": ["inputs"],
                "properties": {
                    "id": {"type": "string"},
                    "inputs": {"type": "array", "items": _TENSOR},
                    "outputs": {"type": "array", "items": {"type": "object"}},
                },
            }
        },
        MEDIA["arrow"]: {"schema": {"type": "string", "format": "binary"}},
    },
}


def add_inference(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the routes over a catalogue of releases."""
    graph = lru_cache(maxsize=32)(Graph)

    @app.get("/v2", response_model=Server, tags=["tensors"])
    def server() -> Any:
        """The server, by the Open Inference Protocol."""
        told = {"name": "felsina", "version": app.version, "extensions": ["arrow_stream"]}
        return JSONResponse(told)

    @app.get("/v2/health/live", response_model=Live, tags=["tensors"])
    def live() -> Any:
        """The process answers."""
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", response_model=Ready, tags=["tensors"])
    def ready() -> Any:
        """Whether a release is loaded, 503 while none is; and what is wrong with decisions."""
        loaded = bool(catalogue.runtimes())
        fault = "" if catalogue.approvals is None else catalogue.approvals.fault
        told = {"ready": loaded} | ({"board": fault} if fault else {})
        return JSONResponse(told, 200 if loaded else 503)

    @app.get("/v2/models/{model}", response_model=ModelEntry, tags=["tensors"])
    def metadata(model: str) -> Any:
        """The tensors that the graph of a dataset's release takes and gives."""
        one = graph(catalogue.runtime(model))
        return JSONResponse(
            {
                "name": model,
                "versions": [one.runtime.release.id],
                "platform": "onnx_onnxruntime",
                "inputs": [tensor.told() for tensor in one.inputs.values()],
                "outputs": [one.output.told()],
            },
            headers=_released(one.runtime),
        )

    @app.get("/v2/models/{model}/ready", response_model=ModelReady, tags=["tensors"])
    def model_ready(model: str) -> Any:
        """Whether a model may be asked; 404 where it is not served."""
        release = catalogue.runtime(model).release
        return JSONResponse({"name": release.spec.dataset, "ready": True})

    @app.post(
        "/v2/models/{model}/infer",
        response_model=Inferred,
        responses={200: {"content": {MEDIA["arrow"]: {}}}},
        openapi_extra={"requestBody": _BODY},
        tags=["tensors"],
    )
    async def infer(model: str, request: Request) -> Any:
        """Quantiles for tensors that you bring; the answer's format is that of the body."""
        content = await request.body()
        arrow = request.headers.get("content-type", "").startswith(MEDIA["arrow"])

        def answer() -> Response:
            one = graph(catalogue.runtime(model))
            found = (infer_arrow if arrow else infer_json)(one, content)
            media = MEDIA["arrow" if arrow else "json"]
            return Response(found, media_type=media, headers=_released(one.runtime))

        return await run_in_threadpool(answer)


def _released(runtime: Runtime) -> dict[str, str]:
    return {"felsina-release": runtime.release.id}
