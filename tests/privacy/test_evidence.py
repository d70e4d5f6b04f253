"""What goes with a release says what is covered, and tells nothing of small groups."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contracts import CityGraph, FelsinaError
from models.record import canonical_json
from privacy.audit_run import untrained_gradients
from privacy.claim import Statement
from privacy.evidence import audited, evidence
from privacy.evidence_text import rendered
from privacy.noise_cost import GroupError, PrivateErrors, noiseless_twin, private_errors
from tests.factories import Silent
from tests.privacy.conftest import audited_settings
from training.dataset import CityDataset


@pytest.fixture(scope="module")
def street(homes: CityDataset) -> CityDataset:
    """Four households often over: 21 in the north, 12 in the south, 7 on an island."""
    nodes = np.arange(40) % 4
    ids = tuple(f"home-{n}" for n in range(40))
    areas = ("north",) * 21 + ("south",) * 12 + ("island",) * 7
    unknown = np.full(40, np.nan)
    graph = CityGraph(ids, unknown, unknown, ids, areas, np.full((40, 3), np.nan), {"tenure": ids})
    return replace(homes, graph=graph, values=homes.values[:, nodes])


@pytest.fixture(scope="module")
def twin(street: CityDataset):
    return noiseless_twin(street, audited_settings(steps=3), Silent())


def test_groups_under_ten_are_told_of_nowhere(street, twin):
    worse = copy.deepcopy(twin)
    with torch.no_grad():
        for parameter in worse.members.parameters():
            parameter.add_(torch.randn_like(parameter))
    found = private_errors(street, worse, twin)
    assert [(group.group, group.units) for group in found.groups] == [("north", 20), ("south", 10)]
    assert found.suppressed == 1
    assert all(group.with_noise > group.without_noise for group in found.groups)
    assert found.overall is not None
    assert found.overall.units == 30
    moved = replace(street, values=street.values.copy())
    moved.values[:, 33:] *= 5
    again = private_errors(moved, worse, twin)
    assert again == found  # the overall figure leaves the island out as well
    alone = private_errors(street, worse, twin, "tenure")
    assert (alone.groups, alone.suppressed, alone.overall) == ((), 40, None)
    with pytest.raises(FelsinaError, match="no column colour; group by one of area, tenure"):
        private_errors(street, worse, twin, "colour")


def test_a_twin_is_the_same_training_without_noise(street, twin):
    first = untrained_gradients(street, audited_settings(steps=3)).forecaster
    pairs = zip(first.members.parameters(), twin.members.parameters(), strict=True)
    assert any(not torch.equal(before, after) for before, after in pairs)
    assert not twin.training


TOLD = Statement("It protects.", "Protegge.", ("Secrets.",), ("Segreti.",))
OF = {"dataset": "street", "run": "street-1-2", "model_sha256": "c" * 64}


def record(sound_audit, errors=None):
    found = sound_audit
    made = evidence(found.settings, found.claimed, found.epsilon, found, TOLD, errors)
    return made | {"of": OF}


ERRORS = PrivateErrors(
    "area", "kWh", 90, (GroupError("a|b", 20, 0.19, 0.177),), 2, GroupError("", 20, 0.19, 0.177)
)


def test_it_is_the_same_bytes_and_says_what_is_covered(sound_audit):
    found = record(sound_audit, ERRORS)
    assert canonical_json(found) == canonical_json(record(sound_audit, ERRORS))
    assert set(found["epsilon"]) == {"pld", "prv", "rdp", "delta"}
    assert found["errors"]["covered_by_epsilon"] is False
    assert found["membership_auc"]["white_box"] == sound_audit.white_box.auc
    assert "seconds" not in found["audit"]
    assert record(sound_audit)["errors"] is None


def test_an_audit_of_something_else_is_no_evidence(sound_audit):
    found = sound_audit
    other = found.settings.model_copy(update={"clip_norm": 0.3})
    with pytest.raises(FelsinaError, match=r"of other settings \(clip_norm\)"):
        evidence(other, found.claimed, found.epsilon, found, TOLD)
    bare = replace(found, noise_multiplier=0.0)
    with pytest.raises(FelsinaError, match="ran with noise 0, the release with"):
        evidence(found.settings, found.claimed, found.epsilon, bare, TOLD)


def test_days_are_audited_by_households(sound_audit):
    found = sound_audit
    days = found.settings.model_copy(update={"unit": "day"})
    assert audited(days) == found.settings
    made = evidence(days, found.claimed, found.epsilon, found, TOLD) | {"of": OF}
    assert (made["settings"]["unit"], made["audit"]["unit"]) == ("day", "household")
    assert "single households here also where the promise is for a day" in rendered(made)
    assert "single households here" not in rendered(record(sound_audit))


def test_the_page_is_in_both_languages_and_says_it_plainly(sound_audit):
    page = rendered(record(sound_audit, ERRORS))
    right = sound_audit.white_box.right
    for said in (
        "# Evidence of privacy",
        "(#prove-di-riservatezza)",
        "# Prove di riservatezza",
        "It protects.",
        "- Secrets.",
        "Protegge.",
        "- Segreti.",
        "the promise was tested and was not contradicted",
        "la garanzia è stata messa alla prova e non è stata smentita",
        f"{right} of {sound_audit.white_box.guesses} guesses were right",
        "the promise does not cover them. They are shown because the partner agreed",
        "la garanzia non le copre",
        "No real data were read",
        "| area | households, at least | with noise | without noise | difference |",
        "| a/b | 20 | 0.19 | 0.177 | +7 % |",
        "| a/b | 20 | 0,19 | 0,177 | +7 % |",
        "noise 1.9 times the clip norm",
        "rumore 1,9 volte la norma",
    ):
        assert said in page
    assert "{" not in page
    without = rendered(record(sound_audit))
    assert "Not shown here" in without
    assert "a/b" not in without


def test_a_partial_run_says_how_far_it_went(sound_audit):
    made = record(sound_audit)
    made["mechanism"] = made["mechanism"] | {"steps": 7}
    assert "after 7 of 12 steps; tested were all 12" in rendered(made)


def test_the_page_of_a_refuted_claim_says_so(sound_audit):
    found = record(sound_audit)
    found["audit"]["contradicts"] = True
    assert "the test CONTRADICTED the promise. The model must not be" in rendered(found)
    assert "la prova ha SMENTITO la garanzia" in rendered(found)
    found["audit"] |= {"contradicts": False, "could_contradict": False, "right_to_refute": None}
    assert "too weak to contradict it" in rendered(found)
    assert "troppo debole" in rendered(found)


def test_names_end_no_cell_and_are_no_markup(sound_audit):
    odd = GroupError("<b>x</b>|[y](z)\n", 20, 0.0, 0.0)
    page = rendered(record(sound_audit, replace(ERRORS, groups=(odd,), overall=odd)))
    assert "| (b)x(/b)/(y)(z)  | 20 | 0 | 0 | - |" in page
