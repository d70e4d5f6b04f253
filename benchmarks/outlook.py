"""Whether an outlook's probabilities come true, at the gauge and on the map.

    python -m benchmarks.outlook [--members 25] [--most 60] [--dataset DIR]

On the embedded flood's test span, by the release under ``FELSINA_HOME`` (``felsina up``): is a
crest overtopped within eight hours, at every gauge; and at one gauge, beside the plain of
``examples/outlook.toml``, which homes get wet, where the truth is the solver under the stage that
was observed. Cases are chosen by what is known when the forecast is issued. Then, of the example
itself: what asking the solver in a surrogate's terms (one wave a member) changes. Markdown tables.
"""

from __future__ import annotations

import argparse
import tomllib
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from benchmarks.tables import head, row
from models.contracts import BoolArray, FloatArray, Forecast, IntArray
from models.joint import exceedance, within
from models.physics.inundation import WET_M
from models.scenario import ScenarioSpec
from pipelines.domains.flood.exposure import Homes
from pipelines.domains.flood.forcing import Setting, open_setting
from pipelines.domains.flood.gauge import ask_gauge, joint_members
from pipelines.domains.flood.inundation_sampling import Grid, simulated
from pipelines.domains.flood.inundation_surrogate import spec_of
from pipelines.domains.flood.member_floods import answered_floods, simulated_floods
from pipelines.domains.flood.outlook_areas import area_table
from pipelines.domains.flood.outlook_file import GaugeKeys, Outlook
from pipelines.domains.flood.outlook_report import DEPTHS_M
from pipelines.domains.flood.overtopping import landing, spills
from pipelines.domains.flood.scenario import homes_of
from pipelines.domains.registry import domain_of
from pipelines.run import embedded_folder
from pipelines.settings import home
from pipelines.train import open_registered
from serving.release import champions, load_release
from serving.runtime import Runtime
from training.brier import brier_scores
from training.dataset import CityDataset

EXAMPLE = Path(__file__).parents[1] / "pipelines" / "domains" / "flood" / "examples"
HOURS, LEVEL, NODE = 8, 1, "foce"
"""Crests are ``threshold_2``: levels that three floods of the train span passed."""
RISE_M, RISE_H = 0.1, 2
"""A river that has risen by so much in so many hours is rising."""
EVERY_H = 1
BINS = np.linspace(0, 1, 6)


@dataclass(frozen=True)
class Span:
    """The test span and who forecasts it."""

    dataset: CityDataset
    runtime: Runtime

    @property
    def steps(self) -> int:
        """In an hour."""
        return 3600 // self.dataset.spec.seconds

    @property
    def origins(self) -> IntArray:
        """Rows of issue times."""
        splits, horizon = self.dataset.splits, self.dataset.spec.horizon
        stop = len(self.dataset.values) - horizon
        return np.arange(splits.validation_end - 1, stop, EVERY_H * self.steps)

    def forecast(self, origin: int) -> Forecast:
        builder = self.dataset.builder(self.runtime.release.spec)
        return self.runtime.forecast(builder, builder.batch(np.array([origin])), origin)

    def known(self, origins: IntArray, crests: FloatArray) -> tuple[BoolArray, BoolArray]:
        """[B, N] whether the gauge is seen under its crest, and whether it also rises."""
        values = self.dataset.values
        now, before = values[origins], values[origins - RISE_H * self.steps]
        under = now < crests
        return under, under & (now - before >= RISE_M)

    def crossed(self, origins: IntArray, crests: FloatArray) -> FloatArray:
        """[B, N] whether a crest is reached within the hours; NaN where too little was seen."""
        ahead = self.dataset.values[origins[:, None] + np.arange(1, HOURS * self.steps + 1)]
        seen, over = ~np.isnan(ahead), np.nan_to_num(ahead, nan=-np.inf) >= crests
        enough = over.any(axis=1) | (seen.mean(axis=1) > 0.9)
        return np.where(enough, over.any(axis=1), np.nan)


def opened(folder: Path | None) -> Span:
    dataset = open_registered(folder or embedded_folder(domain_of("flood"), home()))
    return Span(dataset, Runtime(load_release(champions(home())[dataset.spec.dataset])))


def at_the_gauges(span: Span, members: int) -> None:
    dataset, leads = span.dataset, HOURS * span.steps
    crests, origins = dataset.graph.thresholds[:, LEVEL], span.origins
    shape = len(origins), dataset.graph.nodes
    share, joint = np.empty(shape), np.empty(shape)
    spec, template = span.runtime.release.spec, span.runtime.template[:, :leads]
    for b, origin in enumerate(origins):
        forecast = span.forecast(origin)
        chance = exceedance(
            forecast.quantiles[:leads], spec.quantiles, crests[:, None], spec.nonnegative
        )
        joint[b] = within(chance, template)[-1, :, 0]
        for node in range(shape[1]):
            told = joint_members(span.runtime, forecast, node, members)[:, :leads]
            share[b, node] = (told >= crests[node]).any(axis=1).mean()
    train = np.arange(dataset.spec.lookback, dataset.splits.train_end - leads, span.steps)
    under, rises = span.known(origins, crests)
    before = span.known(train, crests)
    crossed, earlier = span.crossed(origins, crests), span.crossed(train, crests)
    weeks = (origins - origins[0]) // (7 * dataset.spec.steps_per_day)
    head("crest overtopped within 8 h", "cases", "came true", "by", "Brier", "skill", "90 %")
    tables = {}
    for name, chosen, then in (
        ("every hour under it", under, before[0]),
        ("of these, where the river rises", rises, before[1]),
    ):
        outcome = np.where(chosen, crossed, np.nan)
        rate = float(np.nanmean(earlier[then]))
        references = {"climatology": np.full((1, 1), rate), "persistence": np.zeros((1, 1))}
        for by, guess in (("share of members", share), ("quantiles and ranks", joint)):
            found = brier_scores(guess, outcome, references, weeks)
            interval = found["skill_climatology_90"]
            told = "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
            cells = [f"{found['brier']:.4f}", f"{found['skill_climatology']:.2f}", told]
            row(name, found["cases"], found["observed"], by, *cells)
        row(name, found["cases"], "", "never", f"{found['brier_persistence']:.4f}", "", "")
        row(name, "", "", f"{rate:.3f}, the train span's", f"{found['brier_climatology']:.4f}", 0)
        own = found["observed"] / found["cases"]
        row(name, "", "", f"{own:.3f}, their own", f"{own * (1 - own):.4f}", "")
        seen = ~np.isnan(outcome)
        tables[name] = share[seen], outcome[seen]
    reliability(tables)


def reliability(tables: dict[str, tuple[FloatArray, FloatArray]]) -> None:
    """Frequency that came true, by bin of the probability that was said."""
    names = ([f"{name}: cases", "mean said", "came true"] for name in tables)
    head("said", *chain.from_iterable(names))
    for low, high in pairwise(BINS):
        cells = []
        for said, came in tables.values():
            inside = (said >= low) & ((said < high) | (high == 1))
            means = (f"{x[inside].mean():.2f}" if inside.any() else "" for x in (said, came))
            cells += [int(inside.sum()), *means]
        row(f"{low:.0%} to {high:.0%}", *cells)


def on_the_map(span: Span, members: int, most: int) -> None:
    dataset = span.dataset
    asked = Outlook.model_validate(tomllib.loads((EXAMPLE / "outlook.toml").read_text()))
    node = dataset.graph.ids.index(NODE)
    crest = float(dataset.graph.thresholds[node, LEVEL])
    keys = asked.gauge.model_copy(update={"crest_m": crest, "breach": None})
    setting = open_setting(asked, EXAMPLE)
    homes = homes_of(setting, EXAMPLE)
    assert homes is not None
    _, rises = span.known(span.origins, np.full(dataset.graph.nodes, crest))
    seen = ~np.isnan(span.crossed(span.origins, np.full(dataset.graph.nodes, crest)))
    chosen = span.origins[(rises & seen)[:, node]]
    if len(chosen) > most:
        chosen = chosen[np.linspace(0, len(chosen) - 1, most).round().astype(int)]
    said, single, truth = [], [], []
    for origin in chosen:
        told = joint_members(span.runtime, span.forecast(origin), node, members)
        now = dataset.values[origin, node]
        leads = np.arange(told.shape[1] + 1) / span.steps
        told = np.concatenate([np.full((members, 1), now), told], axis=1)
        ahead = dataset.values[origin : origin + told.shape[1], node].astype(float)
        known = ~np.isnan(ahead)
        was = np.interp(leads, leads[known], ahead[known])
        every = np.concatenate([told, np.median(told, axis=0)[None], was[None]])
        wet = homes_wet(setting, homes, keys, leads, every)
        said.append(wet[:members].mean(axis=0))
        single.append(wet[members])
        truth.append(wet[members + 1])
    scores(np.array(said), np.array(single, float), np.array(truth, float), homes)


def homes_wet(
    setting: Setting, homes: Homes, keys: GaugeKeys, hours: FloatArray, stage_m: FloatArray
) -> FloatArray:
    """[M, areas + homes] whether water comes to a home of an area, and to each home."""
    spilled = spills(keys, hours, stage_m, 0.0, float(HOURS))
    cells = landing(keys, setting.terrain, setting.plain)
    floods = simulated_floods(setting, cells, spilled, lambda share: None)
    wet = np.zeros((len(stage_m), len(homes.id)), bool)
    wet[spilled.wet] = floods.depth_m[:, homes.cell] >= WET_M
    areas = [wet[:, homes.area == name].any(axis=1) for name in np.unique(homes.area)]
    return np.concatenate([np.array(areas).T, wet], axis=1)


def scores(said: FloatArray, single: FloatArray, truth: FloatArray, homes: Homes) -> None:
    count = len(np.unique(homes.area))
    tables = {}
    head("in the water within 8 h", "cases", "came true", "by", "Brier")
    for name, part in (("an area's first home", slice(count)), ("a home", slice(count, None))):
        came = truth[:, part]
        guesses = {"the outlook": said[:, part], "the median member alone": single[:, part]}
        guesses |= {"their own frequency": came.mean(axis=0), "never": np.zeros(1)}
        for by, guess in guesses.items():
            row(name, came.size, int(came.sum()), by, f"{((guess - came) ** 2).mean():.4f}")
        tables[name] = said[:, part].ravel(), came.ravel()
    people = homes.people
    head("people in water", "mean", "bias", "MAE")
    was = truth[:, count:] @ people
    for by, guess in (("the outlook's expected", said), ("the median member alone", single)):
        off = guess[:, count:] @ people - was
        row(by, f"{was.mean():.0f}", f"{off.mean():+.0f}", f"{np.abs(off).mean():.0f}")
    reliability(tables)


@dataclass(frozen=True)
class SolverAsSurrogate:
    """Answers a surrogate's questions without an error of its own."""

    spec: ScenarioSpec
    id: str = "the solver"

    def answer(self, scalars: FloatArray, fields: FloatArray) -> FloatArray:
        grid = Grid(*(self.spec.facts[name] for name in ("rows", "columns", "cell_m")))
        parts = np.array_split(np.arange(len(scalars)), -(-len(scalars) // 16))
        found = [simulated(scalars[i].astype(np.float32), np.array(fields[i]), grid) for i in parts]
        maps = np.concatenate(found)
        maps[..., -1] = np.nan_to_num(maps[..., -1], nan=HOURS)
        return np.repeat(maps[..., None], len(self.spec.quantiles), axis=-1)


def in_a_surrogates_terms() -> None:
    asked = Outlook.model_validate(tomllib.loads((EXAMPLE / "outlook.toml").read_text()))
    setting, gauge = open_setting(asked, EXAMPLE), ask_gauge(asked.gauge, EXAMPLE)
    cells = landing(asked.gauge, setting.terrain, setting.plain)
    spilled = spills(asked.gauge, gauge.hours, gauge.stage_m, 0.0, asked.hours)
    truth = simulated_floods(setting, cells, spilled, lambda share: None)
    stand_in = SolverAsSurrogate(spec_of("solver", *setting.terrain.bed_m.shape, 50.0, 100.0))
    found, told = answered_floods(setting, cells, spilled, stand_in, lambda share: None)
    head("probability of", "mean, the solver", "asked by waves", "MAE where either", "largest")
    for depth in DEPTHS_M:
        a, b = truth.probability(depth), found.probability(depth)
        off = np.abs(a - b)[(a > 0) | (b > 0)]
        row(f"{depth:g} m", *(f"{x:.4f}" for x in (a.mean(), b.mean(), off.mean(), off.max())))
    homes = homes_of(setting, EXAMPLE)
    assert homes is not None
    head(
        "area",
        "P wet",
        "by waves",
        "P many",
        "by waves",
        "people",
        "by waves",
        "from h",
        "by waves",
    )
    tables = [area_table(homes, floods, asked.alerts) for floods in (truth, found)]
    names = ("home_wet", "many_grave", "people_expected", "first_h")
    for (_, was), (_, now) in zip(*(table.iterrows() for table in tables), strict=True):
        row(was["area"], *(f"{one[name]:.4g}" for name in names for one in (was, now)))
    print(f"\n{told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=25)
    parser.add_argument("--most", type=int, default=60, help="issue times on the map")
    parser.add_argument("--dataset", type=Path, help="released stages with thresholds: gauges only")
    options = parser.parse_args()
    span = opened(options.dataset)
    at_the_gauges(span, 50)
    if options.dataset:
        return
    on_the_map(span, options.members, options.most)
    in_a_surrogates_terms()


if __name__ == "__main__":
    main()
