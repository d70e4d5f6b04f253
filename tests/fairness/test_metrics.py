"""Sums and figures against a count by hand."""

import numpy as np
import pytest

from fairness.groups import Areas, Group, Grouping
from fairness.metrics import (
    FIGURES,
    SUMS,
    Units,
    daily_sums,
    figures,
    lead_bands,
    mean_of_groups,
    mean_of_others,
    peaks,
)
from models.contracts import QUANTILES, FelsinaError

LEVELS = QUANTILES


def drawn(issues=6, horizon=5, nodes=3, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.gamma(2, 10, (issues, horizon, nodes))
    quantiles = np.sort(rng.gamma(2, 10, (issues, horizon, nodes, len(LEVELS))), axis=-1)
    naive = rng.gamma(2, 10, target.shape)
    return quantiles, target, naive


def sums(quantiles, levels, target, naive, days):
    issues, horizon, nodes = target.shape
    rows = np.arange(issues * horizon).reshape(issues, horizon)
    peak = peaks(target.reshape(-1, nodes), rows)
    return daily_sums(quantiles, levels, target, naive, days, peak)


@pytest.mark.parametrize(
    ("horizon", "bands"),
    [
        (24, ((1, 1), (2, 6), (7, 12), (13, 24))),
        (5, ((1, 1), (2, 2), (3, 3), (4, 5))),
        (1, ((1, 1),)),
    ],
)
def test_bands_of_leads_hold_each_lead_once(horizon, bands):
    assert lead_bands(horizon) == bands


def test_sums_are_those_counted_one_by_one():
    quantiles, target, naive = drawn()
    target[2, 1, 0] = np.nan
    days = np.array([0, 0, 1, 1, 1, 3])
    found = sums(quantiles, LEVELS, target, naive, days)
    assert found.shape == (3, 3, 4, len(SUMS))
    low, median, high = (LEVELS.index(q) for q in (0.05, 0.5, 0.95))
    for d, issues in enumerate(([0, 1], [2, 3, 4], [5])):
        for n in range(3):
            peak = np.nanquantile(target[:, :, n], 0.9)
            for band, (first, last) in enumerate(lead_bands(5)):
                by_hand = np.zeros(len(SUMS))
                for b in issues:
                    for h in range(first - 1, last):
                        true, q = target[b, h, n], quantiles[b, h, n]
                        if np.isnan(true):
                            continue
                        pinball = np.mean(
                            [
                                max(
                                    p * (true - q[LEVELS.index(p)]),
                                    (p - 1) * (true - q[LEVELS.index(p)]),
                                )
                                for p in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
                            ]
                        )
                        by_hand += [
                            1,
                            abs(q[median] - true),
                            abs(naive[b, h, n] - true),
                            q[median] - true,
                            true,
                            pinball,
                            q[low] <= true <= q[high],
                            q[high] - q[low],
                            max(true - q[median], 0) if true >= peak else 0,
                            true if true >= peak else 0,
                        ]
                assert found[d, n, band] == pytest.approx(by_hand)


def test_figures_of_a_perfect_forecast_and_of_none():
    _, target, naive = drawn()
    perfect = np.repeat(target[..., None], len(LEVELS), axis=-1)
    total = sums(perfect, LEVELS, target, naive, np.zeros(6)).sum(axis=(0, 1, 2))
    assert figures(total) == pytest.approx([1, 0, 0, 0, 1, 0, 0, 0])
    assert np.isnan(figures(np.zeros(len(SUMS)))).all()


def test_people_are_told_how_far_off_the_median_is_in_the_unit():
    _, target, naive = drawn()
    off = np.repeat(target[..., None], len(LEVELS), axis=-1) + 3
    total = sums(off, LEVELS, target, naive, np.zeros(6)).sum(axis=(0, 1, 2))
    assert figures(total)[FIGURES.index("mae")] == pytest.approx(3)


def test_audits_need_their_quantiles():
    quantiles, target, naive = drawn()
    with pytest.raises(FelsinaError, match=r"quantiles \[0.05\] are not among"):
        sums(quantiles[..., 1:], LEVELS[1:], target, naive, np.zeros(6))


def test_every_area_counts_the_same_or_by_its_residents():
    areas = Areas(
        np.array([0, 0, 0, 1, 2, -1]), {"area": ("a", "b", "c")}, np.array([900.0, 100, 5])
    )
    grouping = Grouping(
        "g",
        (Group("x", np.array([0, 1, 2, 3]), 1000.0), Group("y", np.array([4, 5]), 5.0)),
        np.zeros(0, np.int64),
    )
    units = Units.of(grouping, areas, np.ones(6))
    assert units.residents is None, "the last node stands in no area"
    assert units.of_node.tolist() == [
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    unit_figures = np.array([[1.0], [2.0], [3.0], [5.0]])
    assert mean_of_groups(unit_figures, units.equal)[:, 0].tolist() == [1.5, 4.0]
    assert mean_of_others(unit_figures, units.equal)[:, 0].tolist() == [4.0, 1.5]
    housed = Units.of(Grouping("g", grouping.groups[:1], np.array([4, 5])), areas, np.ones(6))
    assert housed.residents is not None
    assert mean_of_groups(unit_figures[:2], housed.residents)[0, 0] == pytest.approx(1.1)


def test_a_unit_of_unknown_figure_does_not_count():
    weights = np.array([[1.0, 1, 0], [0, 0, 1]])
    unit_figures = np.array([[np.nan], [2.0], [3.0]])
    assert mean_of_groups(unit_figures, weights)[:, 0].tolist() == [2.0, 3.0]


def test_silent_nodes_form_no_unit():
    areas = Areas(np.array([0, 1]), {"area": ("a", "b")}, np.array([10.0, 10.0]))
    grouping = Grouping("g", (Group("x", np.array([0, 1]), 20.0),), np.zeros(0, np.int64))
    assert len(Units.of(grouping, areas, np.array([3.0, 0.0])).of_node) == 1
    assert len(FIGURES) == 8


def test_point_tables_are_fairlearns_where_both_mean_the_same():
    """Its frame pools rows and refuses NaN: ours is that where each group is one area."""
    from fairlearn.metrics import MetricFrame

    quantiles, target, naive = drawn(issues=20)
    target[3, 1, 0] = np.nan
    daily = sums(quantiles, LEVELS, target, naive, np.arange(20))
    groups = tuple(Group(name, np.array([n]), np.nan) for n, name in enumerate("xyz"))
    areas = Areas(np.arange(3), {"area": ("x", "y", "z")}, np.full(3, np.nan))
    units = Units.of(Grouping("g", groups, np.zeros(0, np.int64)), areas, np.ones(3))
    ours = mean_of_groups(figures(np.einsum("un,dnls->us", units.of_node, daily)), units.equal)
    known = np.isfinite(target)
    of_node = np.broadcast_to(np.arange(3), target.shape)[known]
    point = quantiles[..., LEVELS.index(0.5)][known]
    band = (quantiles[..., 0] <= target) & (target <= quantiles[..., -1])

    def wape(true, guess):
        return np.abs(true - guess).sum() / np.abs(true).sum()

    frame = MetricFrame(
        metrics=wape, y_true=target[known], y_pred=point, sensitive_features=of_node
    )
    assert ours[:, FIGURES.index("wape")] == pytest.approx(frame.by_group.to_numpy())
    held = MetricFrame(
        metrics=lambda true, inside: inside.mean(),
        y_true=target[known],
        y_pred=band[known],
        sensitive_features=of_node,
    )
    assert ours[:, FIGURES.index("coverage_90")] == pytest.approx(held.by_group.to_numpy())
