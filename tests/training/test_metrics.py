"""Scores against brute force."""

import numpy as np
import pytest

from models.contracts import QUANTILES
from training.metrics import Score

HORIZON, NODES = 5, 3
DECILES = [round(0.1 * d, 1) for d in range(1, 10)]


def sample(rows: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    quantiles = np.sort(rng.normal(10, 3, (rows, HORIZON, NODES, len(QUANTILES))), axis=-1)
    target = rng.normal(10, 4, (rows, HORIZON, NODES))
    target[rng.random(target.shape) < 0.3] = np.nan
    return quantiles.astype(np.float32), target.astype(np.float32)


def brute(quantiles, target, point=None) -> dict[str, float]:
    seen = ~np.isnan(target)
    truth, forecast = target[seen].astype(float), quantiles[seen].astype(float)
    middle = forecast[:, QUANTILES.index(0.5)] if point is None else point[seen].astype(float)
    losses = []
    for level in DECILES:
        error = truth - forecast[:, QUANTILES.index(level)]
        losses.append(np.where(error >= 0, level * error, (level - 1) * error).mean())
    q = {level: forecast[:, i] for i, level in enumerate(QUANTILES)}
    low, high = q[0.1], q[0.9]
    lower, upper = (q[0.2] + q[0.3]) / 2, (q[0.7] + q[0.8]) / 2
    return {
        "mae": np.abs(middle - truth).mean(),
        "rmse": np.sqrt(((middle - truth) ** 2).mean()),
        "wape": np.abs(middle - truth).sum() / np.abs(truth).sum(),
        "crps": 2 * np.mean(losses),
        "coverage_50": ((truth >= lower) & (truth <= upper)).mean(),
        "coverage_80": ((truth >= low) & (truth <= high)).mean(),
        "coverage_90": ((truth >= q[0.05]) & (truth <= q[0.95])).mean(),
        "width_80": (high - low).mean(),
    }


def scored(*batches, point=None):
    score = Score(HORIZON, QUANTILES)
    for quantiles, target in batches:
        score.update(quantiles, target, point)
    return score.result()


@pytest.mark.parametrize("with_point", [False, True])
def test_all_metrics_are_those_of_brute_force(with_point):
    quantiles, target = sample()
    point = quantiles[..., 3] + 1 if with_point else None
    result = scored((quantiles, target), point=point)
    for name, value in brute(quantiles, target, point).items():
        assert result[name] == pytest.approx(value, rel=1e-5), name
    assert list(result["by_lead"]) == ["1", "2", "3", "4", "5"]
    for h in range(HORIZON):
        lead = None if point is None else point[:, h]
        expected = brute(quantiles[:, h], target[:, h], lead)
        assert result["by_lead"][str(h + 1)] == pytest.approx(expected, rel=1e-5)


def test_batches_add_up():
    quantiles, target = sample()
    parts = [(quantiles[i : i + 7], target[i : i + 7]) for i in range(0, 40, 7)]
    together, apart = scored((quantiles, target)), scored(*parts)
    leads = together.pop("by_lead"), apart.pop("by_lead")
    assert apart == pytest.approx(together, rel=1e-6)
    for lead in leads[0]:
        assert leads[1][lead] == pytest.approx(leads[0][lead], rel=1e-6)


def test_leads_add_up_to_the_whole():
    quantiles, target = sample()
    result = scored((quantiles, target))
    count = (~np.isnan(target)).sum(axis=(0, 2))
    for name in ("mae", "crps", "coverage_50", "coverage_80", "coverage_90", "width_80"):
        leads = [result["by_lead"][str(h + 1)][name] for h in range(HORIZON)]
        assert result[name] == pytest.approx(np.average(leads, weights=count), rel=1e-9)


def test_a_missing_target_counts_for_nothing():
    quantiles, target = sample()
    before = scored((quantiles, target))
    quantiles[np.isnan(target)] = 1e6
    assert scored((quantiles, target)) == before


def test_a_lead_without_targets_has_no_score():
    quantiles, target = sample()
    target[:, 2] = np.nan
    result = scored((quantiles, target))
    assert set(result["by_lead"]["3"].values()) == {None}
    assert result["mae"] == pytest.approx(brute(quantiles, target)["mae"], rel=1e-5)


def test_targets_of_zero_have_no_wape():
    quantiles, _ = sample()
    result = scored((quantiles, np.zeros((40, HORIZON, NODES), np.float32)))
    assert result["wape"] is None
    assert result["mae"] > 0


def test_a_perfect_forecast_scores_zero():
    _, target = sample()
    quantiles = np.repeat(np.nan_to_num(target)[..., None], len(QUANTILES), axis=-1)
    result = scored((quantiles, target))
    assert result["mae"] == result["rmse"] == result["wape"] == result["crps"] == 0
    assert result["coverage_80"] == 1
    assert result["width_80"] == 0


def test_crps_of_a_point_is_its_absolute_error():
    quantiles, target = sample()
    quantiles = np.repeat(quantiles[..., 5:6], len(QUANTILES), axis=-1)
    result = scored((quantiles, target))
    assert result["crps"] == pytest.approx(result["mae"], rel=1e-6)


def test_missing_deciles_are_refused():
    with pytest.raises(ValueError, match="not in"):
        Score(3, (0.1, 0.5, 0.9))
