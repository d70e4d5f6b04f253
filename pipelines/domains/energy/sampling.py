"""Drawn buildings in drawn climates, simulated: what the building surrogate learns from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from models.contracts import FelsinaError, FloatArray
from models.physics.thermal_network import simulate
from models.record import canonical_json, sha256_bytes, sha256_file
from models.scenario import CALIBRATION, STOPPING, TRAIN, Input, Output, ScenarioSpec
from pipelines.domains.energy.abstraction import INPUTS, NAMES, buildings_of, described, drive_of
from pipelines.domains.energy.assumptions import Assumptions
from pipelines.domains.energy.climate import FIELDS, MONTHS, monthly_climate, varied
from pipelines.domains.energy.demand import WARM_UP_H
from pipelines.domains.energy.stock import FACINGS, Stock
from pipelines.domains.energy.stock_table import Archetypes, read_archetypes
from pipelines.domains.energy.weather import (
    STATIONS,
    Weather,
    embedded_weather,
    read_weather,
    station_file,
    station_weather,
)
from pipelines.domains.scenarios import FINISHED, Frozen, read_keys
from training.experiments import Experiments, write_experiments

OUTPUTS = (
    Output("heating_kwh_m2", "kWh/m2", "Heat brought to the rooms.", weight=4.0),
    Output("cooling_kwh_m2", "kWh/m2", "Heat taken out of the rooms.", weight=8.0),
    Output("heat_pump_kwh_m2", "kWh/m2", "Electricity of a heat pump that brings that heat."),
    Output("cold_h", "h", "Hours of the heating season with the air below 18 degC."),
    Output("heating_peak_w_m2", "W/m2", "Most heat brought in an hour."),
)
EMBEDDED = "embedded"
ARCHETYPES, CLIMATES, BOTH = "archetypes", "climates", "archetypes in unseen climates"
"""Test sets: what was never trained on."""
_MADE_BY = 7
"""Raised when runs come out otherwise, so that finished parts are made anew."""
Progress = Callable[[str, float], None]


class Design(Frozen):
    """The file's keys.

    Attributes:
        name: of the surrogate.
        domain: as registered.
        weather: EPW files, or ``embedded``, whose climates are varied and learned, beside those
            of ``STATIONS``.
        unseen: EPW files that are left as they are, for tests alone.
        archetypes: tables of archetypes, for tests alone.
        climates: varied years to draw.
        buildings: to draw in each.
        seed: of all draws.
    """

    name: str
    domain: str
    weather: tuple[str, ...] = Field(min_length=1)
    unseen: tuple[str, ...] = ()
    archetypes: tuple[str, ...] = ()
    climates: int = Field(500, ge=25)
    buildings: int = Field(96, ge=8)
    seed: int = Field(0, ge=0)


@dataclass(frozen=True)
class Part:
    """Buildings in one climate.

    Attributes:
        split: what they are for.
        weather: the year.
        assumptions: whose season holds.
        scalars: [B, F].
    """

    split: str
    weather: Weather
    assumptions: Assumptions
    scalars: FloatArray


def sample(design: dict[str, Any], base: Path, out: Path, progress: Progress) -> None:
    """Write an experiments folder of buildings in climates.

    A year is learned as if it lay between the climates. Training buildings are drawn from the
    whole of the inputs' ranges, half of them with the proportions of homes; no archetype is among
    them.

    Args:
        design: as in ``Design``.
        base: folder that its paths are relative to.
        out: folder to write; finished climates lie in its ``FINISHED`` until it is whole.
        progress: told stage and share done.
    """
    plan = read_keys(Design, design)
    learned = [_weather(name, base) for name in plan.weather]
    stations = [station_weather(name) for name in STATIONS]
    unseen = [_weather(name, base) for name in plan.unseen]
    tables = [read_archetypes(base / name) for name in plan.archetypes]
    files = [*plan.weather, *plan.unseen, *plan.archetypes]
    key = {
        "design": plan.model_dump(mode="json"),
        "files": {n: sha256_file(base / n) for n in files if n != EMBEDDED}
        | {n: sha256_file(station_file(n)) for n in STATIONS},
        "made_by": _MADE_BY,
    }
    place = out / FINISHED / sha256_bytes(canonical_json(key))[:12]
    place.mkdir(parents=True, exist_ok=True)
    parts = plan.climates + (2 * len(learned) if tables else 0)
    parts += len(unseen) * (2 if tables else 1)
    runs: list[dict[str, FloatArray]] = []
    splits: list[str] = []
    for number in range(parts):
        path = place / f"{number:05d}.npz"
        part = _part(plan, number, learned, stations, unseen, tables)
        if not path.is_file():
            found = simulated(part)
            with (place / f".{number:05d}").open("wb") as stream:
                np.savez(stream, allow_pickle=False, **found)
            Path(stream.name).rename(path)
        with np.load(path, allow_pickle=False) as kept:
            runs.append(dict(kept))
        splits += [part.split] * len(part.scalars)
        progress("Simulate drawn buildings in drawn climates", (number + 1) / parts)
    joined = {name: np.concatenate([run[name] for run in runs]) for name in runs[0]}
    split = np.array(splits)
    usual = Assumptions()
    presets = {weather.name: monthly_climate(weather, usual) for weather in (*learned, *unseen)}
    spec = spec_of(plan.name, plan.domain, joined, split, presets)
    record = {"made": _without_folders(key)}
    made = Experiments(folder=out, spec=spec, split=split, record=record, **joined)
    write_experiments(out, made)
    shutil.rmtree(out / FINISHED)


def _without_folders(key: dict[str, Any]) -> dict[str, Any]:
    """How the runs were made, with files by name alone: a release tells nobody's folders."""
    lists = ("weather", "unseen", "archetypes")
    named = {name: [Path(one).name for one in key["design"][name]] for name in lists}
    files = {Path(name).name: digest for name, digest in key["files"].items()}
    return key | {"design": key["design"] | named, "files": files}


def _weather(name: str, base: Path) -> Weather:
    if name == EMBEDDED:
        return embedded_weather()
    if not (base / name).is_file():
        raise FelsinaError(f"weather {base / name} is missing; name an EPW file or {EMBEDDED!r}")
    return read_weather(base / name)


def _part(
    plan: Design,
    number: int,
    learned: list[Weather],
    stations: list[Weather],
    unseen: list[Weather],
    tables: list[Archetypes],
) -> Part:
    """Climate ``number`` with its buildings; the same number is always the same."""
    rng = np.random.default_rng([plan.seed, number])
    if number < plan.climates:
        climates = learned + stations
        weather = varied(climates[number % len(climates)], rng, climates)
        stage = (number // len(climates)) % 20  # of twenty rounds one stops and three calibrate
        split = {0: STOPPING, 1: CALIBRATION, 2: CALIBRATION, 3: CALIBRATION}.get(stage, TRAIN)
        return Part(split, weather, _season(rng), drawn(plan.buildings, rng))
    number -= plan.climates
    if tables and number < 2 * len(learned):
        weather = varied(learned[number % len(learned)], rng)
        return Part(ARCHETYPES, weather, Assumptions(), _of_archetypes(tables, rng))
    number -= 2 * len(learned) if tables else 0
    weather = unseen[number % len(unseen)]
    if number < len(unseen):
        return Part(CLIMATES, weather, Assumptions(), drawn(2 * plan.buildings, rng))
    return Part(BOTH, weather, Assumptions(), _of_archetypes(tables, rng))


def _season(rng: np.random.Generator) -> Assumptions:
    """A heating season that begins in October and ends in April or early May."""
    first = np.datetime64("2023-10-01") + rng.integers(0, 32)
    last = np.datetime64("2023-03-31") + rng.integers(0, 36)
    return Assumptions(season=(str(first)[5:], str(last)[5:]))


def drawn(count: int, rng: np.random.Generator) -> FloatArray:
    """[B, F] buildings from the inputs' whole ranges, half of them with homes' proportions."""
    low = np.array([one.low for one in INPUTS])
    high = np.array([one.high for one in INPUTS])
    values = rng.uniform(low, high, (count, len(INPUTS)))
    at = {name: i for i, name in enumerate(NAMES)}
    for part in ("wall", "roof", "ground", "window"):
        i = at[f"{part}_w_m2k"]
        values[:, i] = np.exp(rng.uniform(np.log(low[i]), np.log(high[i]), count))
    homes = np.arange(count) % 2 == 0
    storeys = rng.integers(1, 7, count)
    proportions = {
        "wall_ratio": rng.uniform(0.4, 1.0, count) + rng.uniform(0, 1.1, count) / storeys,
        "roof_ratio": rng.uniform(0.9, 1.3, count) / storeys,
        "ground_ratio": rng.uniform(0.9, 1.2, count) / storeys,
        "window_ratio": rng.uniform(0.07, 0.22, count),
        "bridge_w_m2k": rng.choice([0.0, 0.05, 0.1, 0.15], count),
        "air_change_h": rng.uniform(0.3, 0.9, count),
        "height_m": rng.uniform(2.5, 3.4, count),
        "heating_c": rng.normal(19.5, 1.5, count),
    }
    for name, value in proportions.items():
        values[homes, at[name]] = np.clip(value, low[at[name]], high[at[name]])[homes]
    values[:, at["glass_north_south"]] = rng.choice([0.0, 0.25, 0.5, 0.75, 1.0], count)
    for name in ("on_from_h", "on_hours"):
        values[:, at[name]] = rng.integers(low[at[name]], high[at[name]] + 1, count)
    values[:, at["cooled"]] = rng.random(count) < 0.75
    loss = buildings_of(values)
    loss_w_k = (loss.opaque_w_k + loss.window_w_k + loss.ventilation_w_k).numpy()
    plant = loss_w_k * np.exp(rng.uniform(np.log(24), np.log(150), count))
    i = at["heating_w_m2"]
    values[:, i] = np.clip(plant, low[i], high[i])
    return values.astype(np.float32)


def _of_archetypes(tables: list[Archetypes], rng: np.random.Generator) -> FloatArray:
    """[B, F] every archetype as it is, with new windows, insulated, and with both."""
    rows = [_stock(table, rng) for table in tables]
    found = np.concatenate([described(stock, Assumptions()) for stock in rows])
    at = {name: i for i, name in enumerate(NAMES)}
    windows, insulated = found.copy(), found.copy()
    windows[:, at["window_w_m2k"]] = np.minimum(found[:, at["window_w_m2k"]], 1.4)
    windows[:, at["window_g"]] = 0.6
    for name, value in {"wall_w_m2k": 0.28, "roof_w_m2k": 0.24}.items():
        insulated[:, at[name]] = np.minimum(found[:, at[name]], value)
    both = windows.copy()
    for name in ("wall_w_m2k", "roof_w_m2k"):
        both[:, at[name]] = insulated[:, at[name]]
    return np.concatenate([found, windows, insulated, both])


def _stock(table: Archetypes, rng: np.random.Generator) -> Stock:
    """One building of each archetype, with use as homes have it."""
    count, numbers = len(table.names), table.numbers
    none = np.full(count, np.nan)
    areas = {f"{part}_m2": numbers[f"{part}_ratio"] for part in ("wall", "roof", "ground")}
    own = {name: values for name, values in numbers.items() if not name.endswith("_ratio")}
    return Stock(
        id=np.array([f"building-{i}" for i in range(count)]),
        area=np.full(count, "area"),
        archetype=table.names,
        heat_source=np.full(count, "gas_boiler"),
        mass=table.mass,
        facing=rng.choice(list(FACINGS), count),
        built_year=none,
        floor_m2=np.ones(count),
        window_m2=numbers["window_ratio"],
        heating_c=rng.normal(19.5, 1.0, count).clip(15, 23),
        cooling_c=np.where(rng.random(count) < 0.75, 26.0, np.nan),
        heating_kw=none,
        pv_kwp=np.zeros(count),
        **areas,
        **own,
    ).with_plants(rng.uniform(-12, 0))


def simulated(part: Part) -> dict[str, FloatArray]:
    """Inputs and answers of a climate's buildings, as the experiments folder holds them."""
    scalars, weather, set_up = part.scalars, part.weather, part.assumptions
    response = simulate(
        buildings_of(scalars), drive_of(scalars, weather, set_up), warm_up=WARM_UP_H
    )
    performance = torch.tensor(set_up.performance(weather.outdoor_c), dtype=torch.float32)[:, None]
    heating, cooling = response.heating_w / 1000, response.cooling_w / 1000
    cold = response.air_c < set_up.warm_c
    cold &= torch.from_numpy(set_up.in_season(weather.times))[:, None]
    year = {
        "heating_kwh_m2": heating.double().sum(dim=0),
        "cooling_kwh_m2": cooling.double().sum(dim=0),
        "heat_pump_kwh_m2": (heating / performance).double().sum(dim=0),
        "cold_h": cold.double().sum(dim=0),
        "heating_peak_w_m2": 1000 * heating.amax(dim=0),
    }
    target = torch.stack([year[output.name] for output in OUTPUTS], dim=1)[:, None]
    climate = monthly_climate(weather, set_up)
    return {
        "scalars": scalars.astype(np.float32),
        "fields": np.repeat(climate[None], len(scalars), axis=0),
        "target": target.numpy().astype(np.float32),
    }


def spec_of(
    name: str,
    domain: str,
    runs: dict[str, FloatArray],
    split: NDArray[np.str_],
    presets: dict[str, FloatArray],
) -> ScenarioSpec:
    """What the surrogate may be asked: the inputs' ranges, and those of the climates drawn.

    Args:
        name: of the surrogate.
        domain: as registered.
        runs: with ``fields`` [S, 12, C].
        split: [S]; the ranges are those of training.
        presets: climates by name, [12, C] each; the first one's are the defaults.
    """
    trained = runs["fields"][split == TRAIN]
    low, high = trained.min(axis=(0, 1)), trained.max(axis=(0, 1))
    usual = next(iter(presets.values()))
    fields = tuple(
        Input(field, unit, float(low[c]), float(high[c]), about, tuple(map(float, usual[:, c])))
        for c, (field, (unit, about)) in enumerate(FIELDS.items())
    )
    return ScenarioSpec(
        name=name,
        domain=domain,
        simulator="ISO 13790 5R1C, hourly",
        axis="month",
        places=MONTHS,
        scalars=INPUTS,
        fields=fields,
        outputs=OUTPUTS,
        answered=("year",),
        presets={name: values.tolist() for name, values in presets.items()},
        facts={
            "floor": "one square metre; multiply by the building's floor",
            "heat_pump": {"quality": 0.45, "supply_c": 50.0},
            "warm_c": 18.0,
        },
    )
