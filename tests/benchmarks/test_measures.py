import numpy as np
import pytest

from benchmarks.measures import Bar, district_wape, farthest, gauge_measures, group_coverage


def test_the_district_counts_only_times_at_which_every_node_is_known():
    target = np.array([[[1.0, 3.0]], [[2.0, np.nan]], [[4.0, 4.0]]])
    median = np.array([[[2.0, 3.0]], [[9.0, 9.0]], [[4.0, 2.0]]])
    assert district_wape(median, target) == pytest.approx((1 + 2) / (4 + 8))
    assert district_wape(median[..., :1], target[..., :1]) is None


def test_persistence_has_a_persistence_index_of_zero_and_truth_of_one():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(50, 24, 3))
    target[3, 5, 1] = np.nan
    naive = np.zeros_like(target)
    ids = ("a", "b", "h_ponte_garibaldi")
    lazy = gauge_measures(naive, target, naive, 1800, ids)
    perfect = gauge_measures(np.nan_to_num(target), target, naive, 1800, ids)
    for key in ("persistence_index", "persistence_index_mean", "persistence_index_inland"):
        assert lazy[key] == pytest.approx(0)
        assert perfect[key] == pytest.approx(1)
    assert list(lazy["persistence_index_by_gauge"]) == list(ids)
    assert {f"nse_{h}_h" for h in (1, 2, 4, 6, 12)} <= set(lazy)


def test_the_index_looks_at_two_to_six_hours_alone():
    target = np.ones((10, 24, 1)) + np.arange(10)[:, None, None]
    median, naive = np.zeros_like(target), np.zeros_like(target)
    median[:, 3:12] = target[:, 3:12]
    assert gauge_measures(median, target, naive, 1800, ("a",))["persistence_index"] == 1


def test_a_bar_says_what_it_asks_for():
    assert Bar("mae", 3.36).met(3.36)
    assert not Bar("mae", 3.36).met(3.4)
    assert Bar("nse", 0.5, least=True).met(0.6)
    assert str(Bar("wape", 0.0475)) == "wape <= 0.0475"


def test_coverage_is_told_by_thirds_of_the_nodes_by_size():
    levels = (0.05, *(round(0.1 * d, 1) for d in range(1, 10)), 0.95)
    size = np.array([5.0, 1, 6, 2, 4, 3])
    target = np.zeros((20, 2, 6))
    quantiles = np.linspace(-1, 1, len(levels)) * np.ones((20, 2, 6, 1))
    target[..., 2] = 9
    found = group_coverage(quantiles, target, levels, size)
    assert found["small"] == dict.fromkeys(("coverage_50", "coverage_80", "coverage_90"), 1.0)
    assert found["large"]["coverage_80"] == 0.5
    assert farthest(found["large"]) == pytest.approx(0.4)
    assert group_coverage(quantiles[:, :, :5], target[..., :5], levels, size[:5]) == {}
