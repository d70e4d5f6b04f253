"""The promotion gate on sealed releases: beside what, on which days, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import FelsinaError
from models.record import sha256_file
from pipelines.board import demo_board, demo_decide, docket, promote, proposed, read_board, sign
from pipelines.chain import Values
from pipelines.gate import Replays, gate_of
from pipelines.release import point_at
from pipelines.replay import score_naive
from pipelines.stages import champion_of
from serving.release import MANIFEST, Release, load_release
from tests.fixtures.boards import FAR, report, seats, terms_of
from tests.fixtures.tiny import Tiny, reseal

Change = Callable[[dict[str, Any]], None]
FAILS = {
    "against": "tiny-0123456789ab",
    "state": "fail",
    "rules": [
        {"rule": "skill", "verdict": "fail", "value": -0.02, "low": -0.03, "high": -0.01},
        {"rule": "latency", "verdict": "pass", "limit": 0.1},
    ],
}


@pytest.fixture(scope="module")
def replays(tiny: Tiny) -> Replays:
    return Replays(tiny.dataset)


def other(tiny: Tiny, place: Path, change: Change) -> Release:
    return load_release(reseal(tiny.release, place, change))


def by_rule(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["rule"]: one for one in record["rules"]}


def test_the_first_release_stands_beside_the_best_naive_forecast(tiny: Tiny, replays: Replays):
    gate = gate_of(load_release(tiny.release), None, None, replays)
    metrics = load_release(tiny.release).manifest["metrics"]
    naive = gate.record["against"]
    assert metrics[naive]["mae"] == min(
        metrics[name]["mae"] for name in metrics if name.startswith(("persist", "seasonal"))
    )
    found = by_rule(gate.record)
    expected = metrics[naive]["mae"] - metrics["felsina"]["mae"]
    assert np.sign(found["skill"]["value"]) == np.sign(expected)
    assert (gate.record["champion"], gate.changed, gate.share) == (False, None, None)
    assert found["signature"] == {"rule": "signature", "verdict": "none", "why": "first"}
    assert found["latency"]["verdict"] == "pass"
    assert 0 < gate.latency_s < 0.1


def test_a_naive_forecast_scores_as_in_the_backtest(tiny: Tiny):
    metrics = load_release(tiny.release).manifest["metrics"]
    for name in ("persistence", "seasonal_naive_day", "seasonal_naive_week"):
        sums = score_naive(name, tiny.dataset, tiny.spec).daily.sum(axis=(0, 1, 2))
        assert sums[1] / sums[0] == pytest.approx(metrics[name]["mae"], rel=1e-4)


def test_a_champion_of_older_data_is_replayed_on_the_same_days(
    tiny: Tiny, replays: Replays, tmp_path: Path
):
    def older(manifest: dict[str, Any]) -> None:
        manifest["data"]["digests"]["series.parquet"] = "0" * 64
        manifest["data"]["validation_end"] = "2024-04-01T00:00:00Z"

    champion = other(tiny, tmp_path, older)
    gate = gate_of(load_release(tiny.release), champion, None, replays)
    assert (gate.record["against"], gate.record["champion"]) == (champion.id, True)
    assert (gate.share, by_rule(gate.record)["skill"]["value"]) == (0.0, 0.0)
    assert {one["changed"] for one in gate.changed or []} <= {0.0}
    assert by_rule(gate.record)["signature"]["verdict"] == "pass"


def later(manifest: dict[str, Any]) -> None:
    manifest["data"]["validation_end"] = "2024-04-06T00:00:00Z"


def longer(manifest: dict[str, Any]) -> None:
    manifest["spec"]["unit"] = "veh"


@pytest.mark.parametrize(
    ("change", "why", "signature"), [(later, "seen", "pass"), (longer, "signature", "fail")]
)
def test_an_unfair_champion_gives_way_to_the_naive_forecast(
    tiny: Tiny, replays: Replays, tmp_path: Path, change: Change, why: str, signature: str
):
    gate = gate_of(load_release(tiny.release), other(tiny, tmp_path, change), None, replays)
    assert (gate.record["instead"], gate.record["champion"]) == (why, False)
    assert "tiny-" not in gate.record["against"]
    assert by_rule(gate.record)["signature"]["verdict"] == signature


def test_replays_outlive_the_process_and_are_of_one_release_and_data(
    tiny: Tiny, replays: Replays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    release = load_release(tiny.release)
    first = Replays(tiny.dataset, tmp_path).of(release)
    monkeypatch.setattr("pipelines.gate.score_runtime", None)
    again = Replays(tiny.dataset, tmp_path).of(release)
    np.testing.assert_array_equal(first.daily, again.daily)
    np.testing.assert_array_equal(first.daily, replays.of(release).daily)
    np.testing.assert_array_equal(first.days, again.days)
    np.testing.assert_array_equal(first.origins, again.origins)
    with pytest.raises(TypeError):
        Replays(tiny.dataset, tmp_path).of(other(tiny, tmp_path, later))


def test_the_champion_is_what_is_served_and_stays_what_was_replaced(tiny: Tiny, tmp_path: Path):
    old = other(tiny, tmp_path, later)
    new = other(tiny, tmp_path, lambda manifest: manifest["training"].update(steps=999))
    nothing: Values = {}
    point_at(tmp_path, old.folder)
    assert champion_of(tmp_path, "tiny", new.id, nothing) == old.id
    assert champion_of(tmp_path, "tiny", None, nothing) == old.id
    assert champion_of(tmp_path, "tiny", old.id, nothing) is None
    point_at(tmp_path, new.folder)
    assert champion_of(tmp_path, "tiny", new.id, {"release": new.id, "champion": old.id}) == old.id
    board = seats(tmp_path / "board", "a", 1)
    assert champion_of(tmp_path, "tiny", new.id, nothing) is None, "a board promoted nothing"
    for release in (old, new):
        of = terms_of(tmp_path, release.folder)
        board.promote(of, board.approve(of))
    assert champion_of(tmp_path, "tiny", new.id, nothing) == old.id
    assert champion_of(tmp_path, "tiny", "tiny-0123456789ab", nothing) == new.id


def test_what_the_gate_holds_back_is_promoted_only_by_its_name(tiny: Tiny, tmp_path: Path):
    release = other(tiny, tmp_path, later)
    board = seats(tmp_path / "board", "a", 1)
    report(tmp_path, release.folder, gate=FAILS)
    assert proposed(tmp_path, read_board(tmp_path / "board")) == [release.id]
    found = docket(tmp_path, release.id)
    assert found.held_back == ["skill"]
    silent, said = (
        found.terms("approve", conditions, FAR)
        for conditions in (("by day",), ("Despite skill: the winter was short.",))
    )
    with pytest.raises(
        FelsinaError, match=r"does not let tiny-\w+ pass: skill; .*despite skill: WHY"
    ):
        sign(tmp_path / "board", board.keys["a"], found, silent)
    board.approve(silent)  # by a program of a member's own
    with pytest.raises(FelsinaError, match=r"despite skill: WHY"):
        promote(tmp_path / "board", board.keys["op"], found)
    sign(tmp_path / "board", board.keys["a"], found, said)
    promote(tmp_path / "board", board.keys["op"], found)
    after = read_board(tmp_path / "board")
    assert [one.release for one in after.promoted("tiny")] == [release.id]
    assert proposed(tmp_path, after) == []
    sign(tmp_path / "board", board.keys["a"], found, found.terms("reject"))


def test_a_demo_board_says_that_it_passes_over_the_gate(tiny: Tiny, tmp_path: Path):
    release = other(tiny, tmp_path, later)
    report(tmp_path, release.folder, gate=FAILS)
    folder = demo_board(tmp_path).parent
    demo_decide(tmp_path, [release.id])
    (decided,) = read_board(folder).decided
    assert decided.terms.conditions == ("despite skill: a demonstration",)
    assert sha256_file(release.folder / MANIFEST) == decided.terms.manifest_sha256
