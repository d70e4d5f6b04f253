"""``felsina privacy``."""

import json
from pathlib import Path

import pytest

from models.contracts import FelsinaError
from pipelines import cli
from pipelines.commands.privacy import show_epsilon
from tests.factories import make_dataset

PRIVATE = """
unit = "household"
nominal_units = 4
sampling_rate = 0.5
delta = 0.01
steps = 4
noise_multiplier = 8.0
optimiser = "sgd"
[architecture]
width = 8
blocks = 1
embedding = 2
dropout = 0.0
inductive = true
graph = false
"""


def said(monkeypatch, capsys, *words: str, verb: str = "epsilon") -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["felsina", "privacy", verb, *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return (end.value.code or 0, *capsys.readouterr())


def run(rate: str, noise: str, steps: str) -> list[str]:
    return ["--sampling-rate", rate, "--noise-multiplier", noise, "--steps", steps]


def test_epsilon_in_json(monkeypatch, capsys):
    code, out, _ = said(monkeypatch, capsys, *run(".01", "1", "1000"), "--delta", "1e-5", "--json")
    assert code == 0
    answer = json.loads(out)
    assert list(answer) == ["pld", "prv", "rdp"]
    assert answer["pld"] == pytest.approx(1.828, rel=0.005)


def test_runs_add_up_and_a_sentence_says_what_it_means(monkeypatch, capsys):
    code, out, _ = said(monkeypatch, capsys, *run(".01", "1", "600"), *run(".01", "1", "400"))
    assert code == 0
    assert out.startswith("epsilon 1.828 at delta 1e-05: ")
    assert "at most 6.22 times as likely" in out
    assert "never for a window" in out


def test_what_is_wrong_is_one_line(monkeypatch, capsys):
    code, out, err = said(monkeypatch, capsys, *run(".01", "0", "1000"))
    assert (code, out) == (2, "")
    assert err == "felsina: noise multiplier 0.0 protects nobody; give one above 0\n"


def test_runs_are_given_whole():
    with pytest.raises(FelsinaError, match="2 sampling rates, 1 noise multipliers and 1 steps"):
        show_epsilon([0.1, 0.2], [1.0], [10], 1e-5, True)


@pytest.fixture
def rehearsal(tmp_path, monkeypatch) -> tuple[list[str], Path]:
    """Words of a small private rehearsal, and its settings' file."""
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path / "home"))
    folder, file = make_dataset(tmp_path / "tiny"), tmp_path / "private.toml"
    file.write_text(PRIVATE)
    words = ["--dataset", str(folder), "--partners", "3", "--rounds", "2", "--private", str(file)]
    return words, file


def test_a_private_rehearsal_shows_what_each_partner_spent(monkeypatch, capsys, rehearsal):
    words, _ = rehearsal
    code, out, _ = said(monkeypatch, capsys, *words, "--json", verb="federate")
    assert code == 0
    answer = json.loads(out)
    assert (answer["rounds"], answer["stopped"], answer["dropped"]) == (2, "", [])
    assert sum(one["contribution"] for one in answer["partners"]) == pytest.approx(1)
    for one in answer["partners"]:
        assert 0 < one["epsilon"] < 4
        assert one["gained"] == pytest.approx(1 - one["together"] / one["alone"])
    code, out, _ = said(monkeypatch, capsys, *words, verb="federate")  # goes on from what is kept
    assert code == 0
    assert "contribution" in out
    assert out.count(f"{answer['partners'][0]['epsilon']:.3f}") >= 3


def test_private_settings_that_do_not_fit_are_one_line(monkeypatch, capsys, rehearsal):
    words, file = rehearsal
    code, _, err = said(monkeypatch, capsys, *words, "--set", "steps=9", verb="federate")
    assert (code, err.count("\n")) == (2, 1)
    assert "holds all settings; leave --config and --set out" in err
    for text, wrong in (("unit = ", "private.toml: "), (PRIVATE + "\nx = 1", "architecture.x")):
        file.write_text(text)
        code, _, err = said(monkeypatch, capsys, *words, verb="federate")
        assert (code, err.count("\n")) == (2, 1)
        assert wrong in err
