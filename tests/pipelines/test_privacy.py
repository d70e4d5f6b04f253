"""``felsina privacy``."""

import json

import pytest

from models.contracts import FelsinaError
from pipelines import cli
from pipelines.commands.privacy import show_epsilon


def said(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["felsina", "privacy", "epsilon", *words])
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
