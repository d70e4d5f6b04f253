"""The routes of rules and alerts."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import IntegrityError

from models.contracts import FelsinaError
from serving import tables
from serving.alerts import cap, schemas
from serving.alerts.engine import shown, tell_event
from serving.alerts.held import Alert, Held, Message
from serving.alerts.rules import DEFAULT, Rule, problem, rules_of, within_text
from serving.catalogue import Catalogue, NotFound, now
from serving.events.log import EventLog
from serving.runtime import Runtime
from serving.schemas import iso

_NAME = r"^[A-Za-z0-9-]{1,200}$"
Name = Annotated[str, Path(pattern=_NAME)]
Dataset = Annotated[str | None, Query(pattern=_NAME, description="All, when left out.")]
FEED_SECONDS = 86400
"""An alert that ended stays in the feed for so long, so that its end is seen."""
MOST_RULES = 50
"""Rules a dataset may have; each is evaluated at every issue and replayed for every release."""


def add_alerts(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the routes of alerts over the releases of a catalogue."""
    held, events = Held(catalogue.store.engine), EventLog(catalogue.store.engine)

    def named(name: str) -> Alert:
        alert = held.alert(name)
        if alert is None:
            raise NotFound(f"no alert {name!r} is held; /v1/alerts lists them")
        return alert

    @app.get("/v1/alerts", response_model=schemas.AlertList, tags=["alerts"])
    def alerts(
        request: Request,
        dataset: Dataset = None,
        state: Annotated[
            Literal["active", "ended", "all"], Query(description="Which; only 1000 that ended.")
        ] = "active",
    ) -> Any:
        """The alerts that are up, or have been."""
        found = held.alerts(dataset, None if state == "all" else state == "active")
        operates = getattr(request.state, "role", "operate") == "operate"  # all do without a gate
        return JSONResponse({"alerts": [shown(alert, operates) for alert in found]})

    @app.get("/v1/alerts/rules", response_model=schemas.RuleList, tags=["alerts"])
    def rules(dataset: Dataset = None) -> Any:
        """Every rule, with how it would have done since its release was trained."""
        runtimes = catalogue.runtimes()
        chosen = [d for d in runtimes if dataset in (None, d)]
        entries = []
        for name in chosen:
            backtests = held.backtests(runtimes[name].release.id)
            for rule in rules_of(runtimes[name], held.rules(name)):
                entries.append(_entry(rule, runtimes[name], backtests.get(rule.id)))
        return JSONResponse({"rules": entries})

    @app.post("/v1/alerts/rules", response_model=schemas.Rule, tags=["alerts"])
    def add_rule(body: schemas.RuleBody) -> Any:
        """Make a rule. A dataset that has one of its own no longer has the default one."""
        runtime = catalogue.runtime(body.dataset)
        nodes = None if body.nodes is None else tuple(dict.fromkeys(body.nodes))
        values: dict[str, Any] = body.model_dump() | {"id": secrets.token_hex(6), "nodes": nodes}
        rule = Rule(**values)
        if fault := problem(rule, runtime):
            raise FelsinaError(fault)
        if len(held.rules(body.dataset)) >= MOST_RULES:
            raise FelsinaError(f"{body.dataset} has {MOST_RULES} rules; delete one first")
        held.add_rule(rule)
        return JSONResponse(_entry(rule, runtime, None))

    @app.delete("/v1/alerts/rules/{id}", response_model=schemas.Removed, tags=["alerts"])
    def remove_rule(id: Name) -> Any:
        """Remove a rule; its alerts end."""
        if id.startswith(DEFAULT):
            raise FelsinaError(f"{id} is a default rule; it ends when its dataset has another")
        if not held.remove_rule(id):
            raise NotFound(f"no rule {id!r} is held; /v1/alerts/rules lists them")
        return JSONResponse({"id": id})

    @app.get(
        "/v1/alerts.cap",
        response_class=Response,
        responses={200: {"content": {cap.FEED_MEDIA: {}}}},
        tags=["alerts"],
    )
    def cap_feed(request: Request) -> Response:
        """An Atom feed of CAP 1.2 messages: what is up, and what ended in the last day."""
        since = tables.seconds(now()) - FEED_SECONDS
        alerts = held.alerts(since=since)
        told: dict[str, list[Message]] = {}
        for message in held.messages([alert.id for alert in alerts]):
            told.setdefault(message.alert, []).append(message)
        base = str(request.base_url).rstrip("/")
        content = cap.feed(alerts, told, base, tables.seconds(now()))
        return Response(content, media_type=cap.FEED_MEDIA)

    @app.get(
        "/v1/alerts/{id}.cap",
        response_class=Response,
        responses={200: {"content": {cap.CAP_MEDIA: {}}}},
        tags=["alerts"],
    )
    def cap_alert(
        id: Name,
        request: Request,
        message: Annotated[
            int | None, Query(ge=1, le=10**6, description="Which; the latest, if left out.")
        ] = None,
    ) -> Response:
        """A CAP 1.2 message of an alert, in Italian and English."""
        alert = named(id)
        told = held.messages([alert.id])
        if message is not None and message > len(told):
            raise NotFound(f"alert {id} has {len(told)} messages")
        number = message or len(told)
        return Response(
            cap.message(told, number, str(request.base_url)),
            media_type=cap.CAP_MEDIA,
            headers={"Felsina-Release": told[number - 1].said["release"]},
        )

    @app.post("/v1/alerts/{id}/acknowledge", response_model=schemas.Alert, tags=["alerts"])
    def acknowledge(id: Name, body: schemas.AcknowledgeBody, request: Request) -> Any:
        """Say that somebody has seen an alert; the first to say so stays."""
        alert = named(id)
        caller = getattr(request.state, "caller", "anonymous")
        by = body.by if caller == "anonymous" else " for ".join(filter(None, (body.by, caller)))
        record = {"by": by or caller, "at": iso(now()), "note": body.note}
        try:
            with held.engine.begin() as connection:
                held.acknowledge(connection, id, record)
                seen = replace(alert, acknowledged=record)
                tell_event(events, connection, seen, "acknowledged")
        except IntegrityError as error:
            known = named(id).acknowledged or {}
            raise FelsinaError(
                f"alert {id} was acknowledged by {known.get('by')} at {known.get('at')}"
            ) from error
        return JSONResponse(shown(named(id), people=True))


def _entry(rule: Rule, runtime: Runtime, backtest: dict[str, Any] | None) -> dict[str, Any]:
    release = runtime.release
    levels = release.graph.thresholds[rule.watched(release.graph), rule.threshold - 1]
    return rule.to_dict() | {
        "unit": release.spec.unit,
        "within_text": within_text(rule.within, release.spec),
        "level_range": [float(np.min(levels)), float(np.max(levels))] if len(levels) else None,
        "problem": problem(rule, runtime),
        "backtest": backtest,
    }
