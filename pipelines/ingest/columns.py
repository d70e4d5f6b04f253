"""Columns of large CSV files by Arrow, with the line and the value of what cannot be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
from pyarrow import compute

from models.contracts import FelsinaError, FloatArray

pc: Any = compute
"""Its functions are made at import, where type checkers do not see them."""
MISSING = ("", "-", "NA", "NaN", "nan", "null", "NULL", "n.d.", "N.D.", "n/a")


def plain(name: str) -> str:
    """A column's name in lower case with ``_`` for all else: labels and field names agree."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower().lstrip("\ufeff")).strip("_")


def header_of(path: Path, separator: str, encoding: str = "utf-8") -> list[str]:
    """The names in a CSV's first line, as they stand."""
    try:
        with path.open(encoding=encoding, newline="") as stream:
            line = stream.readline()
    except (OSError, UnicodeDecodeError, LookupError) as error:
        raise FelsinaError(f"{path}: cannot be read as {encoding}: {error}") from error
    if not line.strip():
        raise FelsinaError(f"{path}: line 1 is empty; a CSV begins with the names of its columns")
    return [
        name.strip().strip('"').lstrip("\ufeff") for name in line.rstrip("\r\n").split(separator)
    ]


def read_columns(
    path: Path,
    types: dict[str, pa.DataType],
    separator: str = ",",
    encoding: str = "utf-8",
    missing: Sequence[str] = MISSING,
) -> pa.Table:
    """Some columns of a CSV, typed; a value that is not of its type is named with its line.

    Args:
        path: the file.
        types: column, as it stands in the first line, to its type.
        separator: between columns.
        encoding: of the file.
        missing: texts that say that nothing was observed.
    """
    found = header_of(path, separator, encoding)
    if absent := [name for name in types if name not in found]:
        raise FelsinaError(f"{path}: no column {absent[0]}; it has {', '.join(found)[:200]}")
    try:
        return _read(path, types, separator, encoding, missing)
    except pa.ArrowInvalid as error:
        texts = dict.fromkeys(types, pa.string())
        try:
            table = _read(path, texts, separator, encoding, missing)
        except pa.ArrowInvalid as worse:
            said = " ".join(str(worse).split())
            raise FelsinaError(
                f"{path}: no table with {separator!r} between columns: {said}"
            ) from worse
        for name, kind in types.items():
            if pa.types.is_floating(kind):
                numbers(table[name], path, name)
            elif pa.types.is_integer(kind):
                whole_numbers(table[name], path, name)
        raise FelsinaError(f"{path}: {' '.join(str(error).split())}") from error


def _read(
    path: Path,
    types: dict[str, pa.DataType],
    separator: str,
    encoding: str,
    missing: Sequence[str],
) -> pa.Table:
    try:
        return pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(encoding=encoding, block_size=1 << 22),
            parse_options=pacsv.ParseOptions(delimiter=separator, newlines_in_values=False),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(types),
                null_values=list(missing),
                strings_can_be_null=True,
            ),
        )
    except (OSError, UnicodeDecodeError) as error:
        raise FelsinaError(f"{path}: cannot be read: {error}") from error


def whole_numbers(texts: pa.ChunkedArray, path: Path, name: str) -> FloatArray:
    """A column of texts as whole numbers, NaN where missing."""
    _refuse(
        texts, r"^\s*-?\d+\s*$", path, name, "is no whole number; give counts without separators"
    )
    return _floats(texts)


def numbers(
    texts: pa.ChunkedArray, path: Path, name: str, decimal: str = ".", thousands: str = ""
) -> FloatArray:
    """A column of texts as numbers, NaN where missing; ``1.234,5`` by its separators alone."""
    point, group = re.escape(decimal), re.escape(thousands)
    digits = rf"(\d+|\d{{1,3}}({group}\d{{3}})+)" if thousands else r"\d+"
    pattern = rf"^\s*[-+]?({digits}({point}\d*)?|{point}\d+)([eE][-+]?\d+)?\s*$"
    said = f"decimal = {decimal!r}" + (f" and thousands = {thousands!r}" if thousands else "")
    _refuse(texts, pattern, path, name, f"is no number with {said}; set what the file uses")
    clean = pc.replace_substring(texts, thousands, "") if thousands else texts
    if decimal != ".":
        clean = pc.replace_substring(clean, decimal, ".")
    return _floats(clean)


def _refuse(texts: pa.ChunkedArray, pattern: str, path: Path, name: str, remedy: str) -> None:
    good = pc.fill_null(pc.match_substring_regex(texts, pattern), True)
    if pc.all(good).as_py() is False:
        row = int(np.flatnonzero(~good.to_numpy(zero_copy_only=False))[0])
        raise FelsinaError(f"{path}: line {row + 2}, {name}: {texts[row].as_py()!r} {remedy}")


def _floats(texts: pa.ChunkedArray) -> FloatArray:
    return pc.cast(pc.utf8_trim_whitespace(texts), pa.float64()).to_numpy(zero_copy_only=False)


def geopoints(texts: np.ndarray, path: Path, name: str) -> tuple[FloatArray, FloatArray]:
    """Longitude and latitude of Opendatasoft's ``lat, lon`` texts, in degrees; NaN where empty."""
    codes, unique = pd.factorize(texts)
    places = np.array([_degrees(str(text)) for text in unique], float).reshape(-1, 2)
    lat, lon = places[:, 0], places[:, 1]
    wrong = (unique != "") & ~((np.abs(lat) <= 90) & (np.abs(lon) <= 180))
    if wrong.any():
        bad = int(np.flatnonzero(wrong)[0])
        row = int(np.flatnonzero(codes == bad)[0])
        raise FelsinaError(
            f"{path}: line {row + 2}, {name}: {unique[bad]!r} is no place; write lat, lon"
        )
    return lon[codes], lat[codes]


def _degrees(text: str) -> tuple[float, float]:
    lat, _, lon = text.partition(",")
    return float_of(lat), float_of(lon)


def float_of(text: str) -> float:
    """A text as a number; NaN where it is none."""
    try:
        return float(text)
    except ValueError:
        return np.nan
