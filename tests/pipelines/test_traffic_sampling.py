"""Drawn scenarios: what is held out, what is written, and that a killed command goes on."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from models.contracts import FelsinaError
from models.scenario import CALIBRATION, STOPPING, TRAIN
from models.surrogates.surrogate import Surrogate
from pipelines.domains.scenarios import read_keys
from pipelines.domains.traffic.answering import answer_scenario
from pipelines.domains.traffic.draws import (
    HELD_OUT_COMBINATIONS,
    HELD_OUT_MEASURES,
    TODAY,
    Draws,
)
from pipelines.domains.traffic.measures import Closure, LaneTaken, Measure, SpeedLimit
from pipelines.domains.traffic.network import Network
from pipelines.domains.traffic.road_surrogate import OUTPUTS, fields_of, road_surrogate
from pipelines.domains.traffic.sampling import Design, sample
from pipelines.domains.traffic.streams import Ways, alternatives, free_flow, streams
from serving.surrogate import SurrogateRelease
from tests.fixtures.streets import LAST_S, THROUGH
from tests.fixtures.tiny import ROOT
from training.experiments import Experiments, open_experiments
from training.export import export_module


def silent(text: str, share: float) -> None: ...


def design(**changes: Any) -> dict[str, Any]:
    few = {"today": 2, "training": 4, "stopping": 1, "calibration": 1, "held_out": 1, "seeds": 2}
    whole = {"name": "town", "domain": "traffic", "network": "town", "end": LAST_S, "warm_up": 300}
    return whole | few | changes


@pytest.fixture(scope="module")
def draws(streets: Network) -> Draws:
    return Draws(streets, 1)


@pytest.fixture(scope="module")
def made(streets: Network, tmp_path_factory: pytest.TempPathFactory) -> Experiments:
    out = tmp_path_factory.mktemp("sampled") / "town"
    shares: list[float] = []
    base = streets.folder.parent

    def killed(text: str, share: float) -> None:
        shares.append(share)
        if len(shares) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(design(), base, out, killed)
    kept = {p: p.stat().st_mtime_ns for p in (out / "runs").glob("*/run.json")}
    assert len(kept) >= 3
    assert not (out / "experiments.json").exists()
    sample(design(), base, out, silent)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept
    return open_experiments(out)


def of_kind(draws: Draws, kind: str, count: int) -> Iterator[tuple[Measure, ...]]:
    return (draws(kind, number)[0] for number in range(count))


def groups(closures: tuple[tuple[str, ...], ...]) -> set[str]:
    return {edge for group in closures for edge in group}


def test_training_never_sees_what_is_held_out(draws: Draws) -> None:
    closed, alone = groups(draws.held_out.closures), groups(draws.alone.closures)
    assert closed
    assert alone
    assert not closed & (alone | groups(draws.seen.closures))
    lanes = {lane for lane, _ in draws.held_out.lanes}
    limited = frozenset[str]().union(*draws.held_out.circles)
    together = set[str]()
    for kind in (TRAIN, STOPPING, CALIBRATION):
        for measures in of_kind(draws, kind, 80):
            for measure in measures:
                if isinstance(measure, Closure):
                    assert not closed & set(measure.edges)
                    assert len(measures) == 1 or not alone & set(measure.edges)
                    together |= set(measure.edges) if len(measures) > 1 else set()
                if isinstance(measure, LaneTaken):
                    assert measure.edge not in lanes
                if isinstance(measure, SpeedLimit):
                    assert not limited & set(measure.edges)
    assert together


def test_tests_are_of_what_is_held_out(draws: Draws) -> None:
    alone = groups(draws.alone.closures)
    alone_lanes = {edge for edge, _ in draws.alone.lanes}
    for measures in of_kind(draws, HELD_OUT_MEASURES, 10):
        (measure,) = measures
        if isinstance(measure, Closure):
            assert set(measure.edges) <= groups(draws.held_out.closures)
        elif isinstance(measure, LaneTaken):
            assert (measure.edge, measure.lane) in draws.held_out.lanes
        else:
            assert isinstance(measure, SpeedLimit)
            assert frozenset(measure.edges) in draws.held_out.circles
    for measures in of_kind(draws, HELD_OUT_COMBINATIONS, 10):
        first, *others = measures
        assert others
        edges = {first.edge} if isinstance(first, LaneTaken) else set(getattr(first, "edges", ()))
        assert edges <= alone | alone_lanes


def test_a_draw_is_its_numbers(draws: Draws, streets: Network) -> None:
    assert draws(TODAY, 0) == ((), type(draws(TODAY, 0)[1])())
    again, other = Draws(streets, 1), Draws(streets, 2)
    first = [draws(TRAIN, k)[0] for k in range(5)]
    assert first == [again(TRAIN, k)[0] for k in range(5)]
    assert first != [other(TRAIN, k)[0] for k in range(5)]


def test_streams_hold_all_vehicles_and_their_ways_lead_on(streets: Network) -> None:
    driven = streams(streets)
    vehicles = sum(path.read_text().count("<vehicle ") for path in streets.routes)
    assert sum(stream.trips for stream in driven) == vehicles
    times = free_flow(streets)
    for stream, ways in zip(driven, alternatives(streets, driven, [times]), strict=True):
        assert ways[0] == stream.route
        turns = set.intersection(*(streets.turns(kind) for kind in stream.classes))
        for way in ways:
            assert (way[0], way[-1]) == (stream.route[0], stream.route[-1])
            assert set(pairwise(way)) <= turns
    cars = Ways(streets, {"passenger"}, times)
    round_it = cars.quickest("A1B1", "C1D1", {THROUGH})
    assert round_it
    assert THROUGH not in round_it
    assert cars.quickest("A1B1", "C1D1", {"A1B1"}) is None


def test_experiments_hold_every_scenario(made: Experiments, streets: Network) -> None:
    splits = made.split.tolist()
    assert {s: splits.count(s) for s in set(splits)} == {
        TRAIN: 5,
        STOPPING: 1,
        CALIBRATION: 1,
        HELD_OUT_MEASURES: 1,
        HELD_OUT_COMBINATIONS: 1,
    }
    assert made.spec.places == tuple(streets.edges)
    assert not made.spec.outside(made.scalars, made.fields)
    drawn = Draws(streets, 1)
    row = splits.index(HELD_OUT_MEASURES)
    np.testing.assert_allclose(
        made.fields[row], fields_of(streets, drawn(HELD_OUT_MEASURES, 0)[1]), rtol=1e-6
    )
    assert (made.target[..., 0][made.fields[..., 1] > 0] == 0).all()
    for floors in made.record["floors"].values():
        assert 0 < floors["flow_veh_h"] < 100
    assert made.record["made"]["failed"] == []


def test_the_network_it_makes_answers_today(made: Experiments) -> None:
    network = road_surrogate(made).eval()
    assert made.scalars[0] == 1
    asked = torch.as_tensor(made.scalars[:1]), torch.as_tensor(made.fields[:1])
    answered = network(*asked).detach().numpy()[0]
    middle = made.spec.median
    np.testing.assert_allclose(answered[:, 0, middle], made.target[0, :, 0], atol=0.1)


@pytest.fixture(scope="module")
def released(made: Experiments, tmp_path_factory: pytest.TempPathFactory) -> SurrogateRelease:
    """Without training: what the queues alone say."""
    folder = tmp_path_factory.mktemp("released") / "town-0"
    folder.mkdir()
    surrogate = Surrogate(road_surrogate(made), made.spec).eval()
    inputs = {"scalars": made.scalars[:2], "fields": made.fields[:2]}
    example = {name: torch.as_tensor(values) for name, values in inputs.items()}
    export_module(surrogate, example, folder / "model.onnx")
    return SurrogateRelease(folder, {}, "", made.spec, {"tests": {}})


def ask(streets: Network, released: SurrogateRelease, out: Path, **changes: Any) -> dict[str, Any]:
    asked = {"name": "what if", "domain": "traffic", "network": "town", "end": LAST_S}
    asked |= {"warm_up": 300, "measures": [{"kind": "closure", "edges": [THROUGH]}]} | changes
    return answer_scenario(asked, streets.folder.parent, out, silent, [released])


def test_a_scenario_is_answered_at_once(
    streets: Network, released: SurrogateRelease, made: Experiments, tmp_path: Path
) -> None:
    report = ask(streets, released, tmp_path)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert {path.name for path in tmp_path.iterdir()} == set(report["files"])
    table = pd.read_parquet(tmp_path / "edges.parquet").set_index("edge")
    assert list(table.index) == list(streets.edges)
    assert table.loc[THROUGH, "flow_veh_h_measures"] == 0
    assert table["flow_veh_h_today"].to_numpy() == pytest.approx(made.target[0, :, 0], abs=0.1)
    for name in OUTPUTS:
        band = table[[f"{name}_{key}" for key in ("low", "measures", "high")]].to_numpy()
        assert (np.diff(band, axis=1) >= 0).all()
    assert THROUGH in {row["edge"] for row in report["most_changed"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"warm_up": 0, "end": 900},
            r"^begin, end, warm_up = \[0, 900, 0\]: surrogate town-0 ",
        ),
        (
            {"measures": [{"kind": "demand", "factor": 3}]},
            r"^surrogate town-0: demand is 3, trained on 0.5 to 1.15; use --engine physics$",
        ),
        (
            {"measures": [{"kind": "closure", "edges": ["A0A1", THROUGH, "B3C3"]}]},
            r"^surrogate town-0: closure: 3 edges closed at once, trained on up to 2; use --engine",
        ),
        (
            {"measures": [{"kind": "closure", "edges": ["A0B0"]}]},
            r"^surrogate town-0: closure: \d+.\d% of all trips lose their way, .* up to 1%; use",
        ),
        (
            {"measures": [{"kind": "closure", "edges": ["nowhere"]}]},
            r"^closure: nowhere not among the 48 edges",
        ),
    ],
)
def test_what_it_was_not_trained_on_is_refused(
    streets: Network,
    released: SurrogateRelease,
    tmp_path: Path,
    changes: dict[str, Any],
    said: str,
) -> None:
    with pytest.raises(FelsinaError, match=said):
        ask(streets, released, tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_a_surrogate_of_another_network_is_refused(
    streets: Network, released: SurrogateRelease, tmp_path: Path
) -> None:
    facts = released.spec.facts | {"network": "village", "network_sha256": "0"}
    other = replace(released, spec=replace(released.spec, facts=facts))
    with pytest.raises(FelsinaError, match=r"^network town: .* or files \(village\);"):
        ask(streets, other, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": "nowhere"}, r"^network .*nowhere: no such folder; give one relative to "),
        ({"seeds": 1}, r"^scenario 'town': seeds = 1: .*greater than or equal to 2; "),
        ({"runs": 5}, r"^scenario 'town': runs = 5: extra inputs .*; a scenario has name, "),
        ({"end": 1000}, r"^begin 0, end 1000, warm_up 300: 700 s are measured; .* of 900$"),
    ],
)
def test_a_bad_design_is_refused(
    streets: Network, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(FelsinaError, match=said):
        sample(design(**changes), streets.folder.parent, tmp_path, silent)
    assert list(tmp_path.iterdir()) == []


def test_the_example_is_a_design() -> None:
    folder = ROOT / "pipelines" / "domains" / "traffic" / "examples"
    read_keys(Design, tomllib.loads((folder / "acosta-surrogate.toml").read_text()))
