"""Streams whose entries cannot be edited, cut, moved or lost unseen."""

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from models.chain import head_path, verify
from models.errors import FelsinaError
from models.record import canonical_json, sha256_bytes
from models.signing import PrivateKey, create_key, load_key, sign_record
from models.stream import Stream
from tests.fixtures.tiny import ROOT

KEY = PrivateKey.generate()
PUBLIC = KEY.public_key()


def ticking():
    times = (datetime(2026, 3, 1, tzinfo=UTC) + timedelta(seconds=i) for i in range(10**6))
    return lambda: next(times)


def filled(path: Path, entries: int = 5, key: PrivateKey = KEY, first: str = "wrote") -> Stream:
    stream = Stream.create(path, key, "city", ticking())
    for n in range(1, entries):
        stream.append("note", {"text": f"{first} {n}", "città": n / 3})
    return stream


def written(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_entries_read_back_in_order_and_open_again(tmp_path):
    path = tmp_path / "deep" / "s.jsonl"
    filled(path)
    stream = Stream(path, KEY)
    assert stream.name == "city"
    added = stream.append("note", {"text": "more"})
    entries = verify(path, PUBLIC)
    assert [e.n for e in entries] == list(range(6))
    assert [e.kind for e in entries] == ["open", *["note"] * 5]
    assert entries[-1] == added
    assert entries[3].body == {"text": "wrote 3", "città": 1.0}
    assert entries[0].time == "2026-03-01T00:00:00.000Z"
    lines = written(path)
    for before, line in pairwise(lines):
        assert json.loads(line)["previous"] == sha256_bytes(before[:-1])
    assert {p.name for p in path.parent.iterdir()} == {"s.jsonl", "s.jsonl.head"}


def test_any_byte_that_is_edited_names_its_entry(tmp_path):
    path = tmp_path / "s.jsonl"
    filled(path, 3)
    lines = written(path)
    content = path.read_bytes()
    at = 0
    for n, line in enumerate(lines):
        for position in range(at, at + len(line)):
            for flip in (0x01, 0x20):
                edited = bytearray(content)
                edited[position] ^= flip
                path.write_bytes(edited)
                with pytest.raises(FelsinaError, match=rf"entry {n} "):
                    verify(path, PUBLIC)
        at += len(line)
    path.write_bytes(content)
    assert len(verify(path, PUBLIC)) == 3


def spoiled(lines: list[bytes], how: str) -> list[bytes]:
    lines = list(lines)
    if how == "last cut":
        lines.pop()
    elif how == "middle cut":
        del lines[2]
    elif how == "first cut":
        del lines[0]
    elif how == "two swapped":
        lines[2], lines[3] = lines[3], lines[2]
    elif how == "one doubled":
        lines.insert(3, lines[2])
    elif how == "all cut":
        lines.clear()
    elif how == "signature taken":
        record = json.loads(lines[2])
        del record["signature"]
        lines[2] = canonical_json(record) + b"\n"
    elif how == "signed by another":
        record = {k: v for k, v in json.loads(lines[2]).items() if k not in ("key", "signature")}
        lines[2] = canonical_json(sign_record(record, PrivateKey.generate())) + b"\n"
    elif how == "replaced by the key's owner":
        record = {k: v for k, v in json.loads(lines[2]).items() if k not in ("key", "signature")}
        record["body"] = {"text": "never happened"}
        lines[2] = canonical_json(sign_record(record, KEY)) + b"\n"
    return lines


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("last cut", "entry 4 is missing.*vouches for entries 0 to 4"),
        ("middle cut", "entry 2 was cut out: entry 3 stands in its place"),
        ("first cut", "entry 0 was cut out"),
        ("two swapped", "entry 2 was moved"),
        ("one doubled", "entry 3 was moved or doubled"),
        ("all cut", "entry 0 is missing"),
        ("signature taken", "entry 2 has no signature"),
        ("signed by another", "entry 2 is signed by key"),
        ("replaced by the key's owner", "entry 3 follows another.*entry 2 was replaced"),
    ],
)
def test_cuts_swaps_and_other_signatures_are_named(tmp_path, how, said):
    path = tmp_path / "s.jsonl"
    filled(path)
    path.write_bytes(b"".join(spoiled(written(path), how)))
    with pytest.raises(FelsinaError, match=said) as caught:
        verify(path, PUBLIC)
    assert "\n" not in str(caught.value)
    if how != "all cut":
        with pytest.raises(FelsinaError, match=said):
            Stream(path, KEY)


def test_another_key_is_not_believed(tmp_path):
    path = tmp_path / "s.jsonl"
    filled(path)
    other = PrivateKey.generate().public_key()
    with pytest.raises(FelsinaError, match="entry 0 is signed by key"):
        verify(path, other)
    assert len(verify(path, [other, PUBLIC])) == 5


def test_a_receipt_shows_what_the_key_s_owner_cut_or_wrote_anew(tmp_path):
    path = tmp_path / "s.jsonl"
    receipt = filled(path).head()
    kept = tmp_path / "receipt.json"
    kept.write_bytes(canonical_json(receipt))
    Stream(path, KEY).append("note", {"text": "later"})
    assert len(verify(path, PUBLIC, receipts=[kept, receipt])) == 6
    for entries, first, said in (
        (9, "invented", "entry 4 is not the one that .*receipt.json of 2026-03-01T.*rewritten"),
        (3, "wrote", "entry 3 is missing"),
    ):
        path.unlink()
        head_path(path).unlink()
        filled(path, entries, first=first)
        assert len(verify(path, PUBLIC)) == entries
        with pytest.raises(FelsinaError, match=said):
            verify(path, PUBLIC, receipts=[kept])


def test_a_receipt_must_be_one(tmp_path):
    path, other = tmp_path / "s.jsonl", tmp_path / "o.jsonl"
    receipt = filled(path).head()
    bare = {k: receipt[k] for k in ("stream", "n", "sha256", "time")}
    for changed, said in (
        (receipt | {"n": 2}, "edited"),
        ({k: v for k, v in receipt.items() if k != "signature"}, "no signature"),
        (receipt | {"more": 1}, "not a signed head"),
        (Stream.create(other, KEY, "elsewhere").head(), "of stream 'elsewhere'"),
        (sign_record(bare, PrivateKey.generate()), "is signed by key"),
    ):
        with pytest.raises(FelsinaError, match=said):
            verify(path, PUBLIC, receipts=[changed])
    with pytest.raises(FelsinaError, match="missing; name a receipt"):
        verify(path, PUBLIC, receipts=[tmp_path / "none.json"])


def test_without_a_head_or_a_receipt_nothing_is_claimed(tmp_path):
    path = tmp_path / "s.jsonl"
    receipt = filled(path).head()
    head_path(path).unlink()
    with pytest.raises(FelsinaError, match="a cut would not show"):
        verify(path, PUBLIC)
    with pytest.raises(FelsinaError, match="a cut would not show"):
        Stream(path, KEY)
    assert len(verify(path, PUBLIC, receipts=[receipt])) == 5


def test_an_unfinished_entry_is_left_out_and_cut(tmp_path):
    path = tmp_path / "s.jsonl"
    filled(path)
    content = path.read_bytes()
    for torn in (b"{", b'{"body":{"text":"w', b'{"bod\0\0\0', b"\0\0"):
        path.write_bytes(content + torn)
        assert len(verify(path, PUBLIC)) == 5
        stream = Stream(path, KEY)
        assert path.read_bytes() == content
        assert len(stream.entries) == 5
    path.write_bytes(content + b"a stranger's text")
    with pytest.raises(FelsinaError, match="no unfinished entry"):
        Stream(path, KEY)
    assert path.read_bytes() == content + b"a stranger's text"


def test_an_acknowledged_entry_is_never_taken_for_an_unfinished_one(tmp_path):
    path = tmp_path / "s.jsonl"
    filled(path)
    cut = path.read_bytes()[:-20]
    path.write_bytes(cut)
    with pytest.raises(FelsinaError, match="entry 4 is missing"):
        Stream(path, KEY)
    assert path.read_bytes() == cut


def test_a_kill_between_an_entry_and_its_head_harms_nothing(tmp_path):
    path = tmp_path / "s.jsonl"
    stream = filled(path, 3)
    old = head_path(path).read_bytes()
    stream.append("note", {"text": "on disk"})
    head_path(path).write_bytes(old)
    assert len(verify(path, PUBLIC)) == 4
    Stream(path, KEY).append("note", {"text": "next"})
    assert len(verify(path, PUBLIC)) == 5
    assert json.loads(head_path(path).read_bytes())["n"] == 4


def test_a_full_disk_leaves_no_half_entry(tmp_path, monkeypatch):
    path = tmp_path / "s.jsonl"
    stream = filled(path)
    content = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        stream.append("note", {"text": "too much"})
    monkeypatch.undo()
    assert path.read_bytes() == content
    assert stream.append("note", {"text": "again"}).n == 5
    assert len(verify(path, PUBLIC)) == 6


def test_a_stream_begins_once_and_is_not_begun_by_opening(tmp_path):
    path = tmp_path / "s.jsonl"
    with pytest.raises(FelsinaError, match="missing"):
        Stream(path, KEY)
    with pytest.raises(FelsinaError, match="missing"):
        verify(path, PUBLIC, receipts=[{}])
    stream = filled(path)
    with pytest.raises(FelsinaError, match="begins once"):
        Stream.create(path, KEY, "city")
    path.unlink()
    with pytest.raises(FelsinaError, match="begins once"):
        Stream.create(path, KEY, "city")
    with pytest.raises(FelsinaError, match="restore it"):
        stream.append("note", {})
    with pytest.raises(FelsinaError, match="'open' begins"):
        stream.append("open", {})


def test_what_is_decided_while_held_stays_true(tmp_path):
    path = tmp_path / "s.jsonl"
    one, two = filled(path), Stream(path, KEY)
    one.append("note", {"text": "one's"})
    with two.held() as entries:
        assert len(entries) == 6
        with two.held():
            assert two.append("note", {"text": "two's"}).n == 6
    assert one.append("note", {}).n == 7
    path.write_bytes(b"".join(written(path)[:-1]))
    with pytest.raises(FelsinaError, match="the file was cut"):
        one.append("note", {})


@pytest.mark.parametrize("depth", [*range(985, 1000), 200_000])
def test_a_head_or_a_line_of_nothing_but_brackets_is_a_fault(tmp_path, depth):
    path = tmp_path / "s.jsonl"
    filled(path)
    head, content = json.loads(head_path(path).read_bytes()), path.read_bytes()
    deep = b"[" * depth + b"]" * depth
    for broken in (
        deep,
        canonical_json(head | {"time": 0}).replace(b'"time":0', b'"time":' + deep),
    ):
        head_path(path).write_bytes(broken)
        with pytest.raises(FelsinaError, match="head"):
            verify(path, PUBLIC)
    head_path(path).write_bytes(canonical_json(head))
    path.write_bytes(content.replace(b'"wrote 1"', deep))
    with pytest.raises(FelsinaError, match="entry 1 "):
        verify(path, PUBLIC)
    path.write_bytes(content)
    assert len(verify(path, PUBLIC)) == 5


def test_a_lock_that_somebody_keeps_is_named(tmp_path, monkeypatch):
    path = tmp_path / "s.jsonl"
    stream = filled(path)
    monkeypatch.setattr("models.stream._WAIT", 0.2)
    with path.open() as reader:
        fcntl.flock(reader, fcntl.LOCK_EX)
        with pytest.raises(FelsinaError, match=r"s\.jsonl is held since 0\.2 seconds") as error:
            stream.append("note", {})
        assert "\n" not in str(error.value)
        monkeypatch.setattr("models.stream._WAIT", 60.0)
        letting_go = threading.Timer(0.2, fcntl.flock, (reader, fcntl.LOCK_UN))
        letting_go.start()
        assert stream.append("note", {}).n == 5
        letting_go.join()
    assert len(verify(path, PUBLIC)) == 6


def test_a_clock_without_a_zone_is_refused(tmp_path):
    with pytest.raises(FelsinaError, match="time zone"):
        Stream.create(tmp_path / "s.jsonl", KEY, "city", lambda: datetime(2026, 3, 1))


WRITER = """
import sys
from pathlib import Path
from models.signing import load_key
from models.stream import Stream
stream = Stream(Path(sys.argv[1]), load_key(Path(sys.argv[2])))
for i in range(int(sys.argv[4])):
    entry = stream.append("note", {"writer": sys.argv[3], "i": i, "pad": "x" * 4000})
    print(entry.n, entry.sha256, flush=True)
"""


def writer(path: Path, key: Path, name: str, entries: int) -> subprocess.Popen:
    command = [sys.executable, "-c", WRITER, str(path), str(key), name, str(entries)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_two_processes_write_in_order(tmp_path):
    path, key = tmp_path / "s.jsonl", tmp_path / "city.key"
    public = create_key(key).public_key()
    Stream.create(path, load_key(key), "city")
    processes = [writer(path, key, name, 200) for name in ("a", "b")]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    entries = verify(path, public)[1:]
    assert len(entries) == 400
    for name in ("a", "b"):
        assert [e.body["i"] for e in entries if e.body["writer"] == name] == list(range(200))


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path):
    path, key = tmp_path / "s.jsonl", tmp_path / "city.key"
    public = create_key(key).public_key()
    Stream.create(path, load_key(key), "city")
    pause = random.Random(5)
    acknowledged: dict[int, str] = {}
    for round_ in range(8):
        process = writer(path, key, str(round_), 10**6)
        assert process.stdout is not None
        said = [process.stdout.readline()]
        time.sleep(pause.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        said += process.communicate(timeout=60)[0].splitlines()
        for line in said:
            if len(words := line.split()) == 2 and len(words[1]) == 64:
                acknowledged[int(words[0])] = words[1]
        entries = verify(path, public)
        assert {n: entries[n].sha256 for n in acknowledged} == acknowledged
    assert len(acknowledged) > 8
    Stream(path, load_key(key)).append("note", {"text": "after it all"})
    assert len(verify(path, public)) >= len(acknowledged) + 2
