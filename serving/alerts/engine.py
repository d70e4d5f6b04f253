"""Evaluates the rules at each new issue: raises, updates and ends alerts, and tells of them.

An issue is evaluated in one transaction with what is told of it, so that a process that is killed
has told all of an issue or nothing. What was told never changes: values that come late, or are
corrected, count for the issues after them.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from serving import tables
from serving.alerts.cap import signed
from serving.alerts.held import ENDED, RAISED, UPDATED, Alert, Held, Message
from serving.alerts.issue import Issue, over
from serving.alerts.rules import Rule, problem, rules_of
from serving.catalogue import Catalogue, is_stale, now
from serving.events.lease import Lease, LeaseLost
from serving.events.log import EventLog
from serving.runtime import Runtime
from serving.schemas import iso
from serving.store import OBSERVED

log = logging.getLogger(__name__)
CHANGED = 0.1
"""A probability that has moved by so much since it was last told is told anew."""
_GONE = "no forecast is made any more: no release of the dataset is served, or no data are held"
_WITHDRAWN = {"withdrawn": True, "approval": "none", "decision": None}


class Engine:
    """Evaluates the rules of every dataset that is served, while it has the lease.

    Args:
        catalogue: of forecasts; its store keeps what is told.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue, database = catalogue, catalogue.store.engine
        self.held, self.events = Held(database), EventLog(database)
        self.lease = Lease(database, "alerts")
        self._seen: dict[str, str] = {}

    def tick(self) -> bool:
        """Evaluate what is new; whether this process has the lease."""
        if not self.lease.acquire():
            self._seen.clear()
            return False
        runtimes = self.catalogue.runtimes()
        own: dict[str, list[Rule]] = {}
        for rule in self.held.rules():
            own.setdefault(rule.dataset, []).append(rule)
        for dataset, runtime in runtimes.items():
            try:
                self._evaluate(runtime, own.get(dataset, []))
            except LeaseLost:
                return False
            except Exception:  # tried again at the next turn; other datasets need not wait for it
                log.exception("the alerts of %s stay as they are", dataset)
        up = self.held.alerts(active=True)
        if self.catalogue.approvals is not None:
            self._withdraw({alert.dataset for alert in up} - runtimes.keys())
        self._note_stale({alert.dataset for alert in up if not alert.said["stale"]}, runtimes)
        return True

    def _evaluate(self, runtime: Runtime, own: list[Rule]) -> None:
        dataset = runtime.release.spec.dataset
        rules = [r for r in rules_of(runtime, own) if not problem(r, runtime)]
        store = self.catalogue.store
        revision, latest = store.state(dataset)
        digest = sha256_bytes(canonical_json([rule.to_dict() for rule in rules]))[:16]
        issue = f"{revision} {runtime.release.id}"
        mark = f"{issue} {digest}"
        if latest is None or self._seen.get(dataset) == mark:
            return
        deletion = store.last_deletion(dataset)  # before what it may have taken is read
        try:
            answer = self.catalogue.forecast(dataset, runtime=runtime)
        except FelsinaError as error:  # there is none before something changes
            log.warning("the alerts of %s stay as they are: %s", dataset, error)
            self._seen[dataset] = mark
            return
        found = Issue(runtime, answer, self._latest(runtime, answer.forecast.init_time))
        with self.lease.transaction() as connection:
            if store.deleted(connection, dataset, deletion):
                return  # the next turn tells nothing of what is gone
            before = self.held.mark(connection, dataset)
            if before != mark:
                self._apply_all(
                    connection, rules, found, told_before=before.startswith(issue + " ")
                )
                self.held.set_mark(connection, dataset, mark)
        self._seen[dataset] = mark

    def _apply_all(
        self, connection: sa.Connection, rules: list[Rule], found: Issue, told_before: bool
    ) -> None:
        """All rules of a dataset at one issue; one that was told before is told no more."""
        dataset = found.runtime.release.spec.dataset
        if not told_before:
            self.events.append(connection, "forecast", dataset, found.event())
        active = self.held.active(connection, dataset)
        told = {m.alert: m for m in self.held.messages([a.id for a in active], connection)}
        for rule in rules:
            mine = {alert.node: alert for alert in active if alert.rule == rule.id}
            self._apply(connection, rule, found, mine, told)
        kept = {rule.id for rule in rules}
        for alert in active:
            if alert.rule not in kept:
                note = "its rule was removed, or the release now served cannot answer it"
                self._end(connection, alert, alert.said, note, told.get(alert.id))

    def _latest(self, runtime: Runtime, init: np.datetime64) -> dict[str, float]:
        spec, ids = runtime.release.spec, list(runtime.release.graph.ids)
        row = self.catalogue.store.read(spec.dataset, OBSERVED, ids, init, 1, spec.seconds)[0]
        return {node: float(v) for node, v in zip(ids, row, strict=True) if not np.isnan(v)}

    def _apply(
        self,
        connection: sa.Connection,
        rule: Rule,
        issue: Issue,
        mine: dict[str, Alert],
        told: dict[str, Message],
    ) -> None:
        """One rule at one issue: ``mine`` are its alerts that are up, by node."""
        graph, forecast = issue.runtime.release.graph, issue.answer.forecast
        assert forecast.exceedance_within is not None
        probability = rule.probability(forecast.exceedance_within, graph)
        watched = [graph.ids[n] for n in rule.watched(graph)]
        at = iso(forecast.init_time)
        active = np.array([node in mine for node in watched], bool)
        below = np.array(
            [_below(mine[node], at) if node in mine else 0 for node in watched], np.int64
        )
        after, counted = rule.hold(active, below, probability)
        for x in np.flatnonzero(active | after):
            node, alert = watched[x], mine.get(watched[x])
            if np.isnan(probability[x]):
                continue
            said = issue.describe(rule, node, float(probability[x]))
            if alert is None:
                if not over(said):
                    self._raise(connection, rule, node, said)
            elif after[x]:
                changed = replace(alert, below=int(counted[x]), said=said)
                self._update(connection, changed, told.get(alert.id))
            else:
                self._end(connection, alert, said, "", told.get(alert.id))
        for node in set(mine) - set(watched):
            gone, note = mine[node], f"{rule.dataset} has no threshold at this node any more"
            self._end(connection, gone, gone.said, note, told.get(gone.id))

    def _raise(
        self, connection: sa.Connection, rule: Rule, node: str, said: dict[str, Any]
    ) -> None:
        alert = Alert(
            id=secrets.token_hex(8),
            rule=rule.id,
            dataset=rule.dataset,
            node=node,
            raised_at=tables.seconds(now()),
            ended_at=None,
            below=0,
            said=said,
            acknowledged=None,
        )
        self.held.raise_alert(connection, alert)
        self._tell(connection, alert, RAISED, None)

    def _update(self, connection: sa.Connection, alert: Alert, last: Message | None) -> None:
        self.held.change(connection, alert)
        if last is None or _worth_telling(last.said, alert.said):
            self._tell(connection, alert, UPDATED, last)

    def _end(
        self,
        connection: sa.Connection,
        alert: Alert,
        said: dict[str, Any],
        note: str,
        last: Message | None,
    ) -> None:
        ended = replace(
            alert, ended_at=tables.seconds(now()), below=0, said=said | {"note": note or None}
        )
        self.held.change(connection, ended)
        self._tell(connection, ended, ENDED, last)

    def _tell(
        self, connection: sa.Connection, alert: Alert, kind: str, last: Message | None
    ) -> None:
        number, before = (last.number + 1, last.said) if last else (1, None)
        said = signed(alert.said, before)
        self.held.tell(connection, Message(alert.id, number, kind, tables.seconds(now()), said))
        tell_event(self.events, connection, alert, kind)

    def _withdraw(self, datasets: set[str]) -> None:
        """End the alerts of datasets that the board does not let be served.

        What was told of them and not yet delivered is told no more. What is allowed again later is
        evaluated as if it were new.
        """
        withheld = {one["name"]: one["detail"] for one in self.catalogue.withheld()}
        for dataset in datasets:
            why = withheld.get(dataset, "nothing of it is approved now")
            note = f"the board has stopped the forecasts of {dataset}: {why}"
            with self.lease.transaction() as connection:
                active = self.held.active(connection, dataset)
                names = [alert.id for alert in active]
                told = {m.alert: m for m in self.held.messages(names, connection)}
                self.events.delete_alerts(connection, dataset, names, "id")
                for alert in active:
                    said = alert.said | _WITHDRAWN
                    self._end(connection, alert, said, note, told.get(alert.id))
                self.held.set_mark(connection, dataset, "")
            self._seen.pop(dataset, None)

    def _note_stale(self, datasets: set[str], runtimes: dict[str, Runtime]) -> None:
        """Tell of alerts whose data have stopped; they stay up until newer data say otherwise."""
        for dataset in datasets:
            runtime, (_, latest) = runtimes.get(dataset), self.catalogue.store.state(dataset)
            change: dict[str, Any] = {"stale": True}
            if runtime is None or latest is None:
                change["note"] = _GONE
            elif not is_stale(latest, runtime.release.spec.seconds):
                continue
            with self.lease.transaction() as connection:
                active = self.held.active(connection, dataset)
                told = {m.alert: m for m in self.held.messages([a.id for a in active], connection)}
                for alert in active:
                    if not alert.said["stale"]:
                        stale = replace(alert, said=alert.said | change)
                        self._update(connection, stale, told.get(alert.id))


def tell_event(events: EventLog, connection: sa.Connection, alert: Alert, change: str) -> None:
    """Write an ``alert`` event: the alert as people see it, and what became of it."""
    events.append(connection, "alert", alert.dataset, shown(alert) | {"change": change})


def shown(alert: Alert, people: bool = False) -> dict[str, Any]:
    """An alert as the API answers it (``schemas.Alert``), the people at work on it or not."""
    seen = alert.acknowledged
    if seen is not None and not people:
        seen = seen | {"by": None, "note": None}
    return {
        "id": alert.id,
        "state": "active" if alert.ended_at is None else "ended",
        "raised_at": iso(np.datetime64(alert.raised_at, "s")),
        "ended_at": None if alert.ended_at is None else iso(np.datetime64(alert.ended_at, "s")),
        "acknowledged": seen,
        **alert.said,
    }


def _below(alert: Alert, at: str) -> int:
    """Issues before this one that spoke for the end; an issue that is seen again counts once."""
    seen = alert.below > 0 and alert.said["last_seen"] == at
    return alert.below - 1 if seen else alert.below


def _worth_telling(last: dict[str, Any], said: dict[str, Any]) -> bool:
    """Whether people who know the last message need another."""
    begin, end = (np.datetime64(last[key].rstrip("Z"), "s") for key in ("valid_from", "valid_to"))
    halfway = np.datetime64(said["valid_from"].rstrip("Z"), "s") - begin > (end - begin) / 2
    moved = abs(said["probability"] - last["probability"]) >= CHANGED
    same = all(last[key] == said[key] for key in ("stale", "reached", "release"))
    return bool(halfway or moved or not same)
