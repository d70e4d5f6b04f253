"""The routes of those who want to hear of new forecasts and alerts: a stream, and webhooks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Header, Path, Query
from fastapi.responses import JSONResponse, Response

from serving.catalogue import Catalogue, NotFound
from serving.events import schemas
from serving.events.log import EventLog
from serving.events.stream import MEDIA, EventStream, Stream
from serving.events.webhooks import Webhooks


def add_events(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the routes over the events of a catalogue's store."""
    log = EventLog(catalogue.store.engine)
    stream, hooks = Stream(log), Webhooks(log)

    @app.get(
        "/v1/events",
        response_class=Response,
        responses={200: {"content": {MEDIA: {}}}, 503: {"description": "Too many listen."}},
        tags=["events"],
    )
    def listen(
        datasets: Annotated[
            str | None, Query(description="Dataset names, comma separated; all when left out.")
        ] = None,
        last_event_id: Annotated[
            int | None,
            Header(ge=0, le=2**53, description="Number of the last event seen, to resume."),
        ] = None,
    ) -> Response:
        """New forecasts and changes of alerts as server-sent events `forecast` and `alert`."""
        chosen = None if datasets is None else frozenset(datasets.split(","))
        for dataset in chosen or ():
            catalogue.runtime(dataset)
        return EventStream(stream, chosen, last_event_id)

    @app.get("/v1/webhooks", response_model=schemas.WebhookList, tags=["events"])
    def webhooks() -> Any:
        """Every webhook and how it fares."""
        return JSONResponse({"webhooks": [hook.shown() for hook in hooks.all()]})

    @app.post("/v1/webhooks", response_model=schemas.NewWebhook, tags=["events"])
    def add_webhook(body: schemas.WebhookBody) -> Any:
        """Be posted to from now on; the secret is shown this once."""
        for dataset in body.datasets or ():
            catalogue.runtime(dataset)
        made = hooks.add(body.url, body.datasets, list(dict.fromkeys(body.events)))
        return JSONResponse(made.shown() | {"url": made.url, "secret": made.secret})

    @app.delete("/v1/webhooks/{id}", response_model=schemas.Removed, tags=["events"])
    def remove_webhook(id: Annotated[str, Path(pattern=r"^[a-z0-9]{1,40}$")]) -> Any:
        """Be posted to no more."""
        if not hooks.remove(id):
            raise NotFound(f"no webhook {id!r} is held; /v1/webhooks lists them")
        return JSONResponse({"id": id})
