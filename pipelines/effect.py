"""What an event did: a street closed, a speed limit, a tariff; told with what would have been.

The counterfactual and its interval are those of ``pipelines.counterfactual``. Nodes next to the
treated ones are no controls, since what leaves a street may come back in the next; they are told
apart, as a group of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.calendar import CALENDAR, DAY_KINDS, utc_offsets
from models.contracts import CityGraph, FelsinaError, FloatArray, IntArray
from models.record import canonical_json, write_atomic
from pipelines.counterfactual import CONFIDENCE, LEAST_DAYS, Days, Effect, effect_of, mean_seen
from training.dataset import CityDataset

LEAST_SHARE = 0.75
"""Of a day's steps that must be observed for its mean to count."""
_DAY = 86400
_CONTROLS = 3


@dataclass(frozen=True)
class Event:
    """What is asked.

    Attributes:
        first: first day that may be touched, by the city's own clock.
        until: day after the last one that is judged.
        treated: ids of the nodes that it touched.
        away: edges that a node must be away from them to be a control.
    """

    first: np.datetime64
    until: np.datetime64
    treated: tuple[str, ...]
    away: int = 1


@dataclass(frozen=True)
class Told:
    """What an event did.

    Attributes:
        days: [D] the city's days.
        treated: effect on the treated nodes.
        beside: effect on the nodes next to them; None where there are none.
        record: both as JSON.
    """

    days: np.ndarray
    treated: Effect
    beside: Effect | None
    record: dict[str, Any]


def tell(dataset: CityDataset, event: Event) -> Told:
    """Estimate what an event did.

    Args:
        dataset: of positive quantities, such as flows or loads.
        event: what happened, when and where.

    Raises:
        FelsinaError: if a node is unknown, or there is too little before, after or beside it.
    """
    first_day, days = daily(dataset)
    at, until = (int((day - first_day).astype(int)) for day in (event.first, event.until))
    graph, folder = dataset.graph, dataset.folder
    treated = graph.index(list(event.treated), "--treated")
    if not LEAST_DAYS <= at < until <= len(days.values):
        last = first_day + len(days.values) - 1
        raise FelsinaError(
            f"{folder}: {event.first} to {event.until} is not within {first_day + LEAST_DAYS} to "
            f"{last}; {LEAST_DAYS} days before an event are needed, and a day after it"
        )
    near = np.setdiff1d(_within(graph, treated, event.away), treated)
    known = np.isfinite(days.values[:at]).sum(axis=0) >= LEAST_DAYS // 2
    after = np.isfinite(days.values[at:until]).any(axis=0)
    usable = np.flatnonzero(known & after & (np.nan_to_num(days.values[:at]).sum(axis=0) > 0))
    controls = np.setdiff1d(usable, np.concatenate([treated, near]))
    if len(controls) < _CONTROLS:
        raise FelsinaError(
            f"{folder}: {len(controls)} nodes are {event.away + 1} edges or more away from the "
            f"treated ones and observed; {_CONTROLS} are needed, see --away"
        )
    if not np.isin(treated, usable).any():
        raise FelsinaError(
            f"{folder}: no treated node was observed on {LEAST_DAYS // 2} days before {event.first}"
            f" and on one from then to {event.until}; choose other nodes or days"
        )
    if (lowest := np.nanmin(days.values[:, usable])) < 0:
        raise FelsinaError(
            f"{folder}: {dataset.spec.target} is {lowest:g} on a day; an effect is a share of what "
            "would have been, and needs values from 0 on"
        )

    def estimate(group: IntArray) -> Effect:
        chosen = np.intersect1d(group, usable)
        try:
            return effect_of(days, chosen, controls, at, until)
        except ValueError as error:
            raise FelsinaError(f"{folder}: {error}") from error

    found = estimate(treated)
    beside = estimate(near) if len(np.intersect1d(near, usable)) else None
    record = {
        "dataset": dataset.spec.dataset,
        "digests": dataset.digests,
        "event": str(event.first),
        "until": str(event.until),
        "days_before": at,
        "confidence": CONFIDENCE,
        "controls": len(controls),
        "treated": _record(found, graph, np.intersect1d(treated, usable)),
        "beside": None if beside is None else _record(beside, graph, np.intersect1d(near, usable)),
    }
    return Told(first_day + np.arange(len(days.values)), found, beside, record)


def daily(dataset: CityDataset) -> tuple[np.datetime64, Days]:
    """The first whole day of a dataset by its own clock, and its days."""
    builder = dataset.builder()
    spec, rows = dataset.spec, np.arange(len(dataset.values))
    utc = builder.times(rows).astype("datetime64[s]").astype(np.int64)
    local = (utc + utc_offsets(utc, spec.timezone)) // _DAY
    day = local - local[0]
    values = _means(dataset.values, day)
    calendar = builder.calendar(0, len(rows))
    start = np.flatnonzero(np.r_[True, day[1:] != day[:-1]])
    kind = calendar[start, CALENDAR.index("day_kind")]
    weekday = calendar[start, CALENDAR.index("day_of_week")]
    holiday = kind == DAY_KINDS.index("holiday")
    season = calendar[start, CALENDAR.index("day_of_year")] * (2 * np.pi / 365.25)
    columns = [np.sin(season), np.cos(season), holiday * 1.0]
    columns += [(kind == k) * 1.0 for k in range(2, len(DAY_KINDS))]
    if dataset.forcings is not None:
        weather = _means(mean_seen(dataset.forcings[: len(rows)], axis=1), day, least=0.0)
        weather = np.where(np.isfinite(weather), weather, mean_seen(weather))
        columns += [*weather.T, *np.square(weather - weather.mean(axis=0)).T]
    common = np.column_stack(columns)
    days = Days(values, np.where(holiday, 6, weekday), np.nan_to_num(common))
    return np.datetime64(int(local[0]), "D"), days


def _means(values: FloatArray, day: IntArray, least: float = LEAST_SHARE) -> FloatArray:
    """[D, ...] means of each day; NaN where less than a share of its steps was observed."""
    seen = np.isfinite(values)
    starts = np.flatnonzero(np.r_[True, day[1:] != day[:-1]])
    total = np.add.reduceat(np.where(seen, values, 0.0), starts, axis=0)
    count = np.add.reduceat(seen.astype(float), starts, axis=0)
    steps = np.bincount(day).max()
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count >= max(1.0, least * steps), total / count, np.nan)


def _within(graph: CityGraph, nodes: IntArray, hops: int) -> IntArray:
    """Nodes that so many edges lead to or from, the nodes themselves among them."""
    found = set(nodes.tolist())
    ends = np.stack([graph.source, graph.target])
    ends = np.concatenate([ends, ends[::-1]], axis=1)
    for _ in range(hops):
        found |= set(ends[1, np.isin(ends[0], list(found))].tolist())
    return np.array(sorted(found), np.int64)


def _record(effect: Effect, graph: CityGraph, nodes: IntArray) -> dict[str, Any]:
    return {
        "nodes": [graph.ids[n] for n in nodes],
        "effect": round(effect.fitted.effect, 6),
        "low": round(effect.low, 6),
        "high": round(effect.high, 6),
        "p_value": round(effect.p_value, 6),
        "placebos": len(effect.placebos),
        "day_noise": round(effect.fitted.noise, 6),
    }


def write(told: Told, folder: Path) -> None:
    """Write ``effect.json`` and ``effect.png`` into a folder that does not exist."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    if folder.exists():
        raise FelsinaError(f"{folder} exists; name another with --out")
    record, days = told.record, told.days
    groups = [("treated", told.treated)] + ([("beside", told.beside)] if told.beside else [])
    with mpl.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3.2 * len(groups) + 0.3), layout="constrained")
        for axes, (name, effect) in zip(
            np.ravel(figure.subplots(len(groups), 1, sharex=True)), groups, strict=True
        ):
            _draw(axes, days, effect, record, name)
        folder.mkdir(parents=True)
        figure.savefig(folder / "effect.png", dpi=130)
    write_atomic(folder / "effect.json", canonical_json(record))


def _draw(axes: Any, days: np.ndarray, effect: Effect, record: dict[str, Any], name: str) -> None:
    told, fitted = record[name], effect.fitted
    event, until = np.datetime64(record["event"]), np.datetime64(record["until"])
    shown = days < until
    axes.plot(days[shown], 100 * fitted.observed[shown], color="#1b4965", lw=0.9, label="observed")
    axes.plot(
        days[shown], 100 * fitted.expected[shown], color="#c1440e", lw=0.9,
        label="expected from the other nodes",
    )  # fmt: skip
    axes.axvspan(event, until, color="#c1440e", alpha=0.08, lw=0)
    axes.set_ylabel("daily sum, % of the usual weekday")
    what = "treated" if name == "treated" else "next to the treated"
    axes.set_title(
        f"{len(told['nodes'])} {what}: {told['effect']:+.1%} "
        f"({record['confidence']:.0%}: {told['low']:+.1%} to {told['high']:+.1%})",
        loc="left",
    )
    axes.legend(frameon=False, loc="lower left", ncols=2)
