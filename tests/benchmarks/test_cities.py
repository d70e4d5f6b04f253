"""What the benchmark of changing cities alters, and what it leaves alone."""

import numpy as np
import pytest

from benchmarks import cities
from benchmarks.cities import DRIFT, altered, errors, scored
from tests.factories import make_dataset
from training.dataset import CityDataset, open_dataset

CHOSEN = np.array([1, 3])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CityDataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("cities") / "tiny"))


@pytest.mark.parametrize("fault", ["dead", "new", "drifting"])
def test_a_fault_leaves_the_other_sensors_alone(dataset, fault):
    before, after = dataset.values, altered(dataset, CHOSEN, fault).values
    np.testing.assert_array_equal(after[:, [0, 2]], before[:, [0, 2]])
    assert not np.array_equal(after[:, CHOSEN], before[:, CHOSEN], equal_nan=True)


def test_faults_are_where_they_should_be(dataset, monkeypatch):
    monkeypatch.setattr(cities, "APPEARS_AFTER", 5)
    test, steps = dataset.splits.validation_end, len(dataset.values)
    dead, new, drifting = (
        altered(dataset, CHOSEN, fault).values for fault in ("dead", "new", "drifting")
    )
    middle = (test + steps) // 2
    np.testing.assert_array_equal(dead[:middle], dataset.values[:middle])
    assert np.isnan(dead[middle:, CHOSEN]).all()
    there = test + 24 * 5
    assert np.isnan(new[:there, CHOSEN]).all()
    np.testing.assert_array_equal(new[there:], dataset.values[there:])
    np.testing.assert_array_equal(drifting[:test], dataset.values[:test])
    np.testing.assert_allclose(
        drifting[-1, CHOSEN], (1 + DRIFT) * dataset.values[-1, CHOSEN], rtol=1e-5
    )


def test_only_origins_after_the_fault_are_scored(dataset):
    origins = dataset.splits.test(dataset.spec, dataset.start)
    middle = (dataset.splits.validation_end + len(dataset.values)) // 2
    assert origins[scored(dataset, dataset.spec, "dead")].min() == middle
    assert len(origins[scored(dataset, dataset.spec, "drifting")]) == len(origins)


def test_a_part_is_the_same_series_under_the_same_names(dataset):
    few = dataset.part(CHOSEN)
    assert few.graph.ids == ("b", "d")
    np.testing.assert_array_equal(few.values, dataset.values[:, CHOSEN])


def test_errors_are_a_nodes_own(dataset):
    levels = len(dataset.spec.quantiles)
    target = np.array([[[10.0, 100.0], [np.nan, 100.0]]])
    guess = np.array([[[11.0, 150.0], [5.0, 50.0]]])
    found = errors(np.repeat(guess[..., None], levels, -1), target, dataset.spec)
    np.testing.assert_allclose(found, [0.1, 0.5])
