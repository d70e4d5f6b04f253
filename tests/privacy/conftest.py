"""A tiny dataset whose nodes are households, and its units."""

from pathlib import Path

import pytest
import torch

from models.forecaster import Architecture
from privacy.audit_run import PrivateAudit, audit_private
from privacy.dp import PrivateSettings
from privacy.gradients import UnitGradients
from privacy.private_network import private_forecaster
from privacy.units import UnitWindows
from tests.factories import Silent, make_dataset
from training.dataset import CityDataset, open_dataset

LAGS = (24, 168)
SHAPE = Architecture(
    width=8, blocks=1, embedding=2, dropout=0.0, inductive=True, graph=False, members=1
)


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> CityDataset:
    folder: Path = tmp_path_factory.mktemp("homes") / "homes"
    return open_dataset(make_dataset(folder))


@pytest.fixture(scope="session")
def units(homes: CityDataset) -> UnitWindows:
    return UnitWindows(homes, homes.builder(homes.spec.with_lags(LAGS)), "household", 3)


@pytest.fixture
def gradients(homes: CityDataset, units: UnitWindows) -> UnitGradients:
    """Of a network at random, so that no gradient is nought."""
    torch.manual_seed(0)
    forecaster = private_forecaster(homes, units.builder, SHAPE)
    with torch.no_grad():
        for parameter in forecaster.members.parameters():
            parameter.normal_(0, 0.3)
    return UnitGradients(forecaster, units, clip_norm=0.2)


def audited_settings(**changes) -> PrivateSettings:
    """Each canary that is in takes part in about six steps of twelve."""
    values = {
        "unit": "household",
        "nominal_units": 1000,
        "sampling_rate": 0.5,
        "most_windows": 2,
        "steps": 12,
        "epsilon": 4.0,
        "noise_multiplier": 1.9,
        "delta": 1e-4,
        "lags": LAGS,
        "architecture": SHAPE,
    }
    return PrivateSettings(**values | changes)


@pytest.fixture(scope="session")
def sound_audit(homes: CityDataset) -> PrivateAudit:
    """With the claimed noise, at epsilon 4."""
    return audit_private(audited_settings(), homes, Silent())
