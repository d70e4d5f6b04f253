"""The stage that looks at what is served: the held days since its data ended, told in one record.

Nothing is kept from one run to the next. Each replays the served release over the last
``WINDOW_DAYS`` of the store, as it is now: a value that came late counts as if it had been there.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from fairness.board import Register
from models.board import BOARD
from models.contracts import FelsinaError
from models.record import canonical_json, write_atomic
from models.signing import PrivateKey
from models.stream import utc_now
from pipelines.ageing import CITY, RECENT_DAYS, WINDOW_DAYS, Days, Watch
from pipelines.present import servable, served_now
from serving.drift import Drift, Figure, record_path
from serving.held_windows import HeldWindows
from serving.release import Release, load_release
from serving.runtime import Runtime
from serving.store import Store
from training.dataset import CityDataset

WORSE = ("residual", "coverage")
"""Kinds of alarm that say that forecasts are no longer what was tested."""
UNLIKE = 0.25
"""Stability from which values are unlike those that a release learned from, by convention."""
_WEEK = 7


def served_release(home: Path, dataset: str) -> Release:
    """The release that is served.

    Raises:
        FelsinaError: if there is none, or it is broken.
    """
    folder = served_now(home, dataset)
    if folder is None:
        raise FelsinaError(f"no release of {dataset} is served from {home}; felsina run makes one")
    return load_release(folder)


def monitor(
    home: Path, store: Store, dataset: CityDataset, clock: Callable[[], datetime] = utc_now
) -> Drift:
    """Compare what is served of a dataset with what came true, and write the record.

    Args:
        home: the ``mlruns`` folder.
        store: of held observations.
        dataset: that the release was made from; days that it has gained since do no harm.
        clock: says when.

    Raises:
        FelsinaError: if nothing is served or held, or the dataset is another one.
    """
    name = dataset.spec.dataset
    release = served_release(home, name)
    runtime = Runtime(release)
    watch, end = watch_of(runtime, dataset)
    _, latest = store.state(name)
    if latest is None:
        raise FelsinaError(f"no observations of {name} are held; there is nothing to compare")
    per_day = watch.spec.steps_per_day
    builder = HeldWindows(runtime, store).builder(latest, (WINDOW_DAYS + 1) * per_day)
    stop = len(builder.values)
    since = int((end - builder.start) / np.timedelta64(watch.spec.seconds, "s"))
    first = max(since, stop - (WINDOW_DAYS + 1) * per_day)
    days = watch.days(builder, min(first, stop), stop)
    days = days.part(slice(-WINDOW_DAYS, None))
    alarms, near = watch.judge(days, builder.values[-WINDOW_DAYS * per_day :], latest)
    week = min(stop - first, _WEEK * per_day)
    recent, usual = _means(days.part(slice(-RECENT_DAYS, None))), _means(watch.usual_days)
    drift = Drift(
        dataset=name,
        release=release.id,
        checked_at=f"{clock():%Y-%m-%dT%H:%M:%SZ}",
        through=str(days.dates[-1]) if len(days.dates) else None,
        days=len(days.dates),
        alarms=alarms,
        near=near,
        **{part: Figure(now=recent[part], usual=usual[part]) for part in usual},
        stability=round(watch.stability(builder, stop - week, stop), 4) if week > 0 else None,
    )
    write_atomic(record_path(home, name), canonical_json(drift.model_dump()))
    return drift


def suspend(home: Path, key: PrivateKey, release: Release, drift: Drift) -> str:
    """Sign an alarm on a release whose forecasts are worse than tested, if another takes over.

    Returns:
        What was done, or why nothing was.
    """
    worse = [alarm for alarm in drift.alarms if alarm.kind in WORSE]
    if not worse:
        return f"{release.id} stays: its forecasts are no worse than tested"
    names = [folder.name for folder in servable(home, drift.dataset)]
    others = [name for name in names if name != release.id]
    if not others:
        return f"{release.id} stays: no other approved release could take over"
    reason = "; ".join(f"{alarm.kind} since {alarm.since[:10]}" for alarm in worse)
    register = Register(home / BOARD, key)
    register.alarm(drift.dataset, release.id, release.sha256, f"felsina monitor: {reason}")
    return f"{release.id} is suspended; servers fall back to {others[0]} within seconds"


def watch_of(runtime: Runtime, dataset: CityDataset) -> tuple[Watch, np.datetime64]:
    """What is usual of a release, and the first moment after the data it was made from.

    Raises:
        FelsinaError: if the dataset lacks nodes or days that it was made from.
    """
    release = runtime.release
    data, ids = release.manifest["data"], list(release.graph.ids)
    where = f"{dataset.folder}: nodes of {release.id}"
    part = dataset.part(dataset.graph.index(ids, where))
    step = np.timedelta64(release.spec.seconds, "s")
    begin, train_end, last = (
        np.datetime64(data[key].rstrip("Z"), "s") for key in ("start", "train_end", "end")
    )
    rows = [int((moment - dataset.start) / step) for moment in (begin, train_end, last + step)]
    if not 0 <= rows[0] < rows[1] < rows[2] <= len(dataset.values):
        raise FelsinaError(
            f"{dataset.folder} does not hold {data['start']} to {data['end']}, which {release.id} "
            "was made from; name the folder that it was made from, or one that has grown since"
        )
    return Watch(runtime, part.builder(release.spec), rows[1], rows[2]), last + step


def _means(days: Days) -> dict[str, float | None]:
    """Means of the figures of days, by name."""
    columns = dict(zip(CITY, days.city.T, strict=True)) | {"error": days.error}
    known = {name: column[~np.isnan(column)] for name, column in columns.items()}
    return {n: round(float(c.mean()), 4) if len(c) else None for n, c in known.items()}
