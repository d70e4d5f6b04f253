"""The releases that are served, and their forecasts from held observations, computed once each."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from models.contracts import FelsinaError, FloatArray, Forecast, Window
from serving import tables
from serving.approvals import Approvals
from serving.bands import Follower
from serving.held_windows import HeldWindows
from serving.release import load_release
from serving.retention import RULES
from serving.runtime import Runtime
from serving.served import NotFound, Served, changed_at
from serving.store import Store

MOST_BYTES = 256 * 2**20
"""Of forecasts kept; those that were not asked for the longest go first."""
STALE_STEPS = 3
"""Data are stale when nothing newer came for this many steps."""

_Key = tuple[str, str | None, int, np.datetime64, bool]
"""Release, decision, revision, init time, and whether bands follow what came true.

The decision is there so that what is answered was computed while it stood.
"""


@dataclass(frozen=True)
class Answer:
    """A forecast with what the reader must know of its inputs.

    Attributes:
        forecast: quantiles and times.
        data_as_of: latest observation held, which may be later than ``init_time``.
        computed_at: when the forecast was computed, UTC.
        warnings: sentences about inputs that were missing.
        adaptive: whether the bands follow what came true; else they are the release's own.
    """

    forecast: Forecast
    data_as_of: np.datetime64
    computed_at: np.datetime64
    warnings: tuple[str, ...]
    adaptive: bool = False

    @property
    def nbytes(self) -> int:
        """Memory that its arrays take, and some for the rest."""
        parts = vars(self.forecast).values()
        return 4096 + sum(part.nbytes for part in parts if isinstance(part, np.ndarray))


@dataclass(frozen=True)
class Standing:
    """What an answer about datasets rests on; while it is equal, the answer is the same.

    Attributes:
        parts: release, decision, revision and whether its data are stale, of each dataset.
        withheld: what is not served and why, of an answer about all.
        rules: when the rules of retention changed.
        next_at: when the next observation is expected, seconds since 1970; None if that is unknown.
        step: seconds from one to the next.
        until: when the approval of its release is over, seconds since 1970; None if never.
    """

    parts: tuple[tuple[str, str | None, int, bool], ...]
    rules: int
    withheld: tuple[str, ...] = ()
    next_at: int | None = field(default=None, compare=False)
    step: int = field(default=0, compare=False)
    until: int | None = field(default=None, compare=False)

    def lasts(self, most: int) -> int | None:
        """Seconds, ``most`` at most, to the next observation or the end of the approval.

        Where the observation is overdue it counts as a step away.
        """
        if self.next_at is None:
            return None
        now = int(time.time())
        wait = self.next_at - now
        left = most if self.until is None else self.until - now
        return max(0, min(wait if wait > 0 else self.step, most, left))


class Catalogue:
    """Serves every verified release under a home folder; new ones are picked up while it runs.

    Args:
        home: the ``mlruns`` folder.
        store: held observations and forcings.
        approvals: of the ethics board. Without, whatever the home's pointers name is served, and
            every answer says that nobody has approved it.
    """

    def __init__(self, home: Path, store: Store, approvals: Approvals | None = None) -> None:
        self.home, self.store, self.approvals = home, store, approvals
        self._served = Served(
            home, lambda folder: Runtime(load_release(folder)), approvals=approvals
        )
        self._answers: OrderedDict[_Key, Answer] = OrderedDict()
        self._bytes = 0
        self._making: dict[_Key, Future[Answer]] = {}
        self._lock = threading.Lock()
        self._rules = str(home / RULES)
        self._windows: dict[str, HeldWindows] = {}
        self._following: dict[str, threading.Lock] = {}

    def runtimes(self) -> dict[str, Runtime]:
        """Dataset name to its release; a release that fails verification is never among them."""
        return self._served.champions()

    def serves(self, dataset: str) -> bool:
        """Whether a dataset is served, as far as is known without a look at the disk."""
        return dataset in self._served.held()

    def runtime(self, dataset: str) -> Runtime:
        """The release of a dataset.

        Raises:
            NotFound: if there is none.
            Withheld: if the board does not let any be served.
        """
        return self._served.get(dataset)

    def withheld(self) -> list[dict[str, str]]:
        """Datasets that the board does not let be served, with why."""
        return self._served.not_served()

    def due(self) -> bool:
        """Whether ``standing`` is to be believed only after ``runtimes`` has looked."""
        return self._served.due()

    def standing(self, dataset: str | None = None) -> Standing | None:
        """What an answer about a dataset rests on, or one about all; None if it is not served.

        Nothing is waited for: ``due`` and ``store.slow`` say whether to look first.
        """
        served, states = self._served.held(), self.store.known()
        rules = changed_at(self._rules)

        def part(name: str) -> tuple[str, str | None, int, bool]:
            release, (revision, latest) = served[name].release, states.get(name, (0, None))
            stale = latest is not None and is_stale(latest, release.spec.seconds)
            return release.id, release.approval.decision, revision, stale

        if dataset is None:
            withheld = tuple(f"{n}: {why}" for n, why in self._served.withheld.items())
            return Standing(tuple(part(name) for name in served), rules, withheld)
        if dataset not in served:
            return None
        _, latest = states.get(dataset, (0, None))
        release = served[dataset].release
        step = release.spec.seconds
        next_at = None if latest is None else latest + step
        return Standing((part(dataset),), rules, (), next_at, step, release.approval.ends)

    def forecast(
        self,
        dataset: str,
        init_time: np.datetime64 | None = None,
        adaptive: bool = True,
        runtime: Runtime | None = None,
    ) -> Answer:
        """The forecast from what was observed up to ``init_time`` (the latest, when None).

        Args:
            dataset: name of the dataset.
            init_time: time of the last observation shown to the model.
            adaptive: whether its bands follow what came true, where that is known.
            runtime: the release to ask, where it is at hand; else the one that is served.

        Raises:
            NotFound: if nothing is served or held.
            FelsinaError: if ``init_time`` is off the grid or nothing was observed before it.
        """
        runtime = runtime or self.runtime(dataset)
        revision, latest = self.store.state(dataset)
        if latest is None:
            raise NotFound(
                f"no observations of {dataset} are held; post some to /v1/observations/{dataset}"
            )
        init = latest if init_time is None else init_time
        release = runtime.release
        key = (release.id, release.approval.decision, revision, init, adaptive)
        with self._lock:
            if key in self._answers:
                self._answers.move_to_end(key)
                return self._answers[key]
            first = key not in self._making
            made = self._making.setdefault(key, Future())
        if not first:
            return made.result()
        try:
            answer = self._compute(runtime, init, latest, adaptive)
        except BaseException as error:
            with self._lock:
                del self._making[key]
            made.set_exception(error)
            raise
        with self._lock:
            del self._making[key]
            self._answers[key] = answer
            self._bytes += answer.nbytes
            while self._bytes > MOST_BYTES:
                _, old = self._answers.popitem(last=False)
                self._bytes -= old.nbytes
        made.set_result(answer)
        return answer

    def _compute(
        self, runtime: Runtime, init: np.datetime64, latest: np.datetime64, adaptive: bool
    ) -> Answer:
        spec = runtime.release.spec
        check_grid(runtime, init)
        held = self._held(runtime)
        builder = held.builder(init)
        origin = spec.reach - 1
        window = builder.batch(np.array([origin]))
        if np.isnan(window.past).all():
            raise FelsinaError(
                f"nothing of {spec.dataset} was observed in the {spec.lookback} steps up to "
                f"{init}Z; the latest observation held is {latest}Z"
            )
        moved = static = None
        if adaptive:
            follower = Follower(runtime, self.store, held.builder)
            with self._lock:
                following = self._following.setdefault(runtime.release.id, threading.Lock())
            with following:  # those who come meanwhile find the issue kept
                moved, static = follower.correction(init, latest)
        forecast = runtime.forecast(builder, window, origin, moved, static)
        warnings = tuple(input_warnings(runtime, window, builder.forcings))
        return Answer(forecast, latest, now(), warnings, moved is not None)

    def _held(self, runtime: Runtime) -> HeldWindows:
        """What is held for a release, kept in memory for as long as the release is served."""
        with self._lock:
            if runtime.release.id not in self._windows:
                served = {one.release.id for one in self._served.held().values()}
                self._windows = {i: held for i, held in self._windows.items() if i in served}
                self._windows[runtime.release.id] = HeldWindows(runtime, self.store)
            return self._windows[runtime.release.id]


def now() -> np.datetime64:
    """This moment, UTC, to the second."""
    return np.datetime64(int(time.time()), "s")


def is_stale(latest: int | np.datetime64, step: int) -> bool:
    """Whether data are stale whose latest observation is of that time, or second since 1970."""
    if isinstance(latest, np.datetime64):
        latest = tables.seconds(latest)
    return int(time.time()) - latest > STALE_STEPS * step


def check_grid(runtime: Runtime, *times: np.datetime64) -> None:
    """Refuse times that are not on the dataset's grid."""
    spec = runtime.release.spec
    anchor = np.datetime64(runtime.release.manifest["data"]["start"].rstrip("Z"), "s")
    for stamp in times:
        off = int((stamp - anchor).astype(np.int64)) % spec.seconds
        if off:
            raise FelsinaError(
                f"time {stamp}Z is {off} s off the grid of {spec.dataset} (step {spec.step}); the "
                f"stamp before it is {stamp - np.timedelta64(off, 's')}Z"
            )


def input_warnings(runtime: Runtime, window: Window, forcings: FloatArray) -> list[str]:
    """Sentences about inputs that were missing."""
    spec, graph = runtime.release.spec, runtime.release.graph
    out = []
    for f, forcing in enumerate(spec.forcings):
        ahead = forcings[-spec.horizon :, :, f]
        if forcing.known_future and (lacking := int(np.isnan(ahead).any(axis=1).sum())):
            out.append(
                f"{forcing.name} is not known for {lacking} of {spec.horizon} leads; the value of "
                "a day earlier, or the mean, stands in"
            )
        recent = forcings[: -spec.horizon, :, f][-spec.lookback :]
        if np.isnan(recent).all():
            out.append(f"no past {forcing.name} is held; its mean stands in")
    silent = [graph.ids[n] for n in np.flatnonzero(np.isnan(window.past[0]).all(axis=0))]
    if silent:
        some = ", ".join(silent[:5]) + (f" and {len(silent) - 5} more" if len(silent) > 5 else "")
        out.append(f"nothing was observed in the last {spec.lookback} steps at {some}")
    return out
