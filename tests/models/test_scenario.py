import json
from dataclasses import replace

import numpy as np
import pytest

from models.contracts import FelsinaError
from models.scenario import Input, ScenarioSpec
from tests.fixtures.greenhouse import SPEC


def test_a_spec_comes_back_from_its_json():
    assert ScenarioSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    assert ScenarioSpec.from_dict(SPEC.to_dict()) == SPEC


def test_all_places_are_answered_unless_it_is_said():
    assert replace(SPEC, answered=()).answered == SPEC.places
    assert SPEC.answered == (*SPEC.places, "house")
    assert SPEC.median == 3


def test_what_was_trained_on_is_inside():
    scalars = np.array([[0.1, 0.0], [0.9, 8.0], [0.5, 3.0]], np.float32)
    fields = np.array([0.0, 600.0, 300.0])[:, None, None] * np.ones((3, 3, 1))
    assert SPEC.outside(scalars, fields) == []
    assert SPEC.outside(scalars.astype(float) + 1e-9, fields) == []


def test_what_lies_outside_is_named_in_the_scenarios_order():
    scalars = np.array([[0.5, 3.0], [0.5, 9.0], [np.nan, 3.0]])
    fields = np.full((3, 3, 1), 100.0)
    fields[0, 2] = -1
    first, second, third = SPEC.outside(scalars, fields)
    assert str(first) == "sun_w_m2 at south is -1, trained on 0 to 600"
    assert str(second) == "wind_m_s is 9, trained on 0 to 8"
    assert (third.scenario, third.input, third.place) == (2, "glass_share", "")


def test_every_place_outside_is_found():
    found = SPEC.outside(np.array([[0.5, 3.0]]), np.full((1, 3, 1), 700.0))
    assert [one.place for one in found] == list(SPEC.places)


SUN, GLASS = SPEC.fields[0], SPEC.scalars[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"places": ("north", "north", "south")}, "two places have one name"),
        ({"answered": ("house", "house")}, "two answered places have one name"),
        ({"outputs": SPEC.outputs * 2}, "two outputs have one name"),
        ({"scalars": (replace(GLASS, name="sun_w_m2"),)}, "two inputs have one name"),
        ({"fields": (replace(SUN, default=(1.0, 2.0)),)}, "sun_w_m2: 2 defaults for 3 places"),
        ({"quantiles": (0.1, 0.5, 0.8, 0.9)}, "must be symmetric"),
        ({"quantiles": (0.25, 0.5, 0.75)}, "with 0.1 and 0.9"),
        ({"quantiles": (0.1, 0.9, 0.5, 0.1, 0.9)}, "must rise"),
        ({"presets": {"June": [[1.0], [2.0]]}}, "preset June is no table of 3 places by 1 fields"),
        ({"presets": {"June": [[1.0], [2.0], [np.nan]]}}, "preset June"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes, said):
    with pytest.raises(FelsinaError, match=said) as caught:
        replace(SPEC, **changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("low", "high"), [(2, 1), (np.nan, 1), (0, np.nan)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(FelsinaError, match=r"input x: low .* is not below high"):
        Input("x", "", low, high, "")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda r: r.pop("scalars"),
        lambda r: r.update(surprise=1),
        lambda r: r["outputs"].append({"name": "x"}),
        lambda r: r["fields"][0].pop("default"),
        lambda r: r.update(quantiles=None),
        lambda r: r.update(presets={"June": [[1.0], [2.0, 3.0]]}),
    ],
)
def test_what_is_no_spec_is_refused(spoil):
    record = json.loads(json.dumps(SPEC.to_dict()))
    spoil(record)
    with pytest.raises(FelsinaError, match="no scenario spec"):
        ScenarioSpec.from_dict(record)


@pytest.mark.parametrize("record", [None, [], "beds", 7, {}])
def test_other_json_is_no_spec(record):
    with pytest.raises(FelsinaError, match="no scenario spec"):
        ScenarioSpec.from_dict(record)
