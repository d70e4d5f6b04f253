"""The forecasting API as an ASGI app; BentoML hosts it (service.py)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from models.contracts import FelsinaError
from serving import formats, ngsi_ld, schemas
from serving.alerts.routes import add_alerts
from serving.card import add_card
from serving.catalogue import Catalogue, check_grid, now
from serving.decisions import add_decisions
from serving.drift import add_drift
from serving.events.routes import add_events
from serving.forecasts import add_forecasts
from serving.gate import Bodies, Slots
from serving.inference import add_inference
from serving.neighbourhoods.routes import add_neighbourhoods
from serving.openapi import describe, operation_id
from serving.page import add_page
from serving.ready import Ready
from serving.reports import Reports, add_reports
from serving.retention import rule_of
from serving.runtime import Runtime
from serving.scenarios import add_scenarios
from serving.schemas import MOST_VALUES
from serving.selection import Listed, Nothing, Observed, named
from serving.served import NotFound, Withheld
from serving.store import FORCED, OBSERVED

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "model": schemas.Problem,
        "content": {"application/problem+json": {}},
        "description": text,
    }
    for status, text in {
        400: "The request is malformed.",
        401: "A key is needed, or the one that was sent opens nothing.",
        403: "The key's role or datasets do not allow this.",
        404: "Nothing of that name is served, or nothing is held yet.",
        408: "The body came too slowly.",
        413: "Body too large.",
        422: "The input does not fit; `detail` says where and why.",
        429: "Over the rate, the quota, or what the server can compute; see `Retry-After`.",
        503: "The ethics board does not let this be served, or the server starts or ends.",
        504: "No answer in time; ask for less at once.",
    }.items()
}


WITHHELD_SECONDS = 60
"""When to ask again for what the board does not let be served now."""


def create_app(catalogue: Catalogue) -> FastAPI:
    """The API over a catalogue of releases."""
    app = FastAPI(
        title="Felsina",
        version=_version(),
        summary="Forecasts of traffic, energy demand and flood risk for the Bologna Digital Twin",
        docs_url=None,
        redoc_url=None,
        responses=_PROBLEMS,
        generate_unique_id_function=operation_id,
    )
    app.add_middleware(Slots)
    app.add_middleware(Ready, catalogue=catalogue)
    app.add_middleware(Bodies)
    _handle_errors(app)
    store = catalogue.store

    def entry(runtime: Runtime) -> dict[str, Any]:
        spec, release = runtime.release.spec, runtime.release
        _, latest = store.state(spec.dataset)
        return {
            "name": spec.dataset,
            "title": f"{spec.dataset.replace('-', ' ').capitalize()}: {spec.target}",
            **{k: getattr(spec, k) for k in ("domain", "target", "unit", "step", "timezone")},
            **{k: getattr(spec, k) for k in ("horizon", "lookback")},
            "lags": list(spec.lags),
            "nodes": release.graph.nodes,
            "release": release.id,
            "manifest_sha256": release.sha256,
            "approval": release.approval.state,
            "decision": release.approval.decision,
            "synthetic": release.manifest["data"]["synthetic"],
            "data_as_of": None if latest is None else schemas.iso(latest),
        }

    def accept(dataset: str, body: schemas.Table, kind: str) -> dict[str, Any]:
        runtime = catalogue.runtime(dataset)
        spec, graph = runtime.release.spec, runtime.release.graph
        table, stamps = body.array(), body.stamps()
        check_grid(runtime, *stamps)
        names = list(body.values)
        issued = None
        if isinstance(body, schemas.Forcings):
            known = {forcing.name: forcing for forcing in spec.forcings}
            for name in names:
                base, at, node = name.partition("@")
                if base not in known:
                    raise FelsinaError(
                        f"forcing {base!r} is unknown; known: {', '.join(known) or 'none'}"
                    )
                if at and runtime.forcing_places == 1:
                    raise FelsinaError(
                        f"forcing {name!r}: the model reads {base} for the whole city; drop @{node}"
                    )
                if at:
                    graph.index([node], f"forcing {name}")
            said = body.issued_at
            issued = now() if said is None else schemas.utc(said.replace(microsecond=0))
        else:
            graph.index(names, "values")
            if spec.nonnegative and (table < 0).any():
                row, column = np.argwhere(table < 0)[0]
                raise FelsinaError(
                    f"node {names[column]}: {table[row, column]} at {stamps[row]}Z is negative; "
                    f"{spec.target} is never below 0, send null for a gap"
                )
            if (late := stamps.max()) > now() + np.timedelta64(spec.seconds, "s"):
                raise FelsinaError(f"time {late}Z lies in the future; observations are past")
        accepted = store.write(dataset, kind, stamps, names, table, issued)
        _, latest = store.state(dataset)
        as_of = None if latest is None else schemas.iso(latest)
        return {"dataset": dataset, "accepted": accepted, "data_as_of": as_of}

    @app.get("/v1/datasets", response_model=schemas.DatasetList, tags=["datasets"])
    def datasets(query: Annotated[Listed, Query()]) -> Any:
        """Every dataset that is served, of one domain or of all."""
        entries = [entry(runtime) for runtime in catalogue.runtimes().values()]
        withheld = catalogue.withheld()
        if withheld and not entries:
            told = "; ".join(f"{one['name']}: {one['detail']}" for one in withheld)
            raise Withheld(f"no dataset is served: {told}")
        chosen = [e for e in entries if query.domain in (None, e["domain"])]
        return JSONResponse({"datasets": chosen, "withheld": withheld})

    @app.get("/v1/datasets/{dataset}", response_model=schemas.DatasetDetail, tags=["datasets"])
    def dataset_detail(dataset: str, query: Annotated[Nothing, Query()]) -> Any:
        """A served dataset with its nodes and the forcings that its model reads."""
        runtime = catalogue.runtime(dataset)
        release = runtime.release
        return JSONResponse(
            entry(runtime)
            | {
                "privacy": formats.privacy(release.manifest),
                "retention": rule_of(catalogue.home, dataset),
                "forcings": [
                    {"name": f.name, "unit": f.unit, "known_future": f.known_future}
                    for f in release.spec.forcings
                ],
                "node_list": [formats.node_entry(release, n) for n in range(release.graph.nodes)],
            }
        )

    add_forecasts(app, catalogue)

    @app.get(
        "/v1/observations/{dataset}",
        response_model=schemas.ObservationsAnswer,
        tags=["observations"],
    )
    def observations(dataset: str, query: Annotated[Observed, Query()]) -> Any:
        """The `last` steps of held observations, null where nothing was observed."""
        runtime = catalogue.runtime(dataset)
        spec, graph, last = runtime.release.spec, runtime.release.graph, query.last
        chosen = range(graph.nodes) if query.nodes is None else named(graph, query.nodes)
        wanted = [graph.ids[n] for n in chosen]
        if last * len(wanted) > MOST_VALUES:
            raise FelsinaError(
                f"{last} steps of {len(wanted)} nodes are over {MOST_VALUES} values; ask for fewer"
            )
        _, latest = store.state(dataset)
        if latest is None:
            raise NotFound(f"no observations of {dataset} are held")
        step = np.timedelta64(spec.seconds, "s")
        start = latest - (last - 1) * step
        table = store.read(dataset, OBSERVED, wanted, start, last, spec.seconds)
        return JSONResponse(
            {
                "dataset": dataset,
                "unit": spec.unit,
                "step": spec.step,
                "times": [schemas.iso(start + i * step) for i in range(last)],
                "features": [
                    {"id": node, "values": [formats.number(v) for v in table[:, i]]}
                    for i, node in enumerate(wanted)
                ],
            }
        )

    @app.post("/v1/observations/{dataset}", response_model=schemas.Accepted, tags=["observations"])
    def observe(dataset: str, body: schemas.Observations) -> Any:
        """Write observed values; they are on disk when this answers. Repeats do no harm."""
        return JSONResponse(accept(dataset, body, OBSERVED))

    @app.post("/v1/forcings/{dataset}", response_model=schemas.Accepted, tags=["observations"])
    def force(dataset: str, body: schemas.Forcings) -> Any:
        """Write past or future values of forcings, such as a weather forecast as issued."""
        return JSONResponse(accept(dataset, body, FORCED))

    add_card(app, catalogue)
    add_decisions(app, catalogue)
    add_drift(app, catalogue)
    add_inference(app, catalogue)
    add_scenarios(app, catalogue)
    ngsi_ld.add_context(app)
    add_alerts(app, catalogue)
    add_events(app, catalogue)
    reports = Reports(catalogue.home)
    add_reports(app, catalogue, reports)
    add_neighbourhoods(app, catalogue, reports)
    describe(app)

    add_page(app)
    return app


def _handle_errors(app: FastAPI) -> None:
    def problem(
        request: Request,
        status: int,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
    ) -> JSONResponse:
        body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        if request.url.path.startswith("/v2"):  # where the Open Inference Protocol has it
            body["error"] = detail
        return JSONResponse(body, status, headers, media_type="application/problem+json")

    @app.exception_handler(FelsinaError)
    def refused(request: Request, error: FelsinaError) -> JSONResponse:
        return problem(request, 422, "The input does not fit", str(error))

    @app.exception_handler(NotFound)
    def absent(request: Request, error: NotFound) -> JSONResponse:
        return problem(request, 404, "Not found", str(error))

    @app.exception_handler(Withheld)
    def withheld(request: Request, error: Withheld) -> JSONResponse:
        again = {"retry-after": str(WITHHELD_SECONDS), "cache-control": "no-store"}
        return problem(request, 503, "Not approved", str(error), again)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        return problem(request, error.status_code, detail, detail, error.headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(request, 422, "The input does not fit", f"{where}: {first['msg']}")


def _version() -> str:
    try:
        return version("felsina")
    except PackageNotFoundError:
        return "0"
