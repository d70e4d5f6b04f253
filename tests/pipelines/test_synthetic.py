"""The embedded city holds what its modules say was planted, and nothing that cannot be."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from pipelines.commands.data import synthesise
from pipelines.domains import synthesis
from pipelines.domains.energy import synthetic as energy
from pipelines.domains.flood import synthetic as flood
from pipelines.domains.traffic import synthetic as traffic
from training.dataset import CityDataset, open_dataset

MODULES = {"traffic": traffic, "energy": energy, "flood": flood}
FEWEST = {"traffic": 24, "energy": 18, "flood": 8}


@dataclass
class City:
    module: ModuleType
    dataset: CityDataset
    nodes: pd.DataFrame
    series: pd.DataFrame
    test_start: datetime

    @property
    def poor(self) -> np.ndarray:
        return self.nodes["mean_income_eur"].to_numpy() < synthesis.LOW_INCOME_EUR

    @property
    def whole(self) -> np.ndarray:
        return ~self.nodes["id"].isin([self.module.LATE, self.module.DEAD]).to_numpy()


@pytest.fixture(scope="module")
def cities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, City]:
    made = {}
    for domain, module in MODULES.items():
        folder = tmp_path_factory.mktemp("city") / domain
        module.synthesise(folder)
        dataset = open_dataset(folder, domains=list(MODULES))
        series = pd.read_parquet(folder / "series.parquet").set_index("time")
        nodes = pd.read_csv(folder / "nodes.csv")
        end = synthesis.split_times(pd.DatetimeIndex(series.index))[1]
        made[domain] = City(module, dataset, nodes, series, end)
    return made


@pytest.fixture(params=list(MODULES))
def city(request: pytest.FixtureRequest, cities: dict[str, City]) -> City:
    return cities[request.param]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("domain", MODULES)
def test_the_seed_decides_every_byte(domain: str, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        MODULES[domain].synthesise(tmp_path / name, seed=seed)
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    assert first["series.parquet"] != contents(tmp_path / "c")["series.parquet"]


@pytest.mark.parametrize("domain", MODULES)
def test_a_record_may_be_of_another_length(domain: str, tmp_path: Path) -> None:
    folder, module = tmp_path / "short", MODULES[domain]
    synthesise(domain, folder, seed=3, days=120)
    dataset = open_dataset(folder, domains=list(MODULES))
    steps = 120 * dataset.spec.steps_per_day
    assert steps - len(dataset.values) in (0, 24)
    assert module.DAYS > 120
    assert dataset.splits.train_end == round(0.7 * 120) * dataset.spec.steps_per_day


def test_it_says_what_it_is(city: City) -> None:
    spec = city.dataset.spec
    assert spec.dataset == f"embedded-{spec.domain}" == city.module.NAME
    assert city.dataset.synthetic
    assert "not observations" in city.dataset.attribution
    assert city.nodes["name"].str.contains("synthetic").all()
    assert len(city.nodes) == FEWEST[spec.domain]
    shared = city.nodes.groupby("area")[["residents", "mean_income_eur"]].nunique()
    assert (shared == 1).all(axis=None)
    splits = city.dataset.splits
    assert splits.train_end / splits.steps == pytest.approx(0.70, abs=0.01)
    assert splits.validation_end / splits.steps == pytest.approx(0.85, abs=0.01)


def test_gaps_come_in_bursts(city: City) -> None:
    missing = city.series.loc[:, city.whole].isna()
    assert 0.01 < missing.mean().mean() < 0.04
    bursts = (missing & ~missing.shift(fill_value=False)).sum().sum()
    assert missing.sum().sum() / bursts > 4


def test_one_sensor_is_late_and_one_dies_in_the_test_span(city: City) -> None:
    late, dead = city.series[city.module.LATE], city.series[city.module.DEAD]
    assert late.first_valid_index() >= city.series.index[len(city.series) // 4]
    assert city.test_start < dead.last_valid_index() < city.series.index[-1] - pd.Timedelta("10D")
    others = city.series.loc[:, city.whole].iloc[-96:]
    assert others.notna().any().all()


def test_poor_areas_have_fewer_sensors_and_more_gaps(city: City) -> None:
    areas = city.nodes.groupby("area").agg(residents=("residents", "first"), nodes=("id", "size"))
    poor = np.array([synthesis.AREAS[name].mean_income_eur < 22_000 for name in areas.index])
    residents = areas["residents"].to_numpy()
    a_sensor = [residents[group].sum() / areas["nodes"][group].sum() for group in (poor, ~poor)]
    assert a_sensor[0] > 1.7 * a_sensor[1]
    missing = city.series.isna().mean().to_numpy()
    gaps = [missing[group & city.whole].mean() for group in (city.poor, ~city.poor)]
    assert gaps[0] > 1.8 * gaps[1]


def test_poor_areas_are_measured_worse(city: City) -> None:
    week = 7 * city.dataset.spec.steps_per_day
    jitter = city.series.diff(week).diff().diff().abs().median()
    if city.dataset.spec.nonnegative:  # there the noise grows with the level
        jitter = jitter / city.series.median()
    assert jitter[city.poor].mean() > 1.25 * jitter[~city.poor].mean()


@pytest.mark.parametrize(
    ("domain", "change"),
    [("traffic", "2023-10-29"), ("traffic", "2024-03-31"), ("energy", "2024-03-31")],
)
def test_life_keeps_civil_time_when_the_clocks_change(
    cities: dict[str, City], domain: str, change: str
) -> None:
    day = pd.Timestamp(change)
    total = cities[domain].series.loc[:, cities[domain].whole].mean(axis=1)
    total = total[total.index.day_of_week < 5]
    around = {
        "before": slice(str(day - pd.Timedelta("17D")), str(day - pd.Timedelta("2D"))),
        "after": slice(str(day + pd.Timedelta("2D")), str(day + pd.Timedelta("17D"))),
    }

    def shift(zone: str) -> int:
        profiles = []
        for span in around.values():
            part = total.loc[span].tz_convert(zone)
            profiles.append(part.groupby(part.index.hour).mean().to_numpy())
        before, after = profiles
        return max(range(-3, 4), key=lambda k: np.corrcoef(np.roll(before, k), after)[0, 1])

    assert shift("Europe/Rome") == 0
    assert abs(shift("UTC")) == 1


def test_morning_peak_is_at_eight(cities: dict[str, City]) -> None:
    city = cities["traffic"]
    local = city.series.tz_convert("Europe/Rome")
    days = pd.to_datetime(local.index.date)
    workdays = local[~days.isin(["2023-11-01", "2023-12-08"]) & (days.day_of_week < 5)]
    inbound = workdays.loc[:, (city.nodes["role"] == "in").to_numpy()].mean(axis=1)
    for month in (10, 11, 2, 4):
        part = inbound[inbound.index.month == month]
        assert part.groupby(part.index.hour).mean().idxmax() == 8


def test_holidays_are_quiet(cities: dict[str, City]) -> None:
    local = cities["traffic"].series.tz_convert("Europe/Rome").mean(axis=1)
    at_eight = local[local.index.hour == 8]
    assert at_eight["2023-11-01"].item() < 0.6 * at_eight["2023-11-08"].item()


def test_incidents_cut_flow_and_reach_the_loops_upstream(cities: dict[str, City]) -> None:
    city = cities["traffic"]
    local = city.series.tz_convert("Europe/Rome")
    usual = local.groupby([local.index.day_of_week, local.index.hour]).transform("median")
    ratio = (local / usual).where(usual > 250).to_numpy()
    fell = (ratio[1:-1] < 0.6) & (ratio[:-2] > 0.8)
    assert fell.sum() > 30
    graph = city.dataset.graph
    before, after = [], []
    for source, target in zip(graph.source, graph.target, strict=True):
        when = np.flatnonzero(fell[:, target])
        before.append(ratio[when, source])
        after.append(ratio[when + 2, source])
    drop = np.concatenate(before) - np.concatenate(after)
    assert np.nanmean(drop) > 0.08


def test_an_incident_fades_with_each_loop() -> None:
    upstream = np.zeros((3, 3))
    upstream[0, 1] = upstream[1, 2] = 1  # loop 0 feeds 1, which feeds 2
    origin = np.zeros((5, 3))
    origin[0, 2] = 0.5
    cut = traffic.incident_cut(origin, upstream)
    assert cut[[0, 1, 2], [2, 1, 0]] == pytest.approx([0.5, 0.3, 0.18])
    assert cut.sum() == pytest.approx(0.98)


def test_flow_saturates_and_old_buildings_need_heat(cities: dict[str, City]) -> None:
    nodes, series = cities["traffic"].nodes, cities["traffic"].series
    assert (series.quantile(0.999).to_numpy() < 1.25 * nodes["capacity_veh_h"]).all()
    city = cities["energy"]
    assert np.diff(energy.leak_w_m2_k(np.array([1900.0, 1975.0, 2010.0]))).max() < 0
    forcings = city.dataset.forcings
    assert forcings is not None
    temp = pd.Series(forcings[: len(city.series), 0, 0], city.series.index).resample("1D").mean()
    load = city.series.loc[:, city.whole].mean(axis=1).resample("1D").mean()
    mild = load[(temp > 16) & (temp < 20)].mean()
    assert load[temp < 8].mean() > 1.15 * mild
    assert load[temp > 27].mean() > 1.15 * mild


def events(above: pd.Series) -> pd.DatetimeIndex:
    """Starts of exceedances that are at least twelve hours apart."""
    joined = above.rolling(24, min_periods=1).max().astype(bool)
    return pd.DatetimeIndex(joined.index[joined & ~joined.shift(fill_value=False)])


def test_alert_levels_are_crossed_in_every_split(cities: dict[str, City]) -> None:
    city = cities["flood"]
    train_end, validation_end = synthesis.split_times(pd.DatetimeIndex(city.series.index))
    for node in city.nodes[city.whole].itertuples():
        stage = city.series[node.id]
        assert node.threshold_1 < node.threshold_2 < node.threshold_3
        starts = events(stage > node.threshold_1)
        assert 6 <= len(starts) <= 20
        assert 1 <= len(events(stage > node.threshold_2)) <= 8
        assert (starts < train_end).sum() >= 2
        assert (starts >= validation_end).sum() >= 2
    anywhere = (city.series > city.nodes["threshold_1"].to_numpy()).any(axis=1)
    assert anywhere[(anywhere.index >= train_end) & (anywhere.index < validation_end)].any()


def test_one_storm_travels_down_the_river() -> None:
    times = synthesis.grid("2024-03-01", 30, "30min")
    dry = np.zeros((len(times), len(flood.BASINS)))
    wet = dry.copy()
    wet[200:210] = 4.0
    wave = flood.discharge(wet, times) - flood.discharge(dry, times)
    ids = [gauge.id for gauge in flood.GAUGES]
    peak = dict(zip(ids, zip(wave.argmax(axis=0), wave.max(axis=0), strict=True), strict=True))
    for reach in flood.reaches().itertuples():
        assert peak[reach.target][0] > peak[reach.source][0]
        assert peak[reach.target][1] > peak[reach.source][1]
    volume = wave.sum(axis=0) * 1800
    rain_volume = sum(gauge.catchment_km2 for gauge in flood.GAUGES) * 1e6 * 40e-3
    assert 0.2 * rain_volume < volume[-1] < rain_volume


def test_routing_and_reservoirs_keep_the_water() -> None:
    pulse = np.zeros(600)
    pulse[10:14] = 25.0
    for routed in (flood.muskingum(pulse, 1.5), flood.muskingum(pulse, 4.0)):
        assert routed.sum() == pytest.approx(pulse.sum(), rel=1e-6)
        assert routed.min() >= 0
    assert flood.reservoir(pulse, 3.0).sum() == pytest.approx(pulse.sum(), rel=1e-6)


def test_the_same_rain_runs_off_more_from_wet_soil() -> None:
    rain = np.zeros((800, 1))
    rain[:60] = rain[700:760] = 1.0
    fast, _ = flood.runoff(rain, np.full(800, 200.0))
    assert fast[700:760].sum() < fast[:60].sum()
    soaked, _ = flood.runoff(np.ones((800, 1)), np.full(800, 200.0))
    assert soaked[-1] > 0.8


def test_floods_reach_the_outlet_last_and_highest(cities: dict[str, City]) -> None:
    series = cities["flood"].series
    upper, outlet = series["alta"], series["foce"]
    lag = max(range(-12, 25), key=lambda k: upper.shift(k).corr(outlet))
    assert 2 <= lag <= 20
    assert outlet.quantile(0.99) > upper.quantile(0.99)
