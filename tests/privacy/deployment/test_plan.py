from datetime import date

import numpy as np
import pytest
from pydantic import ValidationError

from models.contracts import FelsinaError
from models.record import canonical_json
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.deployment.plan import Plan, Policy, narrowed, own_settings, read_policy
from tests.factories import make_dataset
from tests.privacy.deployment.conftest import PRIVATE, make_plan, make_terms
from training.dataset import open_dataset


@pytest.fixture(scope="module")
def plan(parts):
    return make_plan(parts[0].spec.with_lags((24, 168)).to_dict())


def test_a_plan_says_whom_it_protects_or_why_nobody(parts):
    spec = parts[0].spec.to_dict()
    with pytest.raises(ValidationError, match="one of them"):
        Plan(federation="demo", spec=spec)
    with pytest.raises(ValidationError, match="reason"):
        Plan(federation="demo", spec=spec, private=PRIVATE, reason="no need")
    with pytest.raises(ValidationError, match="fewer than rounds"):
        Plan(federation="demo", spec=spec, private=PRIVATE, rounds={"rounds": 7})
    with pytest.raises(FelsinaError, match="fewer than 3 partners"):
        Plan(federation="demo", spec=spec, private=PRIVATE, rounds={"rounds": 2, "least": 2})
    with pytest.raises(FelsinaError, match="window protects nobody"):
        Plan(federation="demo", spec=spec, private=PRIVATE | {"unit": "window"})


def test_what_is_signed_of_the_rounds_keeps_its_bytes(plan):
    signed = (
        b'{"attempts":3,"deadline_s":600.0,"least":3,"most_norm":null,"most_share":0.5,'
        b'"rounds":3,"rule":"mean","server_rate":null,"trim":0.2}'
    )
    assert canonical_json(plan.model_dump(mode="json")["rounds"]) == signed


def test_the_first_model_is_the_same_for_city_and_partners(plan, parts):
    own = plan.initial(parts[0].graph)
    for part in parts[1:]:
        other = plan.initial(part.graph)
        assert all(np.array_equal(own[name], other[name]) for name in own)


def test_a_dataset_of_another_task_is_refused_with_the_member_that_differs(plan, parts, tmp_path):
    for part in parts:
        plan.check(part)
    other = open_dataset(make_dataset(tmp_path / "other", horizon=12))
    with pytest.raises(FelsinaError, match=r"other: horizon is 12, federation demo has 6"):
        plan.check(other)


def planned_noise(terms, plan) -> float:
    own = own_settings(terms, plan)
    assert own is not None
    assert own.noise_multiplier is not None
    return own.noise_multiplier


def test_a_partners_policy_can_only_be_stricter(plan):
    terms = make_terms()
    noise = planned_noise(terms, plan)
    strict = Policy(
        epsilon=1.5, noise_multiplier=2 * noise, sampling_rate=0.25, until=date(2030, 1, 1)
    )
    kept, settings = narrowed(terms, plan, strict)
    assert settings is not None
    assert (kept.epsilon, kept.until) == (1.5, date(2030, 1, 1))
    assert (settings.noise_multiplier, settings.sampling_rate) == (2 * noise, 0.25)
    assert settings.epsilon == 1.5
    for name, value in (
        ("epsilon", 4.1),
        ("noise_multiplier", 0.9 * noise),
        ("sampling_rate", 0.6),
        ("until", date(2100, 1, 1)),
    ):
        with pytest.raises(FelsinaError, match=rf"policy: {name} = .* looser .* be stricter"):
            narrowed(terms, plan, Policy(**{name: value}))


def test_a_smaller_epsilon_alone_takes_the_noise_that_it_needs(plan):
    terms = make_terms()
    noise = planned_noise(terms, plan)
    kept, settings = narrowed(terms, plan, Policy(epsilon=0.5))
    assert settings is not None
    assert kept.epsilon == settings.epsilon == 0.5
    assert settings.noise_multiplier is not None
    assert settings.noise_multiplier > noise
    whole = SampledGaussian(settings.sampling_rate, settings.noise_multiplier, settings.steps)
    assert 0.49 < epsilon_of([whole], terms.delta).pld <= 0.5
    loose, rarer = Policy(epsilon=3.0), Policy(epsilon=1.9, sampling_rate=0.1)
    for policy in (loose, rarer):  # what the city's noise keeps to anyway takes no less of it
        settings = narrowed(terms, plan, policy)[1]
        assert settings is not None
        assert settings.noise_multiplier == noise
    with pytest.raises(FelsinaError, match=r"spend epsilon .* leave noise_multiplier out"):
        narrowed(terms, plan, Policy(epsilon=0.5, noise_multiplier=noise))


def test_noise_is_what_a_partners_own_number_of_units_needs(plan):
    for units, delta in ((4, 1e-3), (4000, 2.5e-5)):
        own = own_settings(make_terms(units=units, delta=delta), plan)
        assert own is not None
        assert own.nominal_units == units
        assert own.noise_multiplier is not None
        whole = SampledGaussian(0.5, own.noise_multiplier, own.steps)
        assert epsilon_of([whole], delta).pld == pytest.approx(2.0, rel=1e-2)
    with pytest.raises(FelsinaError, match="protect unit meter"):
        own_settings(make_terms(unit="meter"), plan)


def test_a_plan_for_nobodys_rows_has_nothing_to_limit(parts):
    plan = make_plan(parts[0].spec.to_dict(), private=False)
    terms = make_terms(epsilon=0.0)
    assert narrowed(terms, plan, Policy())[1] is None
    with pytest.raises(FelsinaError, match="this plan has none"):
        narrowed(terms, plan, Policy(noise_multiplier=3.0))


def test_a_policys_faults_are_named_with_its_file(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text("epsilon = -1\n")
    with pytest.raises(FelsinaError, match=r"own\.toml: epsilon = -1: .*greater than 0"):
        read_policy(path)
    path.write_text("epsilom = 1\n")
    with pytest.raises(FelsinaError, match=r"own\.toml: epsilom = 1: "):
        read_policy(path)
    path.write_text("epsilon = \n")
    with pytest.raises(FelsinaError, match="no TOML"):
        read_policy(path)
