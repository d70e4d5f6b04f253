"""What a backup brings back: the same forecasts to the byte, on either database."""

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from models.chain import head_path, verify
from models.errors import FelsinaError
from models.signing import create_key, load_key
from models.stream import Stream
from pipelines.backup import backup, restore
from serving import tables
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.gate.keys import Keys
from serving.store import FORCED, OBSERVED, Store
from tests.fixtures.tiny import Tiny


def silent(share: float) -> None:
    assert 0 <= share <= 1


def answers(home: Path, store: Store) -> list[dict]:
    """Forecasts with bands that follow what came true, and what is held."""
    client = TestClient(create_app(Catalogue(home, store)))
    found = []
    for path in ("/v1/forecasts/tiny", "/v1/observations/tiny?last=48", "/v1/forecasts/tiny"):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        found[-1].pop("issued_at", None)  # when this process made it
    return found


@pytest.fixture(scope="module")
def lived(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with releases, a store with some days of issues, a key and a stream of decisions."""
    home = tmp_path_factory.mktemp("lived") / "home"
    for part in ("releases", "champions"):
        shutil.copytree(tiny.home / part, home / part)
    (home / "releases" / ".half.part").mkdir()
    (home / "releases" / ".half.part" / "model.onnx").write_bytes(b"half")
    (home / "work").mkdir()
    (home / "work" / "big").write_bytes(b"can be made again")
    stream = Stream.create(home / "board" / "decisions.jsonl", create_key(home / "k"), "board")
    stream.append("vote", {"decision": "approve"})
    store = Store(home / "observations.db")
    end = int(tiny.origins[0]) + 8
    rows = np.arange(end - tiny.spec.reach - 40, end)
    times, ids = tiny.builder.times(rows), list(tiny.dataset.graph.ids)
    forcings, names = tiny.dataset.forcings, [f.name for f in tiny.spec.forcings]
    assert forcings is not None
    store.write("tiny", FORCED, times, names, forcings[rows, 0])
    for row in range(end - 8, end):
        upto = rows if row == end - 8 else np.array([row])
        upto = upto[upto <= row]
        at = tiny.builder.times(upto)
        store.write("tiny", OBSERVED, at, ids, tiny.dataset.values[upto])
        Catalogue(home, store).forecast("tiny")
    assert store.issue_times(tiny.release.name)
    Keys(store.engine).create("planner", "read", 5.0)
    return home


@pytest.fixture(scope="module")
def archive(lived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "backup.tar"
    made = backup(lived, Store(lived / "observations.db"), path, silent)
    assert made["rows"] > 1000
    assert path.stat().st_mode & 0o077 == 0
    assert list(path.parent.iterdir()) == [path]
    return path


def test_a_restored_server_gives_the_same_forecasts(
    lived: Path, archive: Path, store_place: str, tmp_path: Path, tiny: Tiny
) -> None:
    home = tmp_path / "again"
    place = home / "observations.db" if "://" not in store_place else store_place
    made = restore(archive, home, place, silent)
    assert made["releases"] == 1
    store, before = Store(place), Store(lived / "observations.db")
    assert answers(home, store) == answers(lived, before)
    assert store.issues(tiny.release.name) == before.issues(tiny.release.name)
    assert [key.name for key in Keys(store.engine).all()] == ["planner"]
    assert not (home / "work").exists()
    assert not (home / "releases" / ".half.part").exists()
    # and goes on: what is new is numbered after what came back
    store.write("tiny", OBSERVED, np.array([np.datetime64("2030-01-01", "s")]), ["new"], ONE)
    with store.engine.connect() as connection:
        found = connection.execute(sa.select(tables.columns.c.name, tables.columns.c.id)).all()
    numbers = {row.name: row.id for row in found}
    assert numbers["new"] == max(numbers.values())


ONE = np.ones((1, 1))


def test_a_stream_comes_back_whole_though_it_grew_meanwhile(lived: Path, tmp_path: Path) -> None:
    """A head that is newer than the copy of its stream would call the copy cut."""
    home = tmp_path / "home"
    shutil.copytree(lived / "board", home / "board")
    key = load_key(lived / "k")
    stream, added = Stream(home / "board" / "decisions.jsonl", key), []

    def grow(share: float) -> None:
        added.append(stream.append("vote", {"n": len(added)}))

    backup(home, Store(home / "observations.db"), tmp_path / "b.tar", grow)
    restore(tmp_path / "b.tar", tmp_path / "r", tmp_path / "r" / "observations.db", silent)
    back = tmp_path / "r" / "board" / "decisions.jsonl"
    assert len(verify(back, key.public_key())) >= 2
    assert head_path(back).is_file()


def test_what_is_there_is_never_overwritten(lived: Path, archive: Path, tmp_path: Path) -> None:
    store = Store(lived / "observations.db")
    with pytest.raises(FelsinaError, match=r"backup\.tar exists"):
        backup(lived, store, archive, silent)
    with pytest.raises(FelsinaError, match="is not empty"):
        restore(archive, lived, lived / "observations.db", silent)
    with pytest.raises(FelsinaError, match="lies outside"):
        restore(archive, tmp_path / "new", tmp_path / "other.db", silent)
    assert not (tmp_path / "new").exists()


def test_a_database_with_rows_is_refused(archive: Path, postgres, tmp_path: Path) -> None:
    place = postgres.database()
    Store(place).write("x", OBSERVED, np.array([np.datetime64("2030-01-01", "s")]), ["n"], ONE)
    with pytest.raises(FelsinaError, match="holds rows in table"):
        restore(archive, tmp_path / "new", place, silent)
    assert list(tmp_path.iterdir()) == []
    assert Store(place).held("tiny", OBSERVED) == []


def changed(archive: Path, made: Path, name: str, content: bytes | None) -> Path:
    """A copy of an archive with another content of a file; without it, where None."""
    with tarfile.open(archive) as old, tarfile.open(made, "w") as new:
        for entry in old:
            stream = old.extractfile(entry)
            assert stream is not None
            held = stream.read()
            if entry.name == name:
                if content is None:
                    continue
                held = content
            entry.size = len(held)
            new.addfile(entry, io.BytesIO(held))
    return made


@pytest.mark.parametrize("damage", ["edited", "dropped", "cut", "other format", "text"])
def test_a_damaged_backup_leaves_nothing(archive: Path, tmp_path: Path, damage: str) -> None:
    with tarfile.open(archive) as tar:
        name = next(n for n in tar.getnames() if n.endswith("model.onnx"))
        stream = tar.extractfile("backup.json")
        assert stream is not None
        record = json.loads(stream.read())
    bad = tmp_path / "bad.tar"
    if damage in ("edited", "dropped"):
        changed(archive, bad, name, b"other" if damage == "edited" else None)
    elif damage == "cut":
        bad.write_bytes(archive.read_bytes()[:-40_000])
    elif damage == "text":
        bad.write_text("no archive")
    else:
        changed(archive, bad, "backup.json", json.dumps(record | {"format": 2}).encode())
    told = {"edited": name, "dropped": name, "other format": "another version"}
    with pytest.raises(FelsinaError, match=told.get(damage, "not a whole backup")) as refused:
        restore(bad, tmp_path / "new", tmp_path / "new" / "observations.db", silent)
    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == [bad]
