"""Served bands that follow what came true: what each issue of a release said, and what it taught.

An issue's correction follows from the one before it and from what has come true since of the
forecasts as they were issued (``models.adaptive``). Issues are kept in the store, so that every
worker, and one that starts anew, goes on from the same; values that come late are learned late.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from models.adaptive import AdaptiveBands, corrected
from models.contracts import BoolArray, FloatArray
from models.windows import WindowBuilder
from serving.runtime import Runtime
from serving.store import Store

log = logging.getLogger(__name__)
WARM_UP = 100
"""Issues at most that are caught up with, as by a release that has issued none."""
MOST_NUMBERS = 20_000_000
"""Numbers of the issues kept, and values read to catch up; a city of more keeps its own bands."""
MOST_MISSING = 0.5
"""Share of a node's past without which its forecast says nothing of the bands."""
_CELLS = 200_000
"""Leads x nodes that are forecast at a time."""

Held = Callable[[np.datetime64, int], WindowBuilder]
"""Held observations up to a time, so that windows of that time and of ``n`` rows before it fit."""


@dataclass(frozen=True)
class Issue:
    """A forecast as it was issued.

    Attributes:
        moved: [P, H, N] its correction.
        quantiles: [H, N, Q], corrected; NaN where the past was mostly missing.
        taught: [H, N] whether the correction has learned from it.
    """

    moved: FloatArray
    quantiles: FloatArray
    taught: BoolArray

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """For the store."""
        return (
            self.moved.astype("<f4").tobytes(),
            self.quantiles.astype("<f4").tobytes(),
            np.packbits(self.taught).tobytes(),
        )


@dataclass(frozen=True)
class Follower:
    """Follows one release.

    Args:
        runtime: of the release.
        store: keeps its issues.
        held: reads observations.
    """

    runtime: Runtime
    store: Store
    held: Held

    def correction(
        self, init: np.datetime64, latest: np.datetime64
    ) -> tuple[FloatArray | None, FloatArray | None]:
        """The correction [P, H, N] of the forecast of ``init``; between issues the latest one's.

        None for an ``init`` that lies before what is kept or after the ``latest`` observation,
        and for a city that is too large. With it what the graph says of ``init``, [H, N, Q], where
        that was found out on the way.
        """
        release = self.runtime.release
        spec, nodes = release.spec, release.graph.nodes
        stride = int(release.manifest["data"].get("issue_every") or spec.seconds) // spec.seconds
        pending = -(-spec.horizon // stride)
        size = spec.horizon * nodes * len(spec.quantiles)
        warm_up = min(WARM_UP, MOST_NUMBERS // (10 * stride * nodes))
        if init > latest or 2 * pending * size > MOST_NUMBERS or not warm_up:
            return None, None
        step = np.timedelta64(spec.seconds, "s")
        every = stride * step
        between = int((init + step).astype(np.int64)) % (stride * spec.seconds)
        last = init - np.timedelta64(between if stride > 1 else 0, "s")
        times = self.store.issue_times(release.id)
        if last in times and (same := self._kept(last)):
            return same[last].moved, None
        if times and times[-1] > last:
            return None, None
        deletion = self.store.last_deletion(spec.dataset)  # before what it may have taken is read
        kept = self._kept()
        before = max(kept, default=last - warm_up * every)
        learned = kept[before].moved if kept else None
        count = int(min((last - before) / every, warm_up))
        fresh = [last - back * every for back in range(count - 1, -1, -1)]
        if fresh[0] - before > every:  # nobody asked for long: what was due then is not read again
            kept = {}
        found, static = self._issue(fresh, kept, learned, stride)
        after = last - 2 * pending * every
        new = {t: found[t].parts() for t in fresh if t > after}
        taught = {t: found[t].parts()[2] for t in kept if t > after}
        try:
            self.store.keep_issues(release.id, new, taught, after, deletion)
        except SQLAlchemyError as error:
            log.error("issue %s of %s is not kept: %s", last, release.id, error)
        moved = self._kept(last).get(last, found[last]).moved
        return moved, static if last == init else None

    def _kept(self, time: np.datetime64 | None = None) -> dict[np.datetime64, Issue]:
        """Issues by time, the oldest first: all that are kept, or that of one time."""
        spec, nodes = self.runtime.release.spec, self.runtime.release.graph.nodes
        shape = (spec.horizon, nodes)
        return {
            issued: Issue(
                np.frombuffer(moved, "<f4").reshape(-1, *shape),
                np.frombuffer(quantiles, "<f4").reshape(*shape, -1),
                np.unpackbits(np.frombuffer(taught, np.uint8), count=shape[0] * nodes)
                .reshape(shape)
                .astype(bool),
            )
            for issued, moved, quantiles, taught in self.store.issues(self.runtime.release.id, time)
        }

    def _issue(
        self,
        fresh: list[np.datetime64],
        kept: dict[np.datetime64, Issue],
        learned: FloatArray | None,
        stride: int,
    ) -> tuple[dict[np.datetime64, Issue], FloatArray | None]:
        """The issues kept, with what they have taught by now, and the ``fresh`` ones after them.

        They go on from what was ``learned`` [P, H, N] up to the latest that was issued.

        With them the last one's quantiles [H, N, Q] as the graph gave them, where it was alone: in
        a batch the graph's sums come out otherwise in the last digits.
        """
        spec, nodes = self.runtime.release.spec, self.runtime.release.graph.nodes
        step = np.timedelta64(spec.seconds, "s")
        builder = self.held(fresh[-1], int((fresh[-1] - min([*kept, *fresh])) / step))
        end = len(builder.values) - 1

        def row(time: np.datetime64) -> int:
            return end - int((fresh[-1] - time) / step)

        bands = AdaptiveBands(spec.quantiles, spec.horizon, nodes, stride)
        found, given = dict(kept), None
        if learned is not None:
            bands.correction = learned.copy()
        known = row(min(kept, default=fresh[0]))  # later rows may hold values that came late
        batch = max(1, _CELLS // (spec.horizon * nodes))
        for start in range(0, len(fresh), batch):
            times = fresh[start : start + batch]
            window = builder.batch(np.array([row(time) for time in times]))
            blind = np.isnan(window.past).mean(axis=1) > MOST_MISSING
            given = self.runtime.predict(window)
            static = np.where(blind[:, None, :, None], np.nan, given)
            for time, quantiles in zip(times, static, strict=True):
                past = [i for i in found if row(i) > known - spec.horizon]
                origins = np.array([row(i) for i in past], int)
                issued, taught = [found[i].quantiles for i in past], [found[i].taught for i in past]
                for at in range(known + 1, row(time) + 1):
                    bands.learn(at, builder.values[at], origins, issued, taught)
                known = row(time)
                moved = bands.correction.copy()
                said = corrected(quantiles, moved, spec.quantiles, spec.nonnegative)
                found[time] = Issue(moved, said, np.zeros((spec.horizon, nodes), bool))
        return found, given[0] if given is not None and len(given) == 1 else None
