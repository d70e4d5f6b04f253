"""Published scores against their textbook formulas on whole arrays."""

from dataclasses import replace

import numpy as np
import pytest

from models.contracts import FelsinaError
from training.backtest import backtest
from training.dataset import open_dataset
from training.protocols import (
    PROTOCOLS,
    Moments,
    efficiency,
    masked,
    node_efficiency,
    standardised,
    train_deviation,
)

B, H, N = 50, 12, 3


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Point forecasts and targets [B, H, N] with gaps."""
    rng = np.random.default_rng(0)
    target = rng.normal(50, 10, (B, H, N))
    point = target + rng.normal(1, 4, target.shape)
    target[rng.random(target.shape) < 0.1] = np.nan
    return point, target


def moments(point: np.ndarray, target: np.ndarray) -> Moments:
    """Added in two uneven batches."""
    found = Moments(*point.shape[1:])
    found.update(point[:7], target[:7])
    found.update(point[7:], target[7:])
    return found


def test_masked_scores_are_means_over_the_targets_that_exist(pair) -> None:
    point, target = pair
    error = point - target
    rows = masked(moments(point, target), np.ones(N))
    assert [row["steps"] for row in rows] == ["3", "6", "12", "1-12"]
    for row, leads in zip(
        rows, (slice(2, 3), slice(5, 6), slice(11, 12), slice(None)), strict=True
    ):
        e, y = error[:, leads], target[:, leads]
        assert row["mae"] == pytest.approx(np.nanmean(np.abs(e)))
        assert row["rmse"] == pytest.approx(np.sqrt(np.nanmean(e**2)))
        assert row["mape"] == pytest.approx(np.nanmean(np.abs(e / y)))


def test_masked_scores_by_hand() -> None:
    target = np.array([[[10.0, np.nan]], [[20.0, 0.0]]])
    point = np.array([[[12.0, 99.0]], [[16.0, 3.0]]])
    (row,) = masked(moments(point, target), np.ones(2))
    assert row["steps"] == "1-1"
    assert row["mae"] == pytest.approx((2 + 4 + 3) / 3)
    assert row["rmse"] == pytest.approx(np.sqrt((4 + 16 + 9) / 3))
    assert row["mape"] == pytest.approx((0.2 + 0.2) / 2)


def test_standardised_scores_are_those_of_standardised_values(pair) -> None:
    point, target = pair
    train = np.random.default_rng(1).normal(40, [1, 5, 20], (300, N))
    train[::7, 1] = np.nan
    deviation = train_deviation(train)
    np.testing.assert_allclose(deviation, np.nanstd(train, axis=0))
    error = (point - 40) / deviation - (target - 40) / deviation
    (row,) = standardised(moments(point, target), deviation)
    assert row["mse"] == pytest.approx(np.nanmean(error**2))
    assert row["mae"] == pytest.approx(np.nanmean(np.abs(error)))


def test_a_node_that_never_varied_is_not_divided_by_nothing() -> None:
    np.testing.assert_array_equal(train_deviation(np.full((9, 2), 3.0)), [1, 1])
    np.testing.assert_array_equal(train_deviation(np.full((9, 1), np.nan)), [1])


def test_efficiencies_are_nash_sutcliffes_and_guptas(pair) -> None:
    point, target = pair
    nse, kge = node_efficiency(moments(point, target))
    for h in range(H):
        for n in range(N):
            seen = ~np.isnan(target[:, h, n])
            y, p = target[seen, h, n], point[seen, h, n]
            assert nse[h, n] == pytest.approx(
                1 - ((y - p) ** 2).sum() / ((y - y.mean()) ** 2).sum()
            )
            parts = np.corrcoef(y, p)[0, 1] - 1, p.std() / y.std() - 1, p.mean() / y.mean() - 1
            assert kge[h, n] == pytest.approx(1 - np.linalg.norm(parts))
    rows = efficiency(moments(point, target), np.ones(N))
    assert [row["lead"] for row in rows] == list(range(1, H + 1))
    assert rows[4]["nse_median"] == pytest.approx(np.median(nse[4]))
    assert rows[4]["nse_mean"] == pytest.approx(nse[4].mean())
    assert rows[4]["kge_median"] == pytest.approx(np.median(kge[4]))


def test_efficiency_is_one_for_the_truth_and_zero_for_its_mean() -> None:
    target = np.random.default_rng(0).normal(5, 1, (40, 1, 2))
    nse, kge = node_efficiency(moments(target.copy(), target))
    np.testing.assert_allclose([nse, kge], 1)
    mean = np.broadcast_to(target.mean(axis=0), target.shape)
    nse, kge = node_efficiency(moments(mean, target))
    np.testing.assert_allclose(nse, 0, atol=1e-9)
    np.testing.assert_allclose(kge, 1 - np.sqrt(2), atol=1e-6)


def test_a_dead_or_constant_node_has_no_efficiency_and_does_not_count() -> None:
    target = np.random.default_rng(0).normal(5, 1, (40, 1, 3))
    target[..., 1], target[..., 2] = np.nan, 4.0
    found = moments(np.full_like(target, 4.5), target)
    nse, kge = node_efficiency(found)
    assert np.isnan([nse[0, 1:], kge[0, 1:]]).all()
    (row,) = efficiency(found, np.ones(3))
    assert row["nodes"] == 1
    assert row["nse_median"] == pytest.approx(nse[0, 0])


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_span_without_targets_has_no_scores(name) -> None:
    found = Moments(2, 3)
    found.update(np.zeros((4, 2, 3)), np.full((4, 2, 3), np.nan))
    for row in PROTOCOLS[name](found, np.ones(3)):
        scores = {key: v for key, v in row.items() if key not in ("steps", "lead", "nodes")}
        assert set(scores.values()) == {None}


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_a_backtest_reports_the_protocol_of_its_dataset(dataset, fitted, name) -> None:
    with_protocol = replace(dataset, header=dataset.header | {"evaluation": {"protocol": name}})
    result = backtest(with_protocol, fitted)
    found = result.report["protocol"]
    assert found["name"] == name
    assert {row["model"] for row in found["rows"]} == set(result.report["models"])
    median = result.quantiles[..., fitted.spec.quantiles.index(0.5)]
    nodes = moments(median, result.target)
    deviation = train_deviation(dataset.values[: dataset.splits.train_end])
    mine = [row for row in found["rows"] if row["model"] == "felsina"]
    for row, expected in zip(mine, PROTOCOLS[name](nodes, deviation), strict=True):
        assert row == {"model": "felsina"} | {
            k: v if isinstance(v, str) else pytest.approx(v) for k, v in expected.items()
        }
    if name == "masked":
        for row in found["rows"]:
            if row["steps"] == "1-6":
                own = result.report["models"][row["model"]]
                assert row["mae"] == pytest.approx(own["mae"], rel=1e-6)
                assert row["rmse"] == pytest.approx(own["rmse"], rel=1e-6)
    if name == "efficiency":
        assert set(found["by_node"]) == set(dataset.graph.ids)
        assert found["by_node"]["b"]["nse"] == pytest.approx(node_efficiency(nodes)[0][:, 1])


def test_a_dataset_names_its_protocol(copy) -> None:
    assert open_dataset(copy).protocol == ""
    path = copy / "dataset.toml"
    text = path.read_text()
    path.write_text(text.replace("[source]", '[evaluation]\nprotocol = "masked"\n[source]'))
    assert open_dataset(copy).protocol == "masked"
    path.write_text(text.replace("[source]", '[evaluation]\nprotocol = "mask"\n[source]'))
    with pytest.raises(FelsinaError, match="protocol 'mask' is unknown; use masked, standardised"):
        open_dataset(copy)
