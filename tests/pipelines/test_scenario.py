"""The frame of scenarios: a domain that brings a runner, whole folders, one-line refusals."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from models.contracts import FelsinaError
from pipelines.commands import scenario
from pipelines.commands.scenario import run_one, search_one
from pipelines.domains.registry import Domain
from tests.fixtures.tiny import felsina


def count(found: dict[str, Any], base: Path, out: Path, progress: Any) -> dict[str, Any]:
    progress("count", 0.5)
    (out / "counted.txt").write_text((base / found["words"]).read_text())
    if found.get("fails"):
        raise FelsinaError("it failed half way")
    progress("count", 1.0)
    return {"total": 3, "tables": {"Words": [{"word": "what", "share_of_all": 0.25}]}}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scenario of a made-up domain."""
    words = Domain("words", "Words", scenario=count)
    monkeypatch.setattr(scenario, "domain_of", {"words": words, "mute": Domain("mute", "M")}.get)
    (tmp_path / "words.txt").write_text("what if")
    write(tmp_path, 'name = "first"\ndomain = "words"\nwords = "words.txt"\n')
    return tmp_path


def write(place: Path, text: str) -> Path:
    (place / "case.toml").write_text(text)
    return place / "case.toml"


def test_a_scenario_becomes_a_folder(place: Path, capsys) -> None:
    run_one(place / "case.toml", "physics", place / "out", json=False)
    report = json.loads((place / "out" / "report.json").read_text())
    assert (report["name"], report["engine"]) == ("first", "physics")
    assert report["total"] == 3
    assert (place / "out" / "counted.txt").read_text() == "what if"
    assert sorted(path.name for path in place.iterdir()) == ["case.toml", "out", "words.txt"]
    shown = capsys.readouterr()
    assert "share of all" in shown.out
    assert "count" in shown.err


def test_json_is_the_report(place: Path, capsys) -> None:
    run_one(place / "case.toml", "physics", place / "out", json=True)
    assert json.loads(capsys.readouterr().out)["total"] == 3


def test_what_fails_leaves_nothing(place: Path) -> None:
    file = write(place, 'name = "a"\ndomain = "words"\nwords = "words.txt"\nfails = true\n')
    with pytest.raises(FelsinaError, match="half way"):
        run_one(file, "physics", place / "out", json=False)
    assert sorted(path.name for path in place.iterdir()) == ["case.toml", "words.txt"]
    for name in ("runs/seed-1", "stale"):  # of a run that was killed
        (place / "out.partial" / name).mkdir(parents=True)
    with pytest.raises(FelsinaError, match="half way"):
        run_one(file, "physics", place / "out", json=False)
    assert (place / "out.partial" / "runs" / "seed-1").is_dir()
    write(place, 'name = "a"\ndomain = "words"\nwords = "words.txt"\n')
    run_one(file, "physics", place / "out", json=False)
    assert not (place / "out.partial").exists()
    names = {path.name for path in (place / "out").iterdir()}
    assert names == {"counted.txt", "report.json", "runs"}


def test_what_cannot_be_run_is_refused_in_one_line(place: Path) -> None:
    for text, said in (
        ('name = "a"', "domain is missing; give it a text"),
        ('domain = "words"', "name is missing"),
        ("name = ", "case.toml: no TOML: Invalid value"),
        ('name = "a"\ndomain = "mute"', "'mute' has no simulator"),
    ):
        with pytest.raises(FelsinaError, match=said) as caught:
            run_one(write(place, text), "physics", place / "out", json=False)
        assert "\n" not in str(caught.value)
    with pytest.raises(FelsinaError, match="No such file"):
        run_one(place / "none.toml", "physics", place / "out", json=False)
    with pytest.raises(FelsinaError, match="engine 'guess' is unknown; use physics"):
        run_one(place / "case.toml", "guess", place / "out", json=False)
    (place / "out").mkdir()
    file = write(place, 'name = "a"\ndomain = "words"')
    with pytest.raises(FelsinaError, match="out exists; name a folder that does not"):
        run_one(file, "physics", place / "out", json=False)


def test_an_unknown_domain_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, 'name = "a"\ndomain = "odd"')
    with pytest.raises(FelsinaError, match="domain 'odd' is not registered"):
        run_one(file, "physics", tmp_path / "out", json=False)


def test_the_command_line_says_it_in_one_line(tmp_path: Path) -> None:
    file = write(tmp_path, 'name = "a"\ndomain = "odd"')
    done = felsina(tmp_path, "scenario", "run", str(file), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("felsina: domain 'odd' is not registered; use one of")
    assert done.stdout == ""


def test_a_surrogate_answers_and_searches_by_name(place: Path, monkeypatch, tmp_path) -> None:
    """The frame hands over the domain's surrogates: the champion, the one named, or none."""
    given: list[list[str]] = []

    def answered(found, base, out, progress, surrogates) -> dict[str, Any]:
        given.append([one.id for one in surrogates])
        return {"tables": {}}

    words = Domain("words", "Words", scenario=count, answer=answered, search=answered)
    monkeypatch.setattr(scenario, "domain_of", {"words": words}.get)
    kinds = {"w-1": "words", "w-2": "words", "t-1": "trees"}

    def load(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(id=folder.name, spec=SimpleNamespace(domain=kinds[folder.name]))

    served = {"w": place / "releases" / "w-2", "t": place / "releases" / "t-1"}
    monkeypatch.setattr(scenario, "champions", lambda place, surrogates: served)
    monkeypatch.setattr(scenario, "load_surrogate", load)
    file = place / "case.toml"
    run_one(file, "surrogate", place / "a", json=True)
    run_one(file, "surrogate", place / "b", json=True, release="w-1")
    search_one(file, "surrogate", place / "c", json=True, release="w")
    search_one(file, "physics", place / "d", json=True, release="")
    assert given == [["w-2"], ["w-1"], ["w-2"], []]
    with pytest.raises(FelsinaError, match="no surrogate of domain 'words' is released"):
        run_one(file, "surrogate", place / "e", json=True, release="t")
    with pytest.raises(FelsinaError, match="engine 'magic' is unknown; use physics or surrogate"):
        search_one(file, "magic", place / "e", json=True, release="")
