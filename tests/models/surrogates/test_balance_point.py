"""The building network: monotone by construction, whatever its weights; rising quantiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.exported import open_session
from models.surrogates import balance_point
from models.surrogates.balance_point import BalancePoint
from models.surrogates.surrogate import Surrogate
from pipelines.domains.energy.abstraction import mass_area
from pipelines.domains.energy.stock import GLASS, MASSES
from pipelines.domains.energy.surrogate import network
from serving.surrogate import ask
from tests.fixtures.drawn import experiments
from training.export import compare, export_module

PARTS = ("wall", "roof", "ground", "window", "bridge")
RAISED = (*(f"{part}_w_m2k" for part in PARTS), "air_change_h")


def wild(seed: int) -> BalancePoint:
    """A network whose weights nobody trained."""
    torch.manual_seed(seed)
    net = network(experiments()).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return net


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", RAISED)
def test_more_insulation_never_raises_heating(seed: int, name: str) -> None:
    """By construction: with any weights, in any climate."""
    runs, net = experiments(), wild(seed).double()
    column = [one.name for one in runs.spec.scalars].index(name)
    one = runs.spec.scalars[column]
    fields = torch.as_tensor(runs.fields, dtype=torch.float64)
    heating = []
    for value in np.linspace(one.low, one.high, 9):
        scalars = torch.as_tensor(runs.scalars, dtype=torch.float64)
        scalars[:, column] = value
        with torch.inference_mode():
            heating.append(net(scalars, fields)[:, 0, 0, runs.spec.median].numpy())
    rises = np.diff(heating, axis=0)
    assert (rises >= -1e-9).all()
    assert rises.max() > 0


def test_quantiles_rise_and_nothing_is_below_zero() -> None:
    runs = experiments()
    surrogate = Surrogate(wild(0), runs.spec).eval()
    surrogate.offset.normal_()
    with torch.inference_mode():
        found = surrogate(torch.as_tensor(runs.scalars), torch.as_tensor(runs.fields)).numpy()
    assert found.shape == (len(runs.split), 1, 5, 7)
    assert (np.diff(found, axis=-1) >= 0).all()
    assert found.min() >= 0


def test_what_is_not_cooled_takes_no_cold() -> None:
    runs = experiments()
    names = [one.name for one in runs.spec.scalars]
    scalars = torch.as_tensor(runs.scalars).clone()
    scalars[:, names.index("cooled")] = 0
    with torch.inference_mode():
        found = wild(1)(scalars, torch.as_tensor(runs.fields))
    assert (found[:, 0, 1, runs.spec.median] == 0).all()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Surrogate, Path]:
    """A network whose weights nobody trained, and its graph."""
    runs, path = experiments(), tmp_path_factory.mktemp("exported") / "model.onnx"
    surrogate = Surrogate(wild(0), runs.spec).eval()
    given = {"scalars": runs.scalars[:2], "fields": runs.fields[:2]}
    example = {name: torch.as_tensor(value) for name, value in given.items()}
    export_module(surrogate, example, path, surrogate.shared)
    return surrogate, path


def test_the_exported_graph_says_the_same(exported: tuple[Surrogate, Path]) -> None:
    runs, (surrogate, path) = experiments(), exported

    def draw(size: int) -> dict[str, np.ndarray]:
        rows = np.resize(np.arange(len(runs.split)), size)
        return {"scalars": runs.scalars[rows], "fields": runs.fields[rows]}

    assert compare(surrogate, path, draw)["largest_relative_difference"] < 1e-4


@pytest.mark.parametrize("count", [1, 7, 450])
def test_one_climate_may_stand_for_all_buildings(
    count: int, exported: tuple[Surrogate, Path]
) -> None:
    """In torch, in the exported graph, and where the graph is asked for many."""
    runs, (surrogate, path) = experiments(), exported
    scalars, climate = np.resize(runs.scalars, (count, runs.scalars.shape[1])), runs.fields[:1]
    with torch.inference_mode():
        once = surrogate(torch.as_tensor(scalars), torch.as_tensor(climate)).numpy()
    fields = np.broadcast_to(climate, (count, *climate.shape[1:]))
    each = answers_of(surrogate, scalars, np.ascontiguousarray(fields))
    np.testing.assert_allclose(once, each, rtol=1e-5, atol=1e-5)
    session = open_session(path)
    for given in (fields, np.ascontiguousarray(fields)):
        np.testing.assert_allclose(ask(session, scalars, given), each, rtol=1e-4, atol=1e-3)


def answers_of(surrogate: Surrogate, scalars: np.ndarray, fields: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return surrogate(torch.as_tensor(scalars), torch.as_tensor(fields)).numpy()


def test_untrained_it_is_near_the_degree_days() -> None:
    """The estimates alone tell buildings apart, so that little is left to learn."""
    runs, net = experiments(), network(experiments())
    _, warm, cool = net.described(torch.as_tensor(runs.scalars), torch.as_tensor(runs.fields))
    warm, cool = (kwh.sum(1).numpy() for kwh in (warm, cool))
    cooled = runs.target[:, 0, 1] > 0
    assert np.corrcoef(warm.mean(0), runs.target[:, 0, 0])[0, 1] > 0.95
    halves = cool[2, cooled]
    assert np.corrcoef(halves, runs.target[cooled, 0, 1])[0, 1] > 0.98


def test_it_knows_glass_and_mass_as_the_simulator_does() -> None:
    """Domains are above models, so that both state the figures."""
    assert pytest.approx(GLASS) == balance_point.GLASS
    kilojoules = np.array(balance_point._MASS_KJ)
    np.testing.assert_allclose(mass_area(kilojoules), balance_point._MASS_M2)
    assert list(kilojoules * 1000) == [capacity for capacity, _ in MASSES.values()]
