"""A private rehearsal: what each partner spent is on the ledger, and nothing is spent twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.contracts import FelsinaError
from models.signing import load_public_key
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.private_federation import private_study
from privacy.replay import replay
from privacy.rounds import RoundSettings
from tests.privacy.test_dp import make_settings
from training.dataset import CityDataset

SETTINGS = make_settings(optimiser="sgd")
NAMES = ["partner-1", "partner-2", "partner-3"]


def studied(homes: CityDataset, work: Path, **changes):
    settings = SETTINGS.model_copy(update=changes)
    return private_study(
        homes, settings, RoundSettings(rounds=4), 3, "nodes", work, lambda text, share: None
    )


def test_each_partner_pays_for_its_rounds_once(homes: CityDataset, tmp_path: Path) -> None:
    standings, ended = studied(homes, tmp_path)
    assert (ended.rounds, ended.reason) == (4, "")
    whole = epsilon_of([SampledGaussian(0.5, 8.0, 12)], SETTINGS.delta).pld
    assert [one.partner for one in standings] == NAMES
    assert [one.nodes for one in standings] == [2, 1, 1]
    assert [one.epsilon for one in standings] == pytest.approx([whole] * 3)
    assert sum(one.contribution for one in standings) == pytest.approx(1)
    for one in standings:
        assert 0 < one.together < 3 * one.alone
        assert one.gained == pytest.approx(1 - one.together / one.alone)
    # The city's ledger and each partner's own say the same; killed or not, it is paid once.
    again, _ = studied(homes, tmp_path)
    assert again == standings
    for folder in ("city", *(f"accounts/{name}" for name in NAMES)):
        key = load_public_key(tmp_path / folder / "key.pem.pub")
        accounts = replay(tmp_path / folder / "ledger.jsonl", key)
        for population in accounts.populations():
            assert population.steps == {(0.5, 8.0): 12}


def test_a_plan_that_exceeds_is_refused(homes: CityDataset, tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match="spend epsilon"):
        studied(homes, tmp_path, noise_multiplier=1.0)
