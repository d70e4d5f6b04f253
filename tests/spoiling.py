"""Ways to spoil a dataset folder, each in one place."""

from pathlib import Path

import pandas as pd


def edit_toml(old: str, new: str):
    def spoil(folder: Path) -> None:
        path = folder / "dataset.toml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def edit_table(name: str, change):
    def spoil(folder: Path) -> None:
        path = folder / f"{name}.parquet"
        table = pd.read_parquet(path)
        changed = change(table)
        (table if changed is None else changed).to_parquet(path, index=False)

    return spoil


def edit_text(name: str, change):
    def spoil(folder: Path) -> None:
        (folder / name).write_text(change((folder / name).read_text()))

    return spoil


def put(row: int, column: str, value):
    def change(table: pd.DataFrame) -> None:
        table.loc[row, column] = value

    return change


def drop(name: str):
    return lambda folder: (folder / name).unlink()
