"""What is already there: neither torch nor pandas is loaded to find out."""

from __future__ import annotations

from pathlib import Path

from models.contracts import FelsinaError
from pipelines.settings import store_place
from serving.release import MANIFEST, champion_pointer, load_release, read_pointer
from serving.store import Store


def released(home: Path, dataset: str) -> bool:
    """Whether an intact release of the dataset is pointed at, with observations to serve it."""
    pointer = champion_pointer(home, dataset)
    if not pointer.is_file():
        return False
    try:
        load_release(home / "releases" / read_pointer(pointer))
    except FelsinaError:
        return False
    return Store(store_place()).state(dataset)[1] is not None


def find_release(home: Path, name: str) -> Path:
    """A release's folder, a surrogate's too, by its name or path.

    Raises:
        FelsinaError: if there is none.
    """
    for folder in (home / "releases" / name, Path(name)):
        if (folder / MANIFEST).is_file():
            return folder.resolve()
    raise FelsinaError(
        f"--release {name}: no release of this name in {home}, and no release folder; felsina "
        "release list names them"
    )
