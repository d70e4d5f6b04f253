"""Nothing that Felsina leaves on disk is a pickle, and serving opens none."""

import gzip
import io
import json
import pickle
import shutil
import sqlite3
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from privacy.resume import CHECKPOINT, PrivateRun, RunState
from serving.catalogue import Catalogue
from serving.release import MANIFEST, MEMBERS, MODEL, load_release, release_id
from serving.store import Store
from tests.factories import Silent, make_settings
from tests.fixtures.greenhouse import Sealed
from tests.fixtures.pickles import pickles
from tests.fixtures.rounds import Town, ran, town_ledger
from tests.fixtures.tiny import Tiny
from training.fit import fit
from training.loop import BEST, LAST

HARMFUL = {"weights": torch.zeros(2), "code": [1, "a"]}


def _torch(path: Path) -> None:
    torch.save(HARMFUL, path)


def _legacy_torch(path: Path) -> None:
    torch.save(HARMFUL, path, _use_new_zipfile_serialization=False)


def _tar(path: Path) -> None:
    content = pickle.dumps(HARMFUL["code"])
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("x")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))


def _database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE jobs (task BLOB)")
        connection.execute("INSERT INTO jobs VALUES (?)", (pickle.dumps({"a": 1}),))


WRITERS: dict[str, Callable[[Path], object]] = {
    "torch": _torch,
    "torch of old": _legacy_torch,
    "pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "gzip": lambda path: path.write_bytes(gzip.compress(pickle.dumps({"a": 1}))),
    "npy": lambda path: np.save(path, np.array([{"a": 1}]), allow_pickle=True),
    "npz": lambda path: np.savez(path, fine=np.zeros(2), a=np.array([{"a": 1}])),
    "tar": _tar,
    "database": _database,
}


@pytest.mark.parametrize("kind", WRITERS)
def test_the_look_for_pickles_finds(kind: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "fine.npz", a=np.zeros(3))
    (tmp_path / "fine.json").write_text("{}")
    assert pickles(tmp_path) == []
    WRITERS[kind](tmp_path / "model.npy")
    assert len(pickles(tmp_path)) == 1


def looked_at(folder: Path, *wanted: str) -> None:
    """There are files of these patterns, and no pickle among all that there are."""
    for pattern in wanted:
        assert list(folder.glob(pattern)), pattern
    assert pickles(folder) == []


def test_a_trained_a_released_and_a_tracked_model_hold_none(tiny: Tiny) -> None:
    looked_at(
        tiny.home,
        "trained/*/state.safetensors",
        "releases/*/model.onnx",
        "mlflow.db",
        "artifacts/*/artifacts/quality.json",
        "artifacts/models/*/artifacts/MLmodel",
    )


def test_checkpoints_hold_none(tiny: Tiny, tmp_path: Path) -> None:
    fit(tiny.dataset, make_settings(), tmp_path / "work", Silent())
    looked_at(tmp_path, f"work/{BEST}", f"work/{LAST}")


def test_a_surrogate_and_its_experiments_hold_none(sealed: Sealed) -> None:
    looked_at(sealed.home.parent, "beds/*.npy", "home/releases/*/model.onnx", "home/mlflow.db")


def test_what_a_private_training_goes_on_from_holds_none(tmp_path: Path) -> None:
    weights = torch.ones(3, requires_grad=True)
    optimiser = torch.optim.Adam([weights])
    weights.sum().backward()
    optimiser.step()
    state = RunState(bytes(32), "run", 1, 2, weights.detach(), optimiser.state_dict())
    run = PrivateRun(tmp_path, "about")
    run.charged(2)
    run.save(state)
    looked_at(tmp_path, CHECKPOINT)
    assert (tmp_path / CHECKPOINT).stat().st_mode & 0o077 == 0
    found = run.recorded()
    assert found is not None
    assert found.optimiser["param_groups"] == state.optimiser["param_groups"]


def test_rounds_of_a_federation_hold_none(tmp_path: Path) -> None:
    ran(tmp_path, town_ledger(tmp_path / "ledger.jsonl"), Town())
    looked_at(tmp_path, "work/round-*.npz")


def sealed_with(release: Path, home: Path, name: str, content: bytes) -> Path:
    """A copy of a release with another content of a file, sealed properly."""
    manifest = json.loads((release / MANIFEST).read_bytes())
    manifest["files"][name] = sha256_bytes(content)
    text = canonical_json(manifest)
    folder = home / "releases" / release_id(manifest["dataset"], text)
    shutil.copytree(release, folder)
    (folder / name).write_bytes(content)
    (folder / MANIFEST).write_bytes(text)
    return folder


def objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}]), allow_pickle=True)
    return stream.getvalue()


def weights() -> bytes:
    stream = io.BytesIO()
    torch.save(HARMFUL, stream)
    return stream.getvalue()


@pytest.mark.parametrize(("name", "make"), [(MODEL, weights), (MEMBERS, objects)])
def test_serving_refuses_a_pickle_though_it_is_sealed(
    tiny: Tiny, tmp_path: Path, empty_store: Store, name: str, make: Callable[[], bytes]
) -> None:
    for content, served in (((tiny.release / name).read_bytes(), ["tiny"]), (make(), [])):
        home = tmp_path / f"serves {len(served)}"
        sealed_with(tiny.release, home, name, content)
        assert list(Catalogue(home, empty_store).runtimes()) == served


def test_serving_refuses_a_file_that_is_not_sealed(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / tiny.release.name
    shutil.copytree(tiny.release, folder)
    load_release(folder)
    (folder / "model.pkl").write_bytes(weights())
    with pytest.raises(FelsinaError, match=r"model\.pkl"):
        load_release(folder)
