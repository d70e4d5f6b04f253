"""Groups in the loss: alike in total, and the worst one more and more."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import FelsinaError
from tests.factories import Silent, make_settings
from training.fit import Fitted, fit
from training.groups import MOST, NodeGroups, WorstGroup, balanced, naive_loss, over_naive
from training.losses import pinball, pinball_by_node
from training.ridge import tensors

GROUPS = NodeGroups("side", ("left", "right"), np.array([0, 0, 0, 1]))
SHORT = {"accelerator": "cpu", "steps": 12, "evaluate_every": 4}


def fair(**changes) -> dict:
    return SHORT | {"fairness": {"attribute": "side", **changes}}


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31))
def test_balanced_groups_cost_the_same_and_the_sum_stays(seed):
    rng = np.random.default_rng(seed)
    of_node = np.r_[0, 1, 2, rng.integers(-1, 3, 9)]
    cost = torch.as_tensor(rng.uniform(0.5, 2, 12)).float()
    factor = balanced(NodeGroups("x", ("a", "b", "c"), of_node), cost)
    totals = [float((factor * cost)[of_node == g].sum()) for g in range(3)]
    np.testing.assert_allclose(totals, totals[0], rtol=1e-4)
    inside = of_node >= 0
    assert float((factor * cost)[inside].sum()) == pytest.approx(float(cost[inside].sum()), 1e-4)
    assert (factor[~inside] == 1).all()


def test_a_tiny_group_does_not_take_over():
    of_node = np.r_[0, np.ones(999, int)]
    factor = balanced(NodeGroups("x", ("one", "many"), of_node), torch.ones(1000))
    assert 1 < factor[0] <= MOST
    assert factor.max() / factor.min() > MOST / 2
    silent = balanced(NodeGroups("x", ("one", "many"), of_node), (torch.arange(1000) > 0).float())
    assert torch.isfinite(silent).all()


def test_the_naive_loss_is_that_of_the_week_before(dataset):
    builder = dataset.builder()
    origins = np.arange(400, 430)
    error, seen = naive_loss(builder, origins)
    for n in range(4):
        gaps = [
            abs(builder.values[o + lead, n] - builder.values[o + lead - 168, n])
            for o in origins
            for lead in range(1, 7)
        ]
        known = np.isfinite(gaps)
        if known.all():
            assert error[n] == pytest.approx(np.mean(gaps), rel=1e-5)
            assert seen[n] == 1
        else:
            assert seen[n] < 1
    assert (error > 0).all()


def test_losses_by_node_add_up_to_the_loss():
    quantiles, target = torch.randn(3, 2, 4, 3), torch.randn(3, 2, 4)
    target[0, :, 1] = torch.nan
    levels, weight = torch.tensor([0.1, 0.5, 0.9]), torch.rand(4)
    sums, seen = pinball_by_node(quantiles, target, levels)
    whole = (sums * weight).sum() / seen.sum()
    torch.testing.assert_close(whole, pinball(quantiles, target, levels, weight))
    assert seen.tolist() == [6, 4, 6, 6]


def rule(level: float = 1.0) -> WorstGroup:
    """Of two groups, the second of which has values ``level`` times the first's."""
    naive = torch.tensor([1.0, 1.0, 1.0, level])
    return WorstGroup(GROUPS, naive, torch.ones(4), torch.ones(4), begins=0, rate=0.1)


@pytest.mark.parametrize("level", [0.01, 1.0, 100.0])
def test_the_group_that_is_relatively_worst_gains_weight_whatever_its_level(level):
    worst, seen = rule(level), torch.full((4,), 10)
    losses = torch.tensor([2.0, 2.0, 2.0, 4.0 * level])
    weight = [worst.weights(losses, seen) for _ in range(5)][-1]
    assert weight[3] > weight[0] == weight[1]
    torch.testing.assert_close(worst.share, rule_share(worst), atol=1e-4, rtol=0)


def rule_share(worst: WorstGroup) -> torch.Tensor:
    """Five steps of the exponentiated gradient, in closed form: losses .2 and .4, mean .3."""
    raised = torch.exp(5 * worst.rate * torch.tensor([2.0, 4.0]) / 3)
    return raised / raised.mean()


def test_no_group_gains_where_all_fare_alike_and_none_runs_away():
    alike, worst, seen = rule(), rule(), torch.full((4,), 10)
    for _ in range(500):
        alike.weights(torch.full((4,), 3.0), seen)
        worst.weights(torch.tensor([0.1, 0.1, 0.1, 9.0]), seen)
    torch.testing.assert_close(alike.share, torch.ones(2))
    assert worst.share.max() / worst.share.min() <= MOST**2
    silent = rule()
    silent.weights(torch.tensor([1.0, 1.0, 1.0, 0.0]), torch.tensor([9, 9, 9, 0]))
    assert torch.isfinite(silent.share).all()
    assert torch.isnan(over_naive(torch.tensor([[1.0, 0.0]]))).all()


@pytest.fixture(scope="module")
def ordinary(dataset, tmp_path_factory) -> Fitted:
    return fit(dataset, make_settings(**SHORT), tmp_path_factory.mktemp("ordinary"), Silent())


def states(one: Fitted, other: Fitted) -> list[str]:
    a, b = one.forecaster.state_dict(), other.forecaster.state_dict()
    return [n for n in b if n not in a or not torch.equal(a[n], b[n])]


def test_naming_an_attribute_alone_changes_no_weight(dataset, ordinary, tmp_path):
    named = fit(dataset, make_settings(**fair()), tmp_path, Silent(), GROUPS)
    assert states(ordinary, named) == []


def test_calibration_by_group_touches_nothing_but_bands(dataset, ordinary, tmp_path):
    made = make_settings(**fair(calibration="group"))
    grouped = fit(dataset, made, tmp_path, Silent(), GROUPS)
    assert states(ordinary, grouped) == ["node_offset"]
    origins = dataset.splits.test(grouped.spec, dataset.start)[:20]
    window = dataset.builder(grouped.spec).batch(origins)
    before, after = ordinary.predict(window), grouped.predict(window)
    middle = grouped.spec.quantiles.index(0.5)
    np.testing.assert_array_equal(before[..., middle], after[..., middle])
    assert not np.allclose(before, after, rtol=1e-3)
    assert (np.diff(after, axis=-1) >= 0).all()


@pytest.mark.parametrize("weights", ["group", "dro"])
def test_weights_change_the_network_and_a_killed_training_goes_on(
    weights, dataset, ordinary, tmp_path
):
    class Killed(Exception):
        pass

    class Killer(Silent):
        def metrics(self, step, values):
            if step >= 8:
                raise Killed

    made = make_settings(**fair(weights=weights, warm_start=0.34, rate=1.0))
    unbroken = fit(dataset, made, tmp_path / "a", Silent(), GROUPS)
    assert "members.0.past.weight" in states(ordinary, unbroken)
    with pytest.raises(Killed):
        fit(dataset, made, tmp_path / "b", Killer(), GROUPS)
    resumed = fit(dataset, made, tmp_path / "b", Silent(), GROUPS)
    assert states(unbroken, resumed) == []


def test_dro_starts_as_the_ordinary_training_and_is_not_stopped_before_it_begins(dataset, tmp_path):
    class Looks(Silent):
        def __init__(self) -> None:
            super().__init__()
            self.steps = []

        def metrics(self, step, values):
            self.steps.append(step)

    # Rates that ruin: the ordinary training stops at once, DRO only after it has begun.
    ruin = {"steps": 40, "evaluate_every": 4, "patience": 1, "learning_rate": 0.5}
    plain, late = Looks(), Looks()
    fit(dataset, make_settings(**SHORT | ruin), tmp_path / "a", plain)
    made = make_settings(**fair(weights="dro", warm_start=0.5) | ruin)
    fit(dataset, made, tmp_path / "b", late, GROUPS)
    assert plain.steps[-1] < 20 < late.steps[-1]


def test_dro_is_judged_by_the_group_that_fares_worst(dataset, tmp_path):
    """Of an untrained network: the loop's own windows are not quite those that are taken here."""

    class Looks(Silent):
        def metrics(self, step, values):
            self.judged = values["validation_loss"]

    looks = Looks()
    still = {"steps": 4, "learning_rate": 1e-12, "node_loss": "equal"}
    fitted = fit(dataset, make_settings(**fair(weights="dro") | still), tmp_path, looks, GROUPS)
    builder, model = dataset.builder(fitted.spec), fitted.forecaster
    stopping, _ = dataset.splits.validation(fitted.spec)
    inputs = tensors(builder.batch(stopping, with_target=True))
    target = inputs.pop("target")
    with torch.inference_mode():
        quantiles = model.uncalibrated(**inputs)
    losses, seen = pinball_by_node(quantiles, target, torch.tensor(fitted.spec.quantiles))
    naive, _ = naive_loss(builder, dataset.splits.train(fitted.spec))
    weight = 1 / model.backbone.scaler.scale
    parts = [GROUPS.of_node == g for g in range(2)]
    relative = [float((weight * losses)[p].sum() / (weight * seen * naive)[p].sum()) for p in parts]
    assert looks.judged == pytest.approx(max(relative), abs=0.05 * (max(relative) - min(relative)))


def test_groups_that_were_not_given_are_asked_for(dataset, tmp_path):
    with pytest.raises(FelsinaError, match=r"set fairness.attribute"):
        fit(dataset, make_settings(**fair(weights="group")), tmp_path, Silent())


def test_the_record_names_groups_and_nodes():
    groups = replace(GROUPS, of_node=np.array([0, -1, 1, 1]))
    assert groups.record(("a", "b", "c", "d")) == {
        "attribute": "side",
        "groups": {"left": ["a"], "right": ["c", "d"]},
    }
