"""What is already there: neither torch nor pandas is loaded to find out."""

from __future__ import annotations

from pathlib import Path

from models.board import BOARD, CHARTER, STREAM, Board, open_board
from models.charter import read_charter
from models.contracts import FelsinaError
from models.stream import utc_now
from pipelines import domains
from pipelines.settings import store_place
from serving.release import MANIFEST, champion_pointer, champions, load_release, read_pointer
from serving.store import Store

STATE, GRAPH, MEMBERS, RUN = "state.safetensors", "model.onnx", "members.npy", "run.json"
"""Files of a trained folder without which it is none."""
REPORT, FORECASTS, QUALITY = "backtest.json", "forecasts.parquet", "quality.json"
RECORD = "report.json"
"""Of the board's report, whose SHA-256 decisions sign."""


def lacking(folder: Path, *names: str) -> str:
    """The first of the named files that a folder lacks, as a path; empty where it has all."""
    return next((str(folder / name) for name in names if not (folder / name).is_file()), "")


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


def read_board(folder: Path) -> Board:
    """The decisions in a board's folder, under the charter in it."""
    return open_board(read_charter(folder / CHARTER), folder / STREAM)


def servable(home: Path, dataset: str) -> list[Path]:
    """Folders of the releases that may be served, the one that is first.

    Those promoted whose approval stands, where there is a board; else what is pointed at.
    """
    if not (home / BOARD / STREAM).is_file():
        return [folder] if (folder := champions(home).get(dataset)) else []
    board, now = read_board(home / BOARD), utc_now()
    return [
        home / "releases" / one.release
        for one in board.promoted(dataset)
        if board.ruling(one.manifest_sha256, now).state == "approved"
    ]


def served_now(home: Path, dataset: str, other_than: str = "") -> Path | None:
    """Folder of the release that is served for a dataset.

    None where there is none, or it is the one of the name ``other_than``.
    """
    folder = next(iter(servable(home, dataset)), None)
    return folder if folder and folder.is_dir() and folder.name != other_than else None


def reports(home: Path, release: str) -> Path:
    """Where the report of a release lies."""
    return home / "reports" / release


def about_file(domain: str, name: str, dataset: Path | None = None) -> Path | None:
    """The human-written parts of a dataset, beside it, or those that come with its domain."""
    shipped = Path(domains.__file__).parent / domain / "about" / f"{name}.toml"
    beside = [] if dataset is None else [dataset / "about.toml"]
    return next((path for path in (*beside, shipped) if path.is_file()), None)
