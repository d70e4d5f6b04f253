"""A release before the promotion gate, beside the champion: the release that it would replace.

Both are replayed over the test days of the new release's dataset, which neither has learned from.
A champion that has seen some of those days, or that answers other questions, is no fair measure;
then, and where there is none, the best naive forecast of the sealed backtest stands for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from fairness.gate import (
    LATENCY,
    PRIVACY,
    SIGNATURE,
    SLOWEST_S,
    compared,
    judged,
    rule,
    unpaired,
)
from fairness.metrics import SUMS
from models.contracts import FloatArray
from models.record import canonical_json, sha256_bytes, write_atomic
from pipelines.audit import PRIVATE_ROWS, tell_apart
from pipelines.digests import code_digest, sources_digest
from pipelines.replay import Progress, Scored, score_naive, score_runtime
from serving.release import Release
from serving.runtime import Runtime
from training.dataset import CityDataset

NAIVE = ("persistence", "seasonal_naive_day", "seasonal_naive_week")
_ASKED = ("target", "unit", "step", "timezone", "horizon", "quantiles", "nonnegative", "forcings")
"""What of a spec apps and operators rely on; how far a model looks back is its own affair."""
_TRIES = 7


@dataclass(frozen=True)
class Gate:
    """What the gate says of a release.

    Attributes:
        record: for the report: beside what, which rules hold.
        changed: by group, how its error differs from the champion's; None without a fair one.
        share: by what share it errs less than the champion; None without a fair one.
        latency_s: the fastest of a few forecasts.
    """

    record: dict[str, Any]
    changed: list[dict[str, Any]] | None
    share: float | None
    latency_s: float


class Replays:
    """Releases replayed over one dataset, each once.

    Args:
        dataset: whose test days.
        kept: folder in which replays outlive the process; what is there of the same release, data
            and code is read.
    """

    def __init__(self, dataset: CityDataset, kept: Path | None = None) -> None:
        self.dataset, self.kept = dataset, kept
        self._made: dict[str, Scored] = {}

    def of(self, release: Release, progress: Progress = lambda share: None) -> Scored:
        """A release's forecasts of the test days, scored."""
        if release.id not in self._made:
            path = None if self.kept is None else self.kept / f"{self._key(release)}.npy"
            if path is not None and path.is_file():
                found = self._scored(release, np.load(path, allow_pickle=False))
            else:
                found = score_runtime(Runtime(release), self.dataset, progress)
                if path is not None:
                    buffer = BytesIO()
                    np.save(buffer, found.daily, allow_pickle=False)
                    write_atomic(path, buffer.getvalue())
            self._made[release.id] = found
        progress(1.0)
        return self._made[release.id]

    def _key(self, release: Release) -> str:
        code = sources_digest("fairness/metrics.py", "pipelines/replay.py", "serving/runtime.py")
        made_from = [release.sha256, self.dataset.digests, code_digest(), code]
        return f"{release.id}-{sha256_bytes(canonical_json(made_from))[:12]}"

    def _scored(self, release: Release, daily: FloatArray) -> Scored:
        origins = self.dataset.splits.test(release.spec, self.dataset.start)
        dates = self.dataset.builder(release.spec).times(origins + 1).astype("datetime64[D]")
        return Scored(self.dataset, release.spec, origins, daily, np.unique(dates))


def gate_of(
    release: Release,
    champion: Release | None,
    areas_file: Path | None,
    replays: Replays,
    progress: Progress = lambda share: None,
) -> Gate:
    """Hold a release to every rule.

    Args:
        release: made from the dataset of ``replays``.
        champion: the one that it would replace, if any.
        areas_file: of ``fairness.areas``; the nodes' own columns when None.
        replays: of both.
        progress: told the share done.
    """
    dataset, spec = replays.dataset, release.spec
    instead = None if champion is None else _unlike(release, champion, dataset)
    against = champion if instead is None else None
    metrics = release.manifest["metrics"]
    naive = min(NAIVE, key=lambda name: metrics[name]["mae"] or 0)
    changed, share, days = None, None, 0
    if release.of_protected_rows:
        rules = unpaired(PRIVATE_ROWS)
    else:
        new = replays.of(release, lambda part: progress(part / 2)).daily
        if against is None:
            old = score_naive(naive, dataset, spec).daily
        else:
            old = replays.of(against, lambda part: progress(0.5 + part / 2)).daily
        areas, groupings = tell_apart(dataset, areas_file)
        rules, groups = compared(new, old, groupings, areas)
        days = len(new)
        if against is not None:
            changed, share = groups, _less(new, old)
    seconds = _fastest(Runtime(release), dataset)
    rules += [
        rule(LATENCY, seconds < SLOWEST_S, limit=SLOWEST_S),
        _privacy(release, champion),
        _signature(release, champion),
    ]
    progress(1.0)
    record = {
        "against": naive if against is None else against.id,
        "champion": against is not None,
        "instead": instead,
        "days": days,
        "state": judged(rules),
        "rules": rules,
    }
    return Gate(record, changed, share, seconds)


def _unlike(release: Release, champion: Release, dataset: CityDataset) -> str | None:
    """Why a champion cannot be compared on the release's test days, as a code."""
    if champion.graph.ids != release.graph.ids:
        return "sensors"
    if _other_answers(release, champion) or _places(champion) != _places(release):
        return "signature"
    if champion.manifest["data"]["validation_end"] > release.manifest["data"]["validation_end"]:
        return "seen"
    return None


def _places(release: Release) -> int:
    return Runtime(release).forcing_places


def _other_answers(release: Release, champion: Release) -> list[str]:
    return [n for n in _ASKED if getattr(release.spec, n) != getattr(champion.spec, n)]


def _signature(release: Release, champion: Release | None) -> dict[str, Any]:
    """Whether whoever asked the champion may ask the release the same."""
    if champion is None:
        return rule(SIGNATURE, None, why="first")
    other = _other_answers(release, champion)
    gone = sorted(set(champion.graph.ids) - set(release.graph.ids))
    return rule(SIGNATURE, not other and not gone, other=other + ["sensors"] * bool(gone))


def _privacy(release: Release, champion: Release | None) -> dict[str, Any]:
    """Whether its promise is at least that of the champion; evidence against it was refused."""
    new = release.manifest["privacy"]["differential_privacy"]
    old = champion and champion.manifest["privacy"]["differential_privacy"]
    if not new and not old:
        return rule(PRIVACY, None, why="not_private")
    if not new or not old:
        return rule(PRIVACY, bool(new))
    value, limit = new["epsilon"], old["epsilon"]
    return rule(PRIVACY, value <= limit, value=value, limit=limit)


def _less(new: FloatArray, old: FloatArray) -> float | None:
    """By what share the absolute errors of ``new`` are less than those of ``old``."""
    now, then = (float(d[..., SUMS.index("absolute")].sum()) for d in (new, old))
    return float(f"{1 - now / then:.4g}") if then else None


def _fastest(runtime: Runtime, dataset: CityDataset) -> float:
    """Seconds of one forecast; the fastest of a few, for others may work on this machine."""
    spec = runtime.release.spec
    origins = dataset.splits.test(spec, dataset.start)
    window = dataset.builder(spec).batch(origins[-1:])
    tries = []
    for _ in range(_TRIES):
        began = time.perf_counter()
        runtime.predict(window)
        tries.append(time.perf_counter() - began)
    return min(tries)
