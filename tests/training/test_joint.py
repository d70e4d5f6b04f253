"""The template of joint members: what hangs together in the errors hangs together in the ranks."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from models.contracts import QUANTILES
from models.joint import members, sum_quantiles
from tests.factories import make_graph, make_spec
from training import joint as module
from training.joint import error_template, ranks
from training.joint_skill import VARIANTS, joint_skill
from training.splits import Splits

M, H, N = 100, 6, 4


def correlation(template: np.ndarray, first: tuple[int, int], second: tuple[int, int]) -> float:
    return float(np.corrcoef(template[:, *first], template[:, *second])[0, 1])


def assert_ranks(template: np.ndarray) -> None:
    rank = np.arange(len(template))[:, None, None]
    np.testing.assert_array_equal(np.sort(template, axis=0), np.broadcast_to(rank, template.shape))


def test_independent_noise_gives_nearly_independent_ranks():
    rng = np.random.default_rng(0)
    template = ranks(rng.random((M, H, N)), rng)
    assert template.dtype == np.uint8
    assert_ranks(template)
    pairs = [
        correlation(template, (h, n), (g, m))
        for h, n, g, m in rng.integers([H, N, H, N], size=(200, 4))
        if (h, n) != (g, m)
    ]
    assert abs(np.mean(pairs)) < 0.03
    assert np.max(np.abs(pairs)) < 0.4


def test_a_common_shock_gives_strong_dependence():
    rng = np.random.default_rng(0)
    shock = rng.random((M, 1, 1))
    template = ranks(np.clip(shock + rng.normal(0, 0.05, (M, H, N)), 0, 1), rng)
    assert_ranks(template)
    assert correlation(template, (0, 0), (5, 3)) > 0.9


def test_ties_are_parted_by_lot_and_alike_each_time():
    template = ranks(np.zeros((M, H, N)), np.random.default_rng(1))
    assert_ranks(template)
    assert abs(correlation(template, (0, 0), (1, 1))) < 0.4
    np.testing.assert_array_equal(template, ranks(np.zeros((M, H, N)), np.random.default_rng(1)))


def test_missing_targets_take_a_neighbouring_lead_then_the_other_nodes_then_the_middle():
    pit = np.random.default_rng(0).random((M, H, N))
    pit[:, 2:4, 0] = np.nan  # the lead before
    pit[:, 0, 1] = np.nan  # the lead after
    pit[:, :, 2] = np.nan  # the mean of the other nodes
    pit[10] = np.nan  # nothing of this window: the middle
    template = ranks(pit, np.random.default_rng(0))
    assert_ranks(template)
    np.testing.assert_array_equal(template[:, 2, 0], template[:, 1, 0])
    np.testing.assert_array_equal(template[:, 3, 0], template[:, 1, 0])
    np.testing.assert_array_equal(template[:, 0, 1], template[:, 1, 1])
    others = pit[:, 5, [0, 1, 3]].mean(axis=1)
    known = ~np.isnan(others)
    assert np.corrcoef(template[known, 5, 2], others[known])[0, 1] > 0.9
    assert (np.abs(template[10].astype(int) - M // 2) < 20).all()


def test_the_template_of_a_fit(dataset, fitted):
    template, record = error_template(dataset, fitted)
    assert template.shape == (M, fitted.spec.horizon, dataset.graph.nodes)
    assert_ranks(template)
    assert record["count"] == M
    assert 0 < record["disjoint_windows"] <= M
    assert "left_out" not in record
    first, last = record["span"].split(" to ")
    assert "2024-03-20" <= first < last <= "2024-04-05"
    again, _ = error_template(dataset, fitted)
    np.testing.assert_array_equal(again, template)


def test_the_test_span_has_no_part_in_it(dataset, fitted):
    values = dataset.values.copy()
    values[dataset.splits.validation_end :] = 1e4
    other, _ = error_template(replace(dataset, values=values), fitted)
    np.testing.assert_array_equal(other, error_template(dataset, fitted)[0])


def test_too_few_windows_or_too_many_nodes_are_said(dataset, fitted, monkeypatch):
    end = dataset.splits.train_end + 20
    short = replace(dataset, splits=Splits(dataset.splits.train_end, end, len(dataset.values)))
    template, record = error_template(short, fitted)
    assert template.shape == (0, fitted.spec.horizon, dataset.graph.nodes)
    assert record["count"] == 0
    assert "fewer than 20" in record["left_out"]
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    template, record = error_template(dataset, fitted)
    assert len(template) == 0
    assert "4 nodes x 6 leads" in record["left_out"]


def simulated(shock: float, rows: int = 300, missing: float = 0.0):
    """Forecasts of normal errors that share a part ``shock`` over nodes and leads."""
    rng = np.random.default_rng(0)
    common = shock**0.5 * rng.normal(size=(rows, 1, 1))
    error = common + (1 - shock) ** 0.5 * rng.normal(size=(rows, H, N))
    centre = rng.normal(100, 20, (rows, H, N))
    steps = np.array([NormalDist().inv_cdf(level) for level in QUANTILES])
    quantiles = (centre[..., None] + steps).astype(np.float32)
    target = (centre + error).astype(np.float32)
    pit = np.vectorize(NormalDist().cdf)(error)
    target[rng.random(target.shape) < missing] = np.nan
    half = rows // 2
    return quantiles[half:], target[half:], ranks(pit[:M], rng)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_template_beats_both_extremes_where_errors_share_a_part(missing):
    spec, graph = make_spec(nonnegative=False), make_graph()
    found = joint_skill(*simulated(0.4, missing=missing), spec, graph)
    assert found["members"] == M
    assert found["additive"] is True
    for kind in ("city_sum", "area_sum", "period_sum"):
        scores = found[kind]
        assert set(scores) == set(VARIANTS)
        widths = [scores[v]["width_80"] for v in ("independent", "template", "comonotone")]
        assert widths == sorted(widths)
        away = {v: abs(scores[v]["coverage_80"] - 0.8) for v in VARIANTS}
        assert away["template"] == min(away.values())
        assert away["template"] < 0.1
    assert found["city_sum"]["template"]["crps"] == min(
        scores["crps"] for scores in found["city_sum"].values()
    )
    for scores in found["variogram"].values():
        assert scores["template"] == min(scores.values())


def test_nothing_to_sum_is_none():
    quantiles, target, template = simulated(0.5)
    spec, graph = make_spec(nonnegative=False), make_graph(1)
    one = joint_skill(quantiles[:, :, :1], target[:, :, :1], template[:, :, :1], spec, graph)
    assert one["city_sum"] is None
    assert one["area_sum"] is None
    assert one["period_sum"]["template"]["crps"] > 0
    assert set(one["variogram"]) == {"leads"}
    assert joint_skill(quantiles, target, template[:0], spec, make_graph()) is None
    blind = joint_skill(quantiles, np.full_like(target, np.nan), template, spec, make_graph())
    assert blind["city_sum"] is None
    assert blind["variogram"]["nodes"] == dict.fromkeys(VARIANTS)


def test_members_of_a_shared_shock_widen_the_sum():
    bands = {}
    for shock in (0.0, 0.9):
        quantiles, _, template = simulated(shock)
        joint = members(quantiles[0], QUANTILES, template, False)
        total = sum_quantiles(joint, np.ones((1, N), bool), QUANTILES)
        bands[shock] = (total[..., 9] - total[..., 1]).mean()
    assert bands[0.9] > 1.5 * bands[0.0]
