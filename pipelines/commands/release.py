"""``felsina release verify`` and ``list``: neither torch nor pandas is needed."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from models.board import BOARD, CHARTER
from models.contracts import FelsinaError
from models.stream import utc_now
from pipelines.board import read_board
from pipelines.commands.board_text import status_record
from pipelines.commands.terminal import answer, out
from pipelines.settings import home
from serving.release import INPUTS, load_release, releases
from serving.surrogate import load_surrogate


def verify_one(folder: Path) -> None:
    """Verify a release folder."""
    folder = folder.resolve()
    release = load_surrogate(folder) if (folder / INPUTS).is_file() else load_release(folder)
    out.print(f"{release.id}: intact, manifest sha256 {release.sha256}")


def _served(place: Path) -> set[Path]:
    """What a server here would serve: by the board's decisions, so nothing without a board."""
    folder = place / BOARD
    if not (folder / CHARTER).is_file():
        return set()
    record = status_record(read_board(folder), utc_now())
    served = [one["served"] for one in record["datasets"].values()]
    return {place / "releases" / name for name in served if name}


def list_all(json: bool) -> None:
    """List the releases under the home folder."""
    folders = releases(home())
    pointed = _served(home())
    rows = []
    for folder in folders:
        try:
            if (folder / INPUTS).is_file():
                surrogate = load_surrogate(folder)
                rows.append(
                    {
                        "release": surrogate.id,
                        "dataset": surrogate.spec.name,
                        "domain": surrogate.spec.domain,
                        "simulator": surrogate.spec.simulator,
                        "served": folder in pointed,
                    }
                )
                continue
            release = load_release(folder)
        except FelsinaError as error:
            rows.append({"release": folder.name, "error": str(error), "served": False})
            continue
        felsina = release.manifest["metrics"]["felsina"]
        rows.append(
            {
                "release": release.id,
                "dataset": release.spec.dataset,
                "domain": release.spec.domain,
                "mae": felsina["mae"],
                "unit": release.spec.unit,
                "coverage_80": felsina["coverage_80"],
                "served": folder in pointed,
            }
        )
    if json:
        answer(rows)
        return
    table = Table(box=None, pad_edge=False)
    for column in ("release", "domain", "MAE", "80 % coverage", "served"):
        table.add_column(column)
    for row in rows:
        if "error" in row:
            table.add_row(row["release"], "", "refused: " + row["error"], "", "no")
        elif "simulator" in row:
            told = f"for {row['simulator']}"
            table.add_row(row["release"], row["domain"], told, "", "yes" if row["served"] else "")
        else:
            mae, cover = f"{row['mae']:.4g} {row['unit']}", f"{row['coverage_80']:.1%}"
            table.add_row(row["release"], row["domain"], mae, cover, "yes" if row["served"] else "")
    out.print(table)
