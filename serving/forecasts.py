"""The forecast routes: of what is held, and of a window that the caller brings."""

from __future__ import annotations

from email.utils import formatdate
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime, BaseModel, ConfigDict

from serving import ngsi_ld, schemas, tables
from serving.arrow import as_arrow
from serving.catalogue import Answer, Catalogue
from serving.formats import MEDIA, as_csv, as_geojson, as_json, asked_for
from serving.joint import areas_json, check_members, members_json
from serving.runtime import Runtime
from serving.selection import Ahead, Filters, Selection
from serving.stateless import forecast_window

Format = Literal["json", "geojson", "csv", "arrow", "ngsi-ld"]
Bands = Literal["adaptive", "released"]
_WRITERS = {
    "json": as_json,
    "geojson": as_geojson,
    "csv": as_csv,
    "arrow": as_arrow,
    "ngsi-ld": ngsi_ld.as_ngsi_ld,
}


class Issue(BaseModel):
    """Query parameters that choose a forecast of what is held."""

    model_config = ConfigDict(extra="forbid")

    init_time: AwareDatetime | None = Query(
        None, description="Stamp of the last observation to be read; the latest when left out."
    )
    bands: Bands = Query(
        "adaptive",
        description="Bands that follow what came true, or the release's own as backtested.",
    )


class Shown(Filters):
    """Query parameters that choose part of a forecast, and its format."""

    format: Format | None = Query(
        None, description="Left out: the one that `Accept` likes best, else JSON."
    )


class HeldShown(Shown, Issue):
    """Query parameters of ``GET /v1/forecasts/{dataset}``."""


class HeldMembers(Ahead, Issue):
    """Query parameters of ``GET /v1/forecasts/{dataset}/members``."""


def add_forecasts(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the routes over a catalogue of releases."""
    content = {media.partition(";")[0]: {} for media in MEDIA.values()}

    def asked(runtime: Runtime, issue: Issue) -> Answer:
        at = None if issue.init_time is None else schemas.utc(issue.init_time)
        name = runtime.release.spec.dataset
        return catalogue.forecast(name, at, issue.bands == "adaptive", runtime)

    def part(runtime: Runtime, query: Ahead) -> Selection:
        return query.selection(runtime.release.spec, runtime.release.graph)

    def checked(runtime: Runtime, query: Ahead) -> Selection:
        chosen = part(runtime, query)
        chosen.check_size()
        return chosen

    def shown(
        runtime: Runtime, answer: Answer, chosen: Selection, form: str | None, request: Request
    ) -> Response:
        form = form or asked_for(request.scope)
        content = _WRITERS[form](runtime.release, answer, chosen)
        answered = released(runtime, answer, content, MEDIA.get(form, ngsi_ld.MEDIA))
        if form == "ngsi-ld":
            answered.headers["link"] = ngsi_ld.LINK
        return answered

    @app.get(
        "/v1/forecasts/{dataset}",
        response_model=schemas.ForecastAnswer | list[schemas.NgsiLdEntity],
        responses={200: {"content": content}},
        tags=["forecasts"],
    )
    def forecast(dataset: str, query: Annotated[HeldShown, Query()], request: Request) -> Any:
        """The latest forecast, or the one from what was observed up to `init_time`."""
        runtime = catalogue.runtime(dataset)
        chosen = checked(runtime, query)
        return shown(runtime, asked(runtime, query), chosen, query.format, request)

    @app.get(
        "/v1/forecasts/{dataset}/members", response_model=schemas.MembersAnswer, tags=["forecasts"]
    )
    def joint_members(dataset: str, query: Annotated[HeldMembers, Query()]) -> Any:
        """Ways that all nodes and leads may go together, equally likely; the same quantiles."""
        runtime = catalogue.runtime(dataset)
        chosen = part(runtime, query)
        check_members(runtime, chosen)
        answer = asked(runtime, query)
        return released(runtime, answer, members_json(runtime, answer, chosen))

    @app.get(
        "/v1/forecasts/{dataset}/areas", response_model=schemas.AreasAnswer, tags=["forecasts"]
    )
    def areas(dataset: str, query: Annotated[Issue, Query()]) -> Any:
        """Sums over each area and the city, for targets that add up, such as load or counts."""
        runtime = catalogue.runtime(dataset)
        answer = asked(runtime, query)
        return released(runtime, answer, areas_json(runtime, answer))

    @app.post(
        "/v1/forecasts/{dataset}",
        response_model=schemas.ForecastAnswer | list[schemas.NgsiLdEntity],
        responses={200: {"content": content}},
        tags=["forecasts"],
    )
    def forecast_from(
        dataset: str, body: schemas.WindowBody, query: Annotated[Shown, Query()], request: Request
    ) -> Any:
        """A forecast from a window that you bring; nothing held is read, nothing is kept."""
        runtime = catalogue.runtime(dataset)
        chosen = checked(runtime, query)
        return shown(runtime, forecast_window(runtime, body), chosen, query.format, request)


def released(
    runtime: Runtime, answer: Answer, content: bytes, media: str = MEDIA["json"]
) -> Response:
    """Bytes of what a release forecast, with its name and when it did."""
    computed = tables.seconds(answer.computed_at)
    headers = {
        "felsina-release": runtime.release.id,
        "last-modified": formatdate(computed, usegmt=True),
    }
    return Response(content, media_type=media, headers=headers)
