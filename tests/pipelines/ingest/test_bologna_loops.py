"""Bologna's loops as their portal exports them: wide rows, two datasets a year, faults included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from models.record import sha256_file
from pipelines.domains.registry import source_of
from pipelines.ingest.run import Ingested, ingest, plan
from tests.fixtures.portal import Answer, Portal, serving
from tests.fixtures.tiny import ROOT
from training.dataset import open_dataset

CODES = ("0.127 2.10 10 1", "3.21 3.24 4 1", "4.48 4.3 6 1")
SINCE, UNTIL = "2024-02-10", "2024-04-20"
FLOWS, ACCURACY = "rilevazione-flusso-veicoli-tramite-spire-anno-", "accuratezza-spire-anno-"


class City:
    """A portal with three loops, one code of which means two loops."""

    def __init__(self) -> None:
        self.known_to = date(2024, 4, 20)
        self.changed: dict[tuple[str, str, int], str] = {}
        self.accurate = True
        self.first_hour = "00:00-01:00"
        self.corrupt = ("", "")

    def count(self, code: str, own: str, day: date, hour: int) -> int:
        return (CODES.index(code) * 400 + day.toordinal() * 7 + hour * 13 + len(own)) % 900

    def percent(self, code: str, day: date, hour: int) -> str:
        n = (CODES.index(code) + day.toordinal() * 3 + hour) % 40
        return {0: "0%", 1: "94%", 2: "-1%"}.get(n, "100%")

    def route(self, path: str, query: dict[str, str]) -> Answer | bytes | None:
        if path.endswith("/records"):
            over = int(query.get("offset", 0)) + int(query.get("limit", 10)) > 10_000
            return Answer(b'{"error_code":"InvalidRESTParameterError"}', 400 if over else 200)
        dataset = path.split("/")[-3]
        if dataset not in (f"{FLOWS}2024", f"{ACCURACY}2024"):
            return None
        rated = dataset.startswith(ACCURACY)
        if rated and not self.accurate:
            return None
        assert path.startswith("/api/explore/v2.1/catalog/datasets/")
        assert path.endswith("/exports/csv")
        first, after = (date.fromisoformat(d) for d in query["where"].split("'")[1::2])
        text = self.table(rated, first, min(after, self.known_to))
        return text.replace(*self.corrupt).encode() if self.corrupt[0] else text.encode()

    def table(self, rated: bool, first: date, after: date) -> str:
        hours = [f"{h:02}:00-{h + 1:02}:00" for h in range(24)]
        names = ["data", "codice spira", self.first_hour, *hours[1:]]
        names += ["id_uni", "Nome via", "direzione", "longitudine", "latitudine", "geopoint"]
        if rated:
            names = ["data_2", "codice_spira_2", *(f"{h:02}_00_{h + 1:02}" for h in range(24))]
        lines = [";".join(names)]
        for n in range((after - first).days):
            day = first + timedelta(days=n)
            for code in CODES:
                if rated:
                    shares = [self.percent(code, day, h) for h in range(24)]
                    lines.append(";".join([str(day), code, *shares]))
                    continue
                for own in ("962", "79") if code == CODES[2] else ("450",):
                    counts = [
                        self.changed.get((code, str(day), h), str(self.count(code, own, day, h)))
                        for h in range(24)
                    ]
                    place = f'VIA {own};N;1.134.620.678;4.450.821;"44.50{own}, 11.34{own}"'
                    lines.append(";".join([str(day), code, *counts, own, place]))
        return "\n".join(lines) + "\n"


@pytest.fixture
def city() -> City:
    return City()


@pytest.fixture
def portal(city: City) -> Iterator[Portal]:
    with serving(city.route) as found:
        yield found


def bring(portal: Portal, folder: Path, since: str | None = SINCE, **more: Any) -> Ingested:
    changes = {"host": portal.url, "pause_s": 0.0} | more
    until = UNTIL if since else "2024-05-01"
    return ingest(source_of("bologna-loops"), folder, since, until, changes, sleep=lambda s: None)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: sha256_file(p) for p in folder.iterdir() if p.is_file()}


def test_a_season_of_loops(city, portal, tmp_path) -> None:
    done = bring(portal, tmp_path / "loops")
    assert (done.fetched, done.unchanged, done.absent) == (6, 0, ())
    dataset = open_dataset(tmp_path / "loops")
    nodes = (CODES[0], CODES[1], f"{CODES[2]}/79", f"{CODES[2]}/962")
    assert dataset.graph.ids == nodes
    assert dataset.header["name"] == "loops"
    assert dataset.attribution == "Comune di Bologna, Open Data"
    assert dataset.graph.lon[0] == 11.34450
    assert dataset.graph.lat[3] == 44.50962
    assert len(dataset.graph.source) == 12
    times = pd.DatetimeIndex(dataset.builder().times(np.arange(len(dataset.values))))
    civil = times.tz_localize("UTC").tz_convert("Europe/Rome")
    expected = np.full(dataset.values.shape, np.nan, np.float32)
    for row, stamp in enumerate(civil):
        for column, node in enumerate(nodes):
            code, _, own = node.partition("/")
            if city.percent(code, stamp.date(), stamp.hour) == "100%":
                expected[row, column] = city.count(code, own or "450", stamp.date(), stamp.hour)
    assert np.array_equal(dataset.values, expected, equal_nan=True)
    gone = date(2024, 3, 31), 2  # the hour that the clock skips is in the file
    kept = [city.percent(node.partition("/")[0], *gone) == "100%" for node in nodes]
    gated = np.isnan(expected).sum() + kept.count(False)
    assert list(done.notes) == [
        f"{gated} values left out: less than 95 % of their hour",
        f"{kept.count(True)} values left out: hours that the clock skips or repeats",
    ]


def test_a_lower_bar_keeps_more(portal, tmp_path) -> None:
    bring(portal, tmp_path / "loops")
    strict = np.isnan(open_dataset(tmp_path / "loops").values).sum()
    done = bring(portal, tmp_path / "loops", accuracy=90)
    assert (done.fetched, done.unchanged) == (0, 6)
    assert done.changes.added > 0
    assert np.isnan(open_dataset(tmp_path / "loops").values).sum() < strict


def test_years_without_accuracies_are_kept_and_said(city, portal, tmp_path) -> None:
    city.accurate = False
    done = bring(portal, tmp_path / "loops")
    assert done.absent == ("2024-02-accuracy", "2024-03-accuracy", "2024-04-accuracy")
    assert done.notes[1] == (
        "no accuracy is published for 2024-02, 2024-03, 2024-04: all values kept"
    )
    assert not np.isnan(open_dataset(tmp_path / "loops").values).any()


def test_twice_is_once_and_later_days_and_revisions_come_in(city, portal, tmp_path) -> None:
    folder = tmp_path / "loops"
    city.known_to = date(2024, 4, 10)
    bring(portal, folder)
    before = digests(folder)
    done = bring(portal, folder)
    assert (done.fetched, done.unchanged) == (0, 6)
    assert (done.changes.added, done.changes.revised, done.changes.written) == (0, 0, ())
    assert digests(folder) == before
    assert portal.statuses[304] == 6

    city.known_to = date(2024, 4, 12)
    city.changed = {(CODES[0], "2024-04-05", h): "7" for h in (8, 9)}
    city.changed[CODES[1], "2024-03-05", 8] = ""
    assert [p.how for p in plan(source_of("bologna-loops"), folder, until="2024-05-01")] == [
        "if changed"
    ] * 4
    portal.asked.clear()
    done = bring(portal, folder, since=None)
    assert len(portal.asked) == 4  # from the month before the last one on, with accuracies
    changes = done.changes
    assert changes.revised == 2
    assert changes.withdrawn == 1
    assert 150 < changes.added <= 192
    whole = tmp_path / "whole"
    bring(portal, whole / "loops")
    same = {"nodes.csv", "edges.csv", "series.parquet"}  # the owner's splits stay
    assert {n for n, d in digests(whole / "loops").items() if d == digests(folder)[n]} == same


def test_raw_files_are_kept_with_what_is_known_of_them(city, portal, tmp_path) -> None:
    bring(portal, tmp_path / "loops")
    city.changed = {(CODES[0], "2024-04-05", 8): "7"}
    bring(portal, tmp_path / "loops")
    raw = tmp_path / "loops" / "raw"
    lines = [json.loads(line) for line in (raw / "manifest.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines][-2:] == ["2024-04-accuracy", "2024-04"]
    for line in lines:
        assert sha256_file(raw / line["file"]) == line["sha256"]
        assert (line["licence"], line["etag"][0]) == ("CC BY 4.0", '"')
        assert line["url"].startswith(portal.url)
    assert len({line["file"] for line in lines}) == 7


@pytest.mark.parametrize(
    ("corrupt", "said"),
    [
        (("2024-02-11;0.127", "2024-02-11;\n0.127"), "no table with ';' between columns"),
        (("VIA 450;", "VIA; 450;"), "no table with ';' between columns"),
        (("2024-02-11;3.21", "11/02/2024;3.21"), "line 43, data: '11/02/2024' is no day"),
        (("44.50450, 11", "44.504.50, 11"), "geopoint: '44.504.50, 11.34450' is no place"),
    ],
)
def test_bad_rows_are_told_and_leave_the_folder_as_it_was(
    city, portal, tmp_path, corrupt, said
) -> None:
    city.corrupt = corrupt
    with pytest.raises(FelsinaError, match=said):
        bring(portal, tmp_path / "loops")
    assert [p.name for p in (tmp_path / "loops").iterdir()] == ["raw"]
    city.corrupt = ("", "")
    bring(portal, tmp_path / "loops")
    assert (tmp_path / "loops" / "series.parquet").exists()


def test_counts_below_zero_are_gaps(city, portal, tmp_path) -> None:
    city.changed = {(CODES[0], "2024-02-03", 8): "-1"}
    assert "1 values left out: below 0" in bring(portal, tmp_path / "loops").notes


def test_thousands_and_new_names_are_refused(city, portal, tmp_path) -> None:
    city.changed = {(CODES[0], "2024-02-03", 8): "1.234"}
    with pytest.raises(FelsinaError, match=r"line 10, 08:00-09:00: '1.234' is no whole number"):
        bring(portal, tmp_path / "loops")
    city.changed, city.first_hour = {}, "0-1"
    with pytest.raises(FelsinaError, match="no column 00_00_01_00; it has data, codice_spira, 0_1"):
        bring(portal, tmp_path / "loops")


def test_an_export_that_ends_in_a_sentence_is_asked_again(city, portal, tmp_path) -> None:
    broken = city.table(False, date(2024, 2, 1), date(2024, 2, 5))
    broken += "Streaming interrupted due to the following error: timeout"
    portal.first = [Answer(broken.encode(), etag=False), Answer(status=429), Answer(status=502)]
    bring(portal, tmp_path / "one" / "loops")
    bring(portal, tmp_path / "two" / "loops")
    assert digests(tmp_path / "one" / "loops") == digests(tmp_path / "two" / "loops")
    assert portal.most == 1


def command(portal: Portal, folder: Path) -> list[str]:
    """What ``bring`` does, for a process of its own."""
    words = ["data", "ingest", "bologna-loops", "--since", SINCE, "--until", UNTIL]
    words += ["--dataset", str(folder), "--set", f"host={portal.url}", "--set", "pause_s=0"]
    return [sys.executable, "-m", "pipelines.cli", *words]


def start(portal: Portal, folder: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command(portal, folder),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_kill_anywhere_leaves_what_the_next_run_completes(city, portal, tmp_path) -> None:
    """The process is killed at four moments, one after another; then it runs to its end."""
    for kills in range(4):
        goal = len(portal.asked) + (2, 3, 1, 4)[kills]
        process = start(portal, tmp_path / "loops")
        while len(portal.asked) < goal and process.poll() is None:
            time.sleep(0.002)
        time.sleep(0.01 * kills)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    process = start(portal, tmp_path / "loops")
    said = process.communicate()[0].decode()
    assert process.returncode == 0, said
    assert "4 nodes x 1895 steps of 1h" in said
    bring(portal, tmp_path / "whole" / "loops")
    assert digests(tmp_path / "loops") == digests(tmp_path / "whole" / "loops")
    assert not [p for p in (tmp_path / "loops" / "raw").rglob("*.part*")]


def test_killed_in_a_body_it_goes_on_there_and_fetches_no_whole_one_again(
    city, portal, tmp_path
) -> None:
    folder, raw, killed = tmp_path / "loops", Path("raw", "bologna-loops"), threading.Event()

    def stalling(path: str, query: dict[str, str]) -> Answer | bytes | None:
        body = city.route(path, query)
        third = len(portal.asked) == 3
        return Answer(body, cut=len(body) // 2, breaks=killed) if third else body

    portal.route = stalling
    process, part = start(portal, folder), folder / raw / ".2024-03.part"
    while not (part.is_file() and part.stat().st_size) and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    killed.set()
    assert process.returncode == -signal.SIGKILL
    assert [path.name for path in folder.iterdir()] == ["raw"]
    kept = [json.loads(line) for line in (folder / "raw" / "manifest.jsonl").open()]
    assert [line["key"] for line in kept] == ["2024-02", "2024-02-accuracy"]
    assert all(sha256_file(folder / "raw" / line["file"]) == line["sha256"] for line in kept)

    portal.route, held = city.route, part.stat().st_size
    portal.asked.clear()
    portal.statuses.clear()
    bring(portal, folder)
    assert portal.statuses == {304: 2, 206: 1, 200: 3}
    assert portal.asked[2][2]["range"] == f"bytes={held}-"
    bring(portal, tmp_path / "whole" / "loops")
    for place in (Path(), raw):
        assert digests(folder / place) == digests(tmp_path / "whole" / "loops" / place)


class Crash(BaseException):
    """What nothing catches."""


@contextmanager
def crashing(monkeypatch: pytest.MonkeyPatch, at: int) -> Iterator[list[int]]:
    """Let the ``at``-th rename raise in place of what it does; counts them."""
    rename, count = Path.replace, [0]

    def replace(self: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] == at:
            raise Crash
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", replace)
        yield count


def test_a_crash_before_a_file_is_put_in_place_is_made_good(
    city, portal, tmp_path, monkeypatch
) -> None:
    whole = tmp_path / "whole" / "loops"
    with crashing(monkeypatch, 0) as renames:
        bring(portal, whole)
    first, last = digests(whole), renames[0]
    assert last > 15
    for at in (1, 12, *range(last - 3, last + 1)):
        folder = tmp_path / str(at) / "loops"
        with pytest.raises(Crash), crashing(monkeypatch, at):
            bring(portal, folder)
        bring(portal, folder)
        assert digests(folder) == first
    city.changed = {(CODES[0], "2024-04-05", h): "7" for h in (8, 9)}
    bring(portal, whole)
    assert digests(whole) != first
    for at in (1, 2, 3):
        folder = tmp_path / str(last - at) / "loops"
        with pytest.raises(Crash), crashing(monkeypatch, at):
            bring(portal, folder)
        bring(portal, folder)
        assert digests(folder) == digests(whole)


def test_a_month_without_a_row_yet_is_none(city, portal, tmp_path) -> None:
    city.known_to = date(2024, 4, 1)
    bring(portal, tmp_path / "loops")
    assert len(open_dataset(tmp_path / "loops").values) == 60 * 24 - 1


def test_what_cannot_be_asked_is_said(portal, tmp_path) -> None:
    with pytest.raises(FelsinaError, match="say from when: --since 2024-01-01"):
        bring(portal, tmp_path / "loops", since=None)
    with pytest.raises(FelsinaError, match="--since '12/3/24' is no day"):
        bring(portal, tmp_path / "loops", since="12/3/24")
    with pytest.raises(FelsinaError, match="setting accuracy = 120: input should be less than"):
        bring(portal, tmp_path / "loops", accuracy=120)
    with pytest.raises(FelsinaError, match=r"anno-2023.*not there \(404\)"):
        bring(portal, tmp_path / "loops", since="2023-12-01")
    assert not (tmp_path / "loops" / "series.parquet").exists()
