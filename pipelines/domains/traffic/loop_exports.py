"""Exports of Bologna's loops: a row a loop and day, its hours side by side (``bologna_loops``)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from models.contracts import FelsinaError, FloatArray
from pipelines.ingest.columns import geopoints, header_of, pc, plain, read_columns
from pipelines.ingest.opendatasoft import SEPARATOR

HOURS = [f"{h:02}_00_{h + 1:02}_00" for h in range(24)]
ACCURACY_HOURS = [f"{h:02}_00_{h + 1:02}" for h in range(24)]
_OPTIONAL = ("id_uni", "nome_via", "direzione", "geopoint")


def _named(path: Path, wanted: list[str]) -> dict[str, str]:
    """Field name to the column as this export writes it; labels and names are both known."""
    found = {plain(name): name for name in header_of(path, SEPARATOR)}
    if lacking := [name for name in wanted if name not in found]:
        raise FelsinaError(
            f"{path}: no column {', '.join(lacking[:3])}; it has {', '.join(found)[:200]}; the "
            "portal may have changed its form"
        )
    return found


def flows(path: Path) -> tuple[pd.DataFrame, FloatArray]:
    """Rows (code, day, id_uni, nome_via, direzione, geopoint) and their counts [R, 24]."""
    found = _named(path, ["codice_spira", "data", *HOURS])
    texts = ["codice_spira", "data", *(name for name in _OPTIONAL if name in found)]
    types = {found[name]: pa.dictionary(pa.int32(), pa.string()) for name in texts}
    counts = {found[name]: pa.int64() for name in HOURS}
    table = read_columns(path, types | counts, SEPARATOR)
    rows = pd.DataFrame({name: _texts(table[found[name]]) for name in texts})
    rows = rows.reindex(columns=["codice_spira", "data", *_OPTIONAL], fill_value="")
    rows["day"] = _days(rows.pop("data").to_numpy(object), path, found["data"])
    rows["lon"], rows["lat"] = np.nan, np.nan
    if "geopoint" in found:
        rows["lon"], rows["lat"] = geopoints(rows["geopoint"].to_numpy(object), path, "geopoint")
    hours = np.empty((len(rows), 24), np.float32)
    for h, name in enumerate(HOURS):
        hours[:, h] = table[found[name]].to_numpy(zero_copy_only=False)
    return rows, hours


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """A column of few texts as objects, empty where missing."""
    values = column.to_pandas().array
    return np.append(np.asarray(values.categories, object), "")[values.codes]


def _days(texts: np.ndarray, path: Path, name: str) -> pd.DatetimeIndex:
    codes, unique = pd.factorize(texts)
    days = [str(text)[:10] for text in unique]
    days = pd.DatetimeIndex(pd.to_datetime(days, format="%Y-%m-%d", errors="coerce"))
    if days.isna().any():
        bad = int(np.flatnonzero(days.isna())[0])
        row = int(np.flatnonzero(codes == bad)[0])
        raise FelsinaError(
            f"{path}: line {row + 2}, {name}: {texts[row]!r} is no day like 2024-03-01"
        )
    return days.take(codes)


def accuracy(path: Path, rows: pd.DataFrame) -> FloatArray:
    """Percent measured of each row's hours, [R, 24]; NaN where nothing is said."""
    found = _named(path, ["codice_spira_2", "data_2", *ACCURACY_HOURS])
    names = [found[n] for n in ("codice_spira_2", "data_2", *ACCURACY_HOURS)]
    table = read_columns(
        path, dict.fromkeys(names, pa.dictionary(pa.int32(), pa.string())), SEPARATOR
    )
    code, day = _texts(table[names[0]]), _days(_texts(table[names[1]]), path, names[1])
    share = np.empty((len(code), 24), np.float32)
    for h, name in enumerate(names[2:]):
        share[:, h] = _percent(table[name], path, name)
    key = pd.Index(_joined(code, day))
    wanted = _joined(rows["codice_spira"], rows["day"])
    if key.has_duplicates:  # of two loops of one code the less certain speaks
        at, key = key.factorize()
        lowest = np.full((len(key), 24), np.inf, np.float32)
        np.fmin.at(lowest, at, share)
        share = np.where(np.isinf(lowest), np.nan, lowest)
    at = key.get_indexer(wanted)
    return np.where(at[:, None] >= 0, share[at], np.nan)


def _joined(code: Iterable[str], day: Iterable[pd.Timestamp]) -> list[str]:
    return [f"{c}|{d.toordinal()}" for c, d in zip(code, day, strict=True)]


def _percent(column: pa.ChunkedArray, path: Path, name: str) -> FloatArray:
    """``85%`` as 85; below 0 (nothing is known) as 0: no evidence is no accuracy."""
    column = column.unify_dictionaries()
    out = [np.zeros(0, np.float32)]
    for chunk in column.chunks:
        texts = pc.utf8_rtrim(chunk.dictionary, characters="% ")
        good = pc.match_substring_regex(texts, r"^-?\d+([.,]\d+)?$")
        if pc.all(good).as_py() is False:
            bad = next(
                t for t, ok in zip(texts.to_pylist(), good.to_pylist(), strict=True) if not ok
            )
            raise FelsinaError(f"{path}: {name}: {bad!r} is no percentage like 85%")
        known = pc.cast(pc.replace_substring(texts, ",", "."), pa.float32())
        values = np.maximum(known.to_numpy(zero_copy_only=False), 0.0)
        codes = chunk.indices.to_numpy(zero_copy_only=False)
        none = np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(len(codes), bool)
        taken = np.full(len(codes), np.nan, np.float32)
        taken[~none] = values[codes[~none].astype(np.int64)]
        out.append(taken)
    return np.concatenate(out)
