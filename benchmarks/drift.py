"""Faults planted into long synthetic years: when ``felsina monitor`` finds them, what it invents.

For each domain of the embedded city, ``--years`` and ``KNOWN_DAYS`` days are synthesised. On the
known days a release is made by the quick chain (minutes; ``--home`` keeps it), 90 days of which are
its test; the years after them are watched day by day, as the command does it.

    python -m benchmarks.drift --years 20
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.tables import head, row
from models.contracts import FloatArray
from models.windows import WindowBuilder
from pipelines.ageing import WINDOW_DAYS, Days
from pipelines.commands.terminal import Stages
from pipelines.domains import synthesis
from pipelines.domains.registry import Domain, registered
from pipelines.monitor import watch_of
from pipelines.prepare import open_registered
from pipelines.run import run_chain
from serving.drift import Alarm
from serving.release import champions, load_release
from serving.runtime import Runtime
from training.dataset import CityDataset, write_dataset

YEAR, AFTER = 365, 14
KNOWN_DAYS = 600
"""Of which 420 train, 90 validate and calibrate, and 90 test."""
SEED = 7
LEAVES = ("01-07", "08-05", "08-26", "12-24")
"""Days of the year on which the worlds' people leave or come back; no calendar tells the models."""
QUIET_DAYS = 7
"""Days without it after which the same alarm counts anew."""

Plant = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]
"""From values [D, steps of a day, N] since a fault began, the last ones before it [N] and the
deviations from the usual week [N] to what sensors report instead."""


@dataclass(frozen=True)
class Fault:
    """Something that may happen.

    Attributes:
        name: for the table.
        kinds: alarms that find it.
        plant: does it.
        whole: whether it happens to all sensors.
        matters: days until it is so large that it counts.
    """

    name: str
    kinds: tuple[str, ...]
    plant: Plant
    whole: bool = False
    matters: int = 0


class World:
    """Years of a domain, and a release that was made from the days before them.

    Args:
        domain: with an embedded city.
        years: that are watched.
        home: where the release is made, if it is not there.
    """

    def __init__(self, domain: Domain, years: int, home: Path) -> None:
        folder = home / "years" / f"{domain.embedded}-{years}"
        known = home / "data" / domain.embedded
        if not folder.is_dir():
            synthesise(domain, folder, KNOWN_DAYS + YEAR * years)
        dataset = open_registered(folder)
        if domain.embedded not in champions(home):
            cut(dataset, known)
            with Stages() as stages:
                run_chain(known, home, stages)
        runtime = Runtime(load_release(champions(home)[domain.embedded]))
        self.spec = runtime.release.spec
        self.builder = dataset.builder(self.spec)
        self.per_day = self.spec.steps_per_day
        self.watch, _ = watch_of(runtime, open_registered(known))
        rows = KNOWN_DAYS * self.per_day, len(self.builder.values)
        self.days = self.watch.days(self.builder, *rows)

    def _by_day(self, values: FloatArray) -> FloatArray:
        whole = len(values) // self.per_day * self.per_day
        return values[:whole].reshape(-1, self.per_day, values.shape[1])

    def alarms(self, builder: WindowBuilder, days: Days, day: int) -> list[Alarm]:
        """What stands at the end of a day that is watched, counted from the first one."""
        stop = (KNOWN_DAYS + day + 1) * self.per_day
        values = builder.values[stop - WINDOW_DAYS * self.per_day : stop]
        window = days.part(slice(max(0, day + 1 - WINDOW_DAYS), day + 1))
        return self.watch.judge(window, values, builder.times(np.array([stop - 1]))[0])[0]

    def invented(self) -> list[tuple[np.datetime64, Alarm]]:
        """Alarms where nothing was planted, by day; one that comes back within a week is one."""
        last: dict[tuple[str, str | None], int] = {}
        found = []
        for day, date in enumerate(self.days.dates):
            for alarm in self.alarms(self.builder, self.days, day):
                key = (alarm.kind, alarm.node)
                if day - last.get(key, -YEAR) > QUIET_DAYS:
                    found.append((date, alarm))
                last[key] = day
        return found

    def delay(self, fault: Fault, dice: np.random.Generator) -> tuple[int | None, float]:
        """Days until a fault is found, counted from when it matters, and the stability then.

        None where it is not within ``AFTER`` days.
        """
        length = fault.matters + AFTER
        while True:
            day = int(dice.integers(WINDOW_DAYS, len(self.days.dates) - length))
            node = int(dice.integers(len(self.watch.ids)))
            begin = (KNOWN_DAYS + day) * self.per_day
            quiet = not self.alarms(self.builder, self.days, day - 1)
            if quiet and np.isfinite(self.builder.values[begin - 1, node]):
                break
        builder = copy(self.builder)
        builder.values = self.builder.values.copy()
        touched = slice(None) if fault.whole else slice(node, node + 1)
        stop = begin + length * self.per_day
        since = self._by_day(self.builder.values[begin:stop, touched])
        last, scale = self.builder.values[begin - 1, touched], self.watch.scale[touched]
        reported = fault.plant(since, last, scale).reshape(stop - begin, -1)
        builder.values[begin:stop, touched] = reported
        after = self.watch.days(builder, begin, stop)
        both = (vars(self.days.part(slice(0, day))).values(), vars(after).values())
        days = Days(*(np.concatenate(parts) for parts in zip(*both, strict=True)))
        expected = None if fault.whole else self.watch.ids[node]
        stability = self.watch.stability(builder, stop - 7 * self.per_day, stop)
        for step in range(length):
            for alarm in self.alarms(builder, days, day + step):
                if alarm.kind in fault.kinds and alarm.node == expected:
                    return step + 1 - fault.matters, stability
        return None, stability


def synthesise(domain: Domain, folder: Path, days: int) -> None:
    """A world like the embedded city, but that no sensor comes late or dies."""
    assert domain.synthesise is not None
    observe = synthesis.observe

    def spared(rng, truth, noise_sd, nodes, times, late, dead):  # noqa: ANN001, ANN202
        values = observe(rng, truth, noise_sd, nodes, times, late, dead)
        noise = np.broadcast_to(noise_sd, truth.shape) * rng.normal(size=truth.shape)
        for node in map(list(nodes["id"]).index, (late, dead)):
            gone = np.isnan(values[:, node])
            values[gone, node] = (truth + noise)[gone, node]
        return values

    synthesis.observe = spared
    try:
        domain.synthesise(folder, SEED, days)
    finally:
        synthesis.observe = observe


def cut(dataset: CityDataset, folder: Path) -> None:
    """Write the known days as a dataset folder."""
    stamp = pd.Timestamp(dataset.start, tz="UTC")
    end, splits = stamp + pd.Timedelta(days=KNOWN_DAYS), {}
    for name, share in (("train_end", 0.7), ("validation_end", 0.85)):
        splits[name] = (stamp + pd.Timedelta(days=share * KNOWN_DAYS)).to_pydatetime()
    tables = {
        name: pd.read_parquet(dataset.folder / f"{name}.parquet").set_index("time")[:end]
        for name in ("series", "forcings")
    }
    edges = dataset.folder / "edges.csv"
    write_dataset(
        folder,
        dataset.header | {"splits": splits},
        pd.read_csv(dataset.folder / "nodes.csv"),
        tables["series"].iloc[:-1],
        pd.read_csv(edges) if edges.is_file() else None,
        tables["forcings"].iloc[:-1],
    )


def lost(values: FloatArray, last: FloatArray, scale: FloatArray) -> FloatArray:
    """Nothing comes any more."""
    return np.full_like(values, np.nan)


def frozen(values: FloatArray, last: FloatArray, scale: FloatArray) -> FloatArray:
    """The last value comes for ever."""
    return np.where(np.isnan(values), values, last)


def times(factor: float) -> Plant:
    """All values so many times as large."""
    return lambda values, last, scale: values * factor


def higher(deviations: float) -> Plant:
    """All values higher by so many deviations from the usual week."""
    return lambda values, last, scale: values + deviations * scale


def creeping(a_week: float, relative: bool) -> Plant:
    """More with each day, as a share or in deviations."""

    def plant(values: FloatArray, last: FloatArray, scale: FloatArray) -> FloatArray:
        by = a_week * np.arange(1, len(values) + 1)[:, None, None] / 7
        return values * (1 + by) if relative else values + by * scale

    return plant


def faults(nonnegative: bool) -> list[Fault]:
    """What is planted."""
    unit = "%" if nonnegative else " % of its deviation"

    def shift(size: float) -> Plant:
        return times(1 + size) if nonnegative else higher(size)

    one = [
        Fault(f"a sensor's level {100 * size:+.0f}{unit}", ("level",), shift(size))
        for size in (-0.5, -0.3, -0.2, -0.1, 0.1, 0.2, 0.3, 0.5)
    ]
    every = [
        Fault(f"all levels {100 * size:+.0f}{unit}", ("residual", "coverage"), shift(size), True)
        for size in (-0.3, -0.2, -0.1, 0.1, 0.2, 0.3)
    ]
    a_week = 0.01 if nonnegative else 0.05
    creep = f"{100 * a_week:.0f}{unit} a week"
    ramp = creeping(a_week, nonnegative)
    return [
        Fault("a sensor is silent", ("silent",), lost),
        Fault("a sensor repeats its last value", ("flat",), frozen),
        *one,
        *every,
        Fault(f"a sensor creeps, {creep}", ("level",), ramp, False, 70),
        Fault(f"all creep, {creep}", ("residual", "coverage"), ramp, True, 70),
    ]


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--years", type=int, default=20)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--domain", nargs="*")
    parser.add_argument("--home", type=Path, help="kept, for another run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        home = options.home or Path(place)
        os.environ |= {"FELSINA_HOME": str(home), "FELSINA_STORE": str(home / "observations.db")}
        for domain in registered().values():
            if domain.synthesise and domain.name in (options.domain or [domain.name]):
                told(domain.name, World(domain, options.years, home), options)


def told(name: str, world: World, options: argparse.Namespace) -> None:
    """The tables of a domain."""
    head(name, "alarms", "a year", "kinds", "as the city leaves or comes back")
    found = world.invented()
    kinds = Counter(alarm.kind for _, alarm in found)
    each = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    away = sum(alarm.node is None and _leaving(date) for date, alarm in found)
    row("nothing planted", len(found), f"{len(found) / options.years:.2f}", each or "none", away)
    head(f"{name}: planted", "in 3 days", "in 14", "median", "9 in 10", "stability")
    for fault in faults(world.spec.nonnegative):
        dice = np.random.default_rng(0)
        tried = [world.delay(fault, dice) for _ in range(options.trials)]
        days = np.array([AFTER + 1 if day is None else day for day, _ in tried])
        row(
            fault.name,
            f"{(days <= 3).mean():.0%}",
            f"{(days <= AFTER).mean():.0%}",
            *(_days(float(np.quantile(days, q))) for q in (0.5, 0.9)),
            f"{np.median([s for _, s in tried]):.2f}",
        )


def _leaving(date: np.datetime64) -> bool:
    """Whether a day lies in the week after one on which the worlds' habits change by themselves."""
    year = str(date)[:4]
    since = [int((date - np.datetime64(f"{year}-{day}")).astype(int)) for day in LEAVES]
    return any(0 <= days <= QUIET_DAYS for days in since)


def _days(count: float) -> str:
    return f"> {AFTER}" if count > AFTER else f"{count:.0f}"


if __name__ == "__main__":
    main()
