"""The audit of a sealed release: that of the trained folder, the same to the byte, of its data."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest

from models.calendar import CALENDAR
from models.contracts import INPUTS, FelsinaError
from models.record import canonical_json
from pipelines.audit import audit_release, audit_trained, tell_apart
from pipelines.board import BOARD
from pipelines.commands import audit as command
from pipelines.present import find_release, served_now
from pipelines.release import point_at
from pipelines.replay import _whole_days, score_release
from pipelines.train import open_registered, open_trained
from serving.release import load_release
from serving.runtime import Runtime
from tests.fixtures.boards import seats, terms_of
from tests.fixtures.tiny import Tiny, reseal


@pytest.fixture
def halves(tiny: Tiny, monkeypatch):
    """The tiny dataset with a column that tells two halves apart."""
    monkeypatch.setattr("fairness.groups.LEAST_SENSORS", 2)
    dataset = open_registered(tiny.folder)
    dataset.graph.attributes["side"] = ("left", "left", "right", "right")
    return dataset


def numbers(record) -> list[float]:
    if isinstance(record, dict):
        return [n for value in record.values() for n in numbers(value)]
    if isinstance(record, list):
        return [n for value in record for n in numbers(value)]
    return [] if isinstance(record, str | None) else [float(record)]


def test_it_is_that_of_the_trained_folder_and_the_same_each_time(tiny: Tiny, halves):
    shares: list[float] = []
    found = audit_release(tiny.release, halves, progress=shares.append)
    trained = audit_trained(open_trained(tiny.trained, halves))
    assert len(numbers(found["groupings"])) > 100
    np.testing.assert_allclose(
        numbers(found["groupings"]), numbers(trained["groupings"]), rtol=1e-5, atol=1e-5
    )
    assert found["release"] == tiny.release.name
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert canonical_json(audit_release(tiny.release, halves)) == canonical_json(found)


def test_batches_are_whole_days_and_together_all_of_them():
    dates = np.repeat(np.arange("2024-01-01", "2024-01-31", dtype="datetime64[D]"), 24)[5:-3]
    parts = list(_whole_days(dates))
    assert np.array_equal(np.concatenate([np.arange(720)[part] for part in parts]), np.arange(712))
    for before, after in pairwise(parts):
        assert dates[before.stop - 1] != dates[after.start]


def test_other_data_than_the_release_was_tested_on_are_refused(tiny: Tiny, tmp_path):
    release = load_release(tiny.release)
    assert len(score_release(release, tiny.dataset).days) == 10
    folder = shutil.copytree(tiny.folder, tmp_path / "other")
    nodes = folder / "nodes.csv"
    nodes.write_text(nodes.read_text().replace("node a", "node A"))
    with pytest.raises(FelsinaError, match=r"nodes.csv: sha256 \w{12}, but tiny-") as error:
        audit_release(tiny.release, open_registered(folder))
    assert "\n" not in str(error.value)


def test_what_is_audited_is_no_feature_of_the_model(tiny: Tiny, halves):
    """A release reads windows and nothing else; of what they hold no name is an attribute's."""
    release = load_release(tiny.release)
    reads = {node.name for node in Runtime(release).session.get_inputs()}
    features = {*CALENDAR, *(forcing.name for forcing in release.spec.forcings)}
    _, found = tell_apart(halves, None)
    audited = {*halves.graph.attributes, *(grouping.attribute for grouping in found)}
    assert reads <= set(INPUTS)
    assert audited
    assert not audited & features
    halves.graph.attributes["temp_c"] = ("cold", "cold", "warm", "warm")
    with pytest.raises(FelsinaError, match="the forecaster reads temp_c, by which people"):
        tell_apart(halves, None)


def test_a_release_is_named_or_given_by_its_folder(tiny: Tiny):
    assert find_release(tiny.home, tiny.release.name) == tiny.release
    assert find_release(tiny.home, str(tiny.release)) == tiny.release
    with pytest.raises(FelsinaError, match="no release of this name in"):
        find_release(tiny.home, str(tiny.folder))


def test_what_is_served_is_what_the_board_promoted_last(tiny: Tiny, tmp_path):
    first = shutil.copytree(tiny.release, tmp_path / "releases" / tiny.release.name)
    newer = reseal(first, tmp_path, lambda manifest: manifest["training"].update(steps=999))
    point_at(tmp_path, newer)
    assert served_now(tmp_path, "tiny") == newer
    of, board = terms_of(tmp_path, first), seats(tmp_path / BOARD, "a", 1)
    assert served_now(tmp_path, "tiny") is None, "a board that has promoted nothing"
    board.promote(of, board.approve(of))
    assert served_now(tmp_path, "tiny") == first
    assert served_now(tmp_path, "tiny", first.name) is None
    later = terms_of(tmp_path, newer)
    board.promote(later, board.approve(later))
    assert served_now(tmp_path, "tiny") == newer
    said = (later.dataset, later.release, later.manifest_sha256)
    board.register("a").alarm(*said, "misses floods")
    assert served_now(tmp_path, "tiny") == first, "what is suspended is served no more"


def test_weeks_of_the_served_release_are_watched(tiny: Tiny, halves, monkeypatch, capsys):
    monkeypatch.setenv("FELSINA_HOME", str(tiny.home))
    monkeypatch.setattr(command, "open_registered", lambda folder: halves)
    command.watch_one(tiny.folder, None, None, json=True)
    found = json.loads(capsys.readouterr().out)
    assert (found["release"], found["weeks"], found["alarms"]) == (tiny.release.name, 1, 0)
    command.watch_one(tiny.folder, None, None, json=False)
    assert "1 weeks are fewer than 24: nothing is sure yet." in capsys.readouterr().out
