"""The audit of the real mechanism: it sees missing noise, and leaves a sound training alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from privacy.audit_run import PrivateAudit, audit_private
from privacy.canary_units import canary_units
from privacy.draws import SecretDraws
from privacy.witness import shares_of
from tests.factories import Silent
from tests.privacy.conftest import audited_settings


def audited(homes, epsilon: float, noise: float | None, seed: int) -> PrivateAudit:
    settings = audited_settings(epsilon=epsilon, noise_multiplier=None)
    return audit_private(settings, homes, Silent(), noise_multiplier=noise, seed=seed)


def test_with_the_claimed_noise_it_is_not(sound_audit):
    assert not sound_audit.contradicts
    assert sound_audit.white_box.claim < sound_audit.white_box.ceiling
    assert 0.5 < sound_audit.white_box.auc < 0.8
    assert sound_audit.to_dict()["could_contradict"] is True


@pytest.mark.slow
@pytest.mark.parametrize(("epsilon", "seed"), [(1.0, 1), (2.0, 2), (4.0, 3)])
def test_at_every_claim(homes, epsilon, seed):
    """Each with a seed of its own; benchmarks/private.md has the claims by the seeds."""
    without = audited(homes, epsilon, 0.0, seed)
    assert without.contradicts
    assert without.noise_multiplier == 0 < without.claimed.noise_multiplier
    assert not audited(homes, epsilon, None, seed).contradicts


def test_noise_that_a_fault_left_out_is_found(homes, monkeypatch):
    """The audit is told nothing of it: code and settings say that there is noise."""
    monkeypatch.setattr(SecretDraws, "noise", lambda self, step, size: np.zeros(size))
    found = audit_private(audited_settings(), homes, Silent())
    assert found.noise_multiplier == found.claimed.noise_multiplier
    assert found.contradicts
    assert found.white_box.epsilon > found.white_box.claim > 3.9
    assert found.white_box.auc > 0.95


def test_those_who_are_out_are_nowhere_in_the_training(homes):
    units = canary_units(homes, "household", 1000, 1000, "gaps", seed=3)
    assert 430 < units.included.sum() < 570
    ids = units.trained.graph.ids
    assert ids[:4] == homes.graph.ids
    assert ids[4:] == tuple(f"canary-{n}" for n in units.included.nonzero()[0])
    assert units.everyone.graph.nodes == 1004
    np.testing.assert_array_equal(
        units.trained.values[:, 4:], units.everyone.values[:, 4:][:, units.included]
    )
    np.testing.assert_array_equal(units.trained.values[:, :4], homes.values)
    assert canary_units(homes, "household", 502, 1000, "noise", seed=3).stand_ins == 2
    assert canary_units(homes, "household", 17, 1000, "bursts", seed=3).stand_ins == 0


def test_what_cannot_be_audited_is_refused(homes):
    with pytest.raises(FelsinaError, match="999 canaries: an audit needs 1000"):
        audit_private(audited_settings(), homes, Silent(), canaries=999)
    with pytest.raises(FelsinaError, match=r"'day' is no node.*household"):
        canary_units(homes, "day", 1000, 1000, "gaps", 0)
    with pytest.raises(FelsinaError, match="'odd': use one of gaps, noise, bursts"):
        canary_units(homes, "meter", 1000, 1000, "odd", 0)
    empty = replace(homes, values=np.full_like(homes.values, np.nan))
    with pytest.raises(FelsinaError, match="no value is observed"):
        canary_units(empty, "meter", 1000, 1000, "gaps", 0)


@pytest.mark.parametrize(("noise", "apart"), [(0.0, 5.0), (0.05, 2.0), (30.0, -0.5)])
def test_shares_are_those_that_are_in_the_sum(noise, apart):
    """Gradients with most of their length in common, as those of one network have."""
    rng = np.random.default_rng(0)
    own = rng.normal(size=(300, 900)) + 3 * rng.normal(size=900)
    own = torch.as_tensor(own / np.linalg.norm(own, axis=1)[:, None], dtype=torch.float32)
    taken = rng.random(300) < 0.1
    rest = own.double()[taken].sum(0) + noise * torch.as_tensor(rng.normal(size=900))
    found = shares_of(own, rest, 0.1, 1.0).numpy()
    spread = np.sqrt((found[taken].var() + found[~taken].var()) / 2)
    assert (found[taken].mean() - found[~taken].mean()) / spread > apart


def test_shares_do_not_depend_on_the_unit_of_the_gradients():
    torch.manual_seed(0)
    own = torch.randn(50, 200)
    rest = own[:9].double().sum(0) + torch.randn(200)
    found = [shares_of(scale * own, scale * rest, 0.2, scale * 14.0) for scale in (1.0, 0.01)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
