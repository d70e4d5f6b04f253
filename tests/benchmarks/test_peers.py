"""Each peer on the tiny dataset: shape, rising quantiles, no look ahead, the same seed twice."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.contenders import PEERS
from benchmarks.peers import frames, network
from tests.factories import make_dataset
from training.dataset import CityDataset, open_dataset

LAGS = (24, 168)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CityDataset:
    return open_dataset(make_dataset(tmp_path_factory.mktemp("peers") / "tiny"))


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "step_count", lambda _: 6)


def fitted(name: str, dataset: CityDataset, lags: tuple[int, ...] = LAGS) -> frames.Peer:
    if name == "lightgbm":
        pytest.importorskip("lightgbm", reason="the extra [peers] is not installed")
    module = importlib.import_module(f"benchmarks.peers.{PEERS[name][0]}")
    return module.fit(dataset, lags, 0)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("lags", [LAGS, ()])
def test_quantiles_are_finite_and_rise(name, lags, dataset):
    peer = fitted(name, dataset, lags)
    origins = dataset.splits.test(dataset.spec, dataset.start)[:5]
    quantiles = peer.predict(origins)
    assert quantiles.shape == (5, 6, 4, 11)
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=-1) >= 0).all()
    assert quantiles.min() >= 0
    assert peer.parameters > 0


@pytest.mark.parametrize("name", PEERS)
def test_nothing_after_the_origin_is_seen(name, dataset):
    test = dataset.splits.test(dataset.spec, dataset.start)
    origin = int(test[30])
    values, forcings = dataset.values.copy(), dataset.forcings.copy()
    values[origin + 1 :] = 1e5
    forcings[origin + 1 :, :, 1] = 1e5
    changed = replace(dataset, values=values, forcings=forcings)
    rows = np.array([test[0], origin])
    before, after = (fitted(name, one).predict(rows) for one in (dataset, changed))
    np.testing.assert_array_equal(before, after)


def test_a_train_target_is_left_out_of_its_own_first_guess(dataset):
    made = frames.Frames(dataset, LAGS)
    origin = made.train[200:201]
    apart, seen = made.batch(origin, with_target=True)["base"], made.batch(origin)["base"]
    assert not np.allclose(apart, seen)
    later = made.stopping[-1:]
    np.testing.assert_array_equal(
        made.batch(later, with_target=True)["base"], made.batch(later)["base"]
    )


def test_the_first_guess_is_the_last_value_where_there_are_no_seasons(dataset):
    made = frames.Frames(dataset, ())
    origins = dataset.splits.test(dataset.spec, dataset.start)[:20]
    batch = made.batch(origins)
    natural = made.natural(torch.zeros(20, 4, 6, 1), batch)
    last = dataset.values[origins]
    known = ~np.isnan(last)
    np.testing.assert_allclose(natural[:, :, 0, 0].numpy()[known], last[known], rtol=1e-4)
