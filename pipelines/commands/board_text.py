"""What the board is shown in a terminal: a release before it, and where everything stands."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from fairness.audit import FAIL
from models.board import SHOWN, Board
from pipelines.board import Docket


def case_record(case: Docket, board: Board, now: datetime) -> dict[str, Any]:
    """A release before the board."""
    votes = board.votes(case.manifest_sha256)
    ruling = board.ruling(case.manifest_sha256, now)
    return {
        "dataset": case.dataset,
        "release": case.release,
        "manifest_sha256": case.manifest_sha256,
        "report": str(case.path) if case.report else None,
        "report_sha256": case.report_sha256 if case.report else None,
        "missing": case.missing,
        "held_back": case.held_back,
        "threshold": board.charter.threshold,
        "votes": {member: terms.to_dict() for member, terms in votes.items()},
        "not_voted": [p.name for p in board.charter.members if p.name not in votes],
        "state": ruling.state,
        "decision": ruling.decision,
    }


def case_lines(case: Docket, board: Board, now: datetime) -> list[str]:
    """The same for a person who is about to sign."""
    record = case_record(case, board, now)
    lines = [
        f"{case.release}, intact",
        f"  manifest  sha256 {case.manifest_sha256}",
        f"  report    sha256 {record['report_sha256'] or 'none: no report was built'}",
    ]
    if case.report:
        lines += [f"  read      {case.path.with_name('report.it.html')} (or .en)"]
        lines += [f"  verdicts  {line}" for line in _verdicts(case.report)]
        lines += [f"  gate      {line}" for line in _gate(case.report.get("gate"))]
    if case.missing:
        lines += [f"  MISSING   {', '.join(case.missing)}: written by nobody yet, blocks promote"]
    lines += [f"  standing  it {board.ruling(case.manifest_sha256, now).why}"]
    for member, terms in board.votes(case.manifest_sha256).items():
        ends = f" until {terms.expires}" if terms.expires else ""
        other = "" if terms.report_sha256 == case.report_sha256 else ", on ANOTHER report"
        said = "; ".join(terms.conditions) or "none"
        lines += [f"  vote      {member}: {terms.decision}{ends}, conditions: {said}{other}"]
    missing = ", ".join(record["not_voted"]) or "nobody"
    lines += [f"  to vote   {missing}; {board.charter.threshold} must agree"]
    return lines


def status_record(board: Board, now: datetime) -> dict[str, Any]:
    """Where everything stands."""
    datasets = {}
    for dataset in board.datasets():
        stack = board.promoted(dataset)
        states = [(one, board.ruling(one.manifest_sha256, now)) for one in stack]
        chosen = next(((one, r) for one, r in states if r.state == "approved"), None)
        datasets[dataset] = {
            "served": chosen[0].release if chosen else None,
            "decision": chosen[1].decision if chosen else None,
            "until": chosen[1].expires if chosen else None,
            "conditions": list(chosen[1].conditions) if chosen else [],
            "promoted": [
                {"release": one.release, "time": one.time, "reason": one.reason, "state": r.state}
                for one, r in states
            ],
        }
    settled = {one.id: one.terms for one in board.decided}
    pending = {}
    for sha, terms in board.voted().items():
        votes = board.votes(sha)
        stands = settled.get(board.ruling(sha, now).decision or "")
        if any(stands is None or not vote.agrees(stands) for vote in votes.values()):
            pending[terms.release] = {member: vote.to_dict() for member, vote in votes.items()}
    return {
        "board": board.charter.name,
        "demo": board.charter.demo,
        "threshold": board.charter.threshold,
        "members": [person.name for person in board.charter.members],
        "entries": len(board.entries),
        "datasets": datasets,
        "pending": pending,
        "rejected": [
            {
                "release": one.terms.release,
                "decision": one.id,
                "time": one.time,
                "conditions": list(one.terms.conditions),
            }
            for one in board.decided
            if one.terms.expires is None
        ],
        "alarms": [vars(alarm) for alarm in board.alarms],
    }


def status_lines(record: dict[str, Any]) -> list[str]:
    """The same for a person."""
    kind = ", a DEMONSTRATION" if record["demo"] else ""
    people = f"{record['threshold']} of {len(record['members'])} members"
    lines = [
        f"{record['board']}{kind}: {people} ({', '.join(record['members'])}) must agree; "
        f"{record['entries']} entries, all verified"
    ]
    for dataset, one in record["datasets"].items():
        if one["served"]:
            told = f"{one['served']} until {one['until']}, decision {one['decision'][:SHOWN]}"
            lines += [f"served    {told}"] + [f"          {c}" for c in one["conditions"]]
        else:
            states = ", ".join(f"{p['release']} {p['state']}" for p in one["promoted"])
            lines += [f"STOPPED   {dataset}: {states}"]
    for release, votes in record["pending"].items():
        cast = ", ".join(f"{member} {vote['decision']}" for member, vote in votes.items())
        lines += [f"waiting   {release}: {cast}"]
    lines += [f"proposed  {name}: felsina board show {name}" for name in record["proposed"]]
    for one in record["rejected"]:
        why = "; ".join(one["conditions"]) or "no reason written"
        lines += [f"rejected  {one['release']}, decision {one['decision'][:SHOWN]}: {why}"]
    for one in record["alarms"]:
        lines += [f"alarm     {one['release']} by {one['by']} at {one['time']}: {one['reason']}"]
    return lines


def _gate(gate: dict[str, Any] | None) -> list[str]:
    """What the promotion gate says, and each rule that it finds not met."""
    if gate is None:
        return []
    lines = [f"{gate['state']}, beside {gate['against']}"]
    for rule in gate["rules"]:
        if rule["verdict"] == FAIL:
            value, limit = (rule.get(key) for key in ("value", "limit"))
            bounds = [rule.get(key) for key in ("low", "high")]
            told = "" if value is None else f" {value:+.3g}"
            told += "" if None in bounds else f" ({bounds[0]:+.3g} to {bounds[1]:+.3g})"
            told += "" if limit is None else f", limit {limit:g}"
            lines.append(
                f'NOT MET   {rule["rule"]}:{told}; approve with "despite {rule["rule"]}: "'
            )
    return lines


def _verdicts(report: dict[str, Any]) -> list[str]:
    """How many groups pass, fail, or have too little evidence; of a surrogate, what it held."""
    lines = []
    for name, test in report.get("tests", {}).items():
        held = [one["coverage_80"] for one in test["outputs"].values()]
        if known := [share for share in held if share is not None]:
            told = f"the 80 % interval held {min(known):.0%} at least"
            lines.append(f"{name}: {test['runs']} runs, {told}")
    for grouping in report.get("audit", {}).get("groupings", []):
        weighted = grouping["weighted"]
        for harm, found in weighted.get("residents", weighted["area"])["harms"].items():
            counts = Counter(one["verdict"] for one in found)
            told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in sorted(counts))
            lines.append(f"{grouping['attribute']}, {harm.replace('_', ' ')}: {told}")
    return lines
