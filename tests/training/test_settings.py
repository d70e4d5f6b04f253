"""Settings: what wins, how texts are read, and one line for what does not fit."""

import pytest
from pydantic import ValidationError

from models.contracts import FelsinaError
from models.toml_file import merge
from tests.factories import make_spec
from training.settings import TrainSettings, generic_settings, resolve_settings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text("steps = 111\nbatch = 11\nseed = 1\n[architecture]\nwidth = 24\nblocks = 2\n")
    return path


def test_later_ones_win(file):
    defaults = {"steps": 1, "batch": 1, "patience": 9, "architecture": {"width": 8, "dropout": 0.3}}
    changes = {"batch": 22, "seed": 2}
    settings = resolve_settings(
        TrainSettings, defaults, file, changes, ["seed=3", "architecture.blocks=5"]
    )
    assert settings.patience == 9  # defaults
    assert settings.steps == 111  # the file
    assert settings.batch == 22  # other flags
    assert settings.seed == 3  # --set
    shape = settings.architecture
    assert (shape.width, shape.blocks, shape.dropout) == (24, 5, 0.3)
    assert settings.learning_rate == TrainSettings().learning_rate


def test_nothing_given_is_the_defaults_in_code():
    assert resolve_settings(TrainSettings, {}) == TrainSettings()


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("steps=500", ("steps",), 500),
        ("learning_rate=1e-3", ("learning_rate",), 1e-3),
        ("lags=[24, 168]", ("lags",), (24, 168)),
        ("node_loss=equal", ("node_loss",), "equal"),
        ('node_loss="equal"', ("node_loss",), "equal"),
        ("architecture.graph=false", ("architecture", "graph"), False),
        (" architecture.anchor =last", ("architecture", "anchor"), "last"),
    ],
)
def test_assignments_are_read_as_toml_or_as_text(text, path, value):
    found = resolve_settings(TrainSettings, {}, assignments=[text])
    for name in path:
        found = getattr(found, name)
    assert found == value


def test_of_two_assignments_the_later_wins():
    assert resolve_settings(TrainSettings, {}, assignments=["steps=5", "steps=6"]).steps == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stepz=5", ["stepz", "steps", "batch"]),
        ("architecture.depth=5", ["architecture.depth"]),
        ("steps", ["'steps'", "key=value", "steps=500"]),
        ("steps=0", ["steps", "0", "greater"]),
        ("steps=many", ["steps", "'many'"]),
        ("dropout=0.1", ["dropout"]),
        ("architecture.dropout=1.0", ["architecture.dropout", "1.0"]),
        ("architecture=5", ["architecture", "5"]),
        ("steps.more=5", ["steps"]),
        ("=5", ["5"]),
        ("node_loss=some\nthing", ["node_loss"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(text, words):
    with pytest.raises(FelsinaError) as caught:
        resolve_settings(TrainSettings, {}, assignments=[text])
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_file_is_refused_by_its_name(tmp_path):
    broken, binary = tmp_path / "broken.toml", tmp_path / "binary.toml"
    broken.write_text("steps 5")
    binary.write_bytes(b"steps = '\xff'")
    for path in (tmp_path / "absent.toml", broken, binary, tmp_path):
        with pytest.raises(FelsinaError) as caught:
            resolve_settings(TrainSettings, {}, path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_merge_joins_tables_and_replaces_values():
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2]}
    kept = {"a": {"x": 1, "y": {"z": 2}}, "b": [1, 2]}
    assert merge(base, {"a": {"y": {"w": 3}}, "b": [9]}) == {
        "a": {"x": 1, "y": {"z": 2, "w": 3}},
        "b": [9],
    }
    assert base == kept


def test_settings_are_frozen_and_survive_json():
    settings = resolve_settings(TrainSettings, {"lags": (24,), "architecture": {"width": 16}})
    with pytest.raises(ValidationError):
        settings.steps = 3
    assert TrainSettings(**settings.model_dump(mode="json")) == settings
    assert TrainSettings.model_validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize(
    ("days", "lags", "weekly", "annual"),
    [(1, (), False, False), (14, (24,), False, False), (21, (24, 168), True, False)],
)
def test_lags_and_terms_are_those_that_the_span_can_teach(days, lags, weekly, annual):
    generic = generic_settings(make_spec(), days * 24)
    assert generic["lags"] == lags
    assert generic["architecture"] == {"weekly": weekly, "annual": annual}


def test_two_years_teach_the_year():
    generic = generic_settings(make_spec(), 730 * 24)
    assert generic["lags"] == tuple(24 * d for d in (1, 7, 14, 21, 364))
    assert generic["architecture"]["annual"]
    assert resolve_settings(TrainSettings, generic).lags == generic["lags"]


def test_lags_shorter_than_half_the_horizon_are_left_out():
    generic = generic_settings(make_spec(step="1D", horizon=5), 800)
    assert generic["lags"] == (7, 14, 21, 364)
