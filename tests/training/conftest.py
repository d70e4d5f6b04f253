"""The tiny dataset opened once and a forecaster fitted on it once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.factories import Silent, make_dataset, make_settings
from training.dataset import CityDataset, open_dataset
from training.fit import Fitted, fit


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("datasets") / "tiny")


@pytest.fixture(scope="session")
def dataset(folder: Path) -> CityDataset:
    return open_dataset(folder)


@pytest.fixture(scope="session")
def fitted(dataset: CityDataset, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    settings = make_settings(accelerator="cpu")
    return fit(dataset, settings, tmp_path_factory.mktemp("work"), Silent())


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A tiny dataset that a test may spoil."""
    return Path(shutil.copytree(folder, tmp_path / "tiny"))
