"""Processes that search together share one study."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from models.contracts import FelsinaError
from pipelines.search import search
from pipelines.train import open_registered, settings_for
from tests.factories import Silent, make_dataset
from tests.fixtures.tiny import ROOT, SET_FLAGS, SETTINGS, command, environment
from training.settings import TrainSettings, resolve_settings


def test_a_search_goes_on_where_it_was(tmp_path: Path) -> None:
    dataset = open_registered(make_dataset(tmp_path / "tiny"))
    settings = settings_for(dataset, assignments=[*SETTINGS, "steps=4", "evaluate_every=2"])
    told: list[str] = []
    first = search(dataset, settings, tmp_path / "home", Silent(), 1, told.append)
    assert (first.trials, first.number) == (1, 0)
    both = search(dataset, settings, tmp_path / "home", Silent(), 2, told.append)
    assert both.trials == 2
    assert [re.split("[:,]", line)[0] for line in told] == ["trial 0", "trial 1"]
    assert both.loss <= first.loss
    again = search(dataset, settings, tmp_path / "home", Silent(), 2, told.append)
    assert again == both
    assert len(told) == 2
    assert not list((tmp_path / "home" / "work").iterdir())

    alone = search(dataset, settings, tmp_path / "other", Silent(), 2, told.append)
    assert alone.changes == both.changes  # the same seed draws the same, killed or not

    file = tmp_path / "best.toml"
    file.write_text(both.toml())
    best = resolve_settings(TrainSettings, settings.model_dump(), file)
    assert best.batch == both.changes["batch"]
    assert best.architecture.width == both.changes["width"]
    assert best.architecture.embedding == settings.architecture.embedding


def test_a_search_in_which_all_diverge_says_so(tmp_path: Path, monkeypatch) -> None:
    def diverged(*_: object) -> None:
        raise FelsinaError("training diverged")

    dataset = open_registered(make_dataset(tmp_path / "tiny"))
    monkeypatch.setattr("pipelines.search.fit", diverged)
    with pytest.raises(FelsinaError) as caught:
        search(dataset, settings_for(dataset), tmp_path / "home", Silent(), 2, lambda _: None)
    assert "all 2 trials" in str(caught.value)


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path: Path) -> None:
    folder, home = make_dataset(tmp_path / "tiny"), tmp_path / "home"
    quick = ("--set", "steps=4", "--set", "evaluate_every=2")
    words = command("train", "--dataset", str(folder), "--trials", "4", *SET_FLAGS, *quick)
    both = [
        subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment(home),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    numbers = [{int(n) for n in re.findall(r"trial (\d+):", err)} for _, err in answers]
    assert all(numbers)
    assert not numbers[0] & numbers[1]
    assert numbers[0] | numbers[1] >= set(range(4))
    assert len(numbers[0] | numbers[1]) <= 5
    assert len(list((home / "search").glob("*.log"))) == 1
    for out, _ in answers:
        assert set(tomllib.loads(out)) == {"batch", "learning_rate", "weight_decay", "architecture"}
