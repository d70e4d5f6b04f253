"""Any CSV as a dataset, by a mapping file: long, one column a node, or several steps a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from models.calendar import zone
from models.contracts import FelsinaError, FloatArray, step_seconds
from pipelines.ingest.clock import utc_of
from pipelines.ingest.columns import float_of, geopoints, header_of, numbers, read_columns
from pipelines.ingest.csv_mapping import Mapping, read_mapping
from pipelines.ingest.grid import pivot
from pipelines.ingest.places import edges_between
from pipelines.ingest.source import Ask, ForcingUnit, Settings, Source, Span, Tables

_UNITS = {"unix": "s", "unix_ms": "ms"}


class CsvSettings(Settings):
    """Where the mapping file lies."""

    path: str = ""


def _asks(settings: CsvSettings, span: Span) -> list[Ask]:
    if not settings.path:
        raise FelsinaError("csv needs its mapping file: felsina data ingest csv MAPPING.toml")
    path = Path(settings.path)
    mapping = read_mapping(path)
    files = sorted({f for pattern in mapping.patterns() for f in path.parent.glob(pattern)})
    if not files:
        raise FelsinaError(f"{path}: files = {mapping.files!r} matches no file beside it")
    asks = [Ask("mapping", path), *(Ask(f"data-{file.name}", file) for file in files)]
    if mapping.places is not None:
        asks.append(Ask("places", path.parent / mapping.places.file))
    return asks


def _read(settings: CsvSettings, documents: dict[str, Path], nodes: pd.DataFrame | None) -> Tables:
    mapping = read_mapping(documents["mapping"])
    zone(mapping.timezone)
    parts, forcings, notes, unknown = [], [], [], 0
    for key, path in documents.items():
        if not key.startswith("data-"):
            continue
        try:
            rows, forced, lost = _rows(mapping, path)
        except FelsinaError as error:  # a person knows the file by its own name
            raise FelsinaError(str(error).replace(str(path), key.removeprefix("data-"))) from error
        parts.append(rows)
        forcings.append(forced)
        unknown += lost
    series, doubled = pivot(
        pd.DatetimeIndex(np.concatenate([r[0].asi8 for r in parts]).view("M8[ns]")).tz_localize(
            "UTC"
        ),
        np.concatenate([r[1] for r in parts]),
        np.concatenate([r[2] for r in parts]),
    )
    if unknown:
        notes.append(f"{unknown} values at hours that the clock skips or repeats were left out")
    if doubled:
        notes.append(f"{doubled} values were replaced by a later row of the same time and node")
    table = _places(mapping, documents, [str(c) for c in series.columns], notes)
    forced = pd.concat(forcings).groupby(level=0).last() if mapping.forcings else None
    return Tables(
        header=_header(mapping),
        nodes=table,
        series=series,
        edges=edges_between(table, mapping.neighbours),
        forcings=forced,
        forcing_units={
            name: ForcingUnit(f.unit, f.known_future, f.adds_up)
            for name, f in mapping.forcings.items()
        },
        notes=notes,
    )


def _header(mapping: Mapping) -> dict[str, Any]:
    keys = ("domain", "target", "unit", "step", "timezone", "lookback", "horizon", "nonnegative")
    return {key: getattr(mapping, key) for key in keys}


Rows = tuple[pd.DatetimeIndex, np.ndarray, FloatArray]


def _rows(mapping: Mapping, path: Path) -> tuple[Rows, pd.DataFrame, int]:
    """Times, node ids and values of a file; its forcings; how many values have no known time."""
    names = header_of(path, mapping.separator, mapping.encoding)
    used = {*mapping.times(), *(f.column for f in mapping.forcings.values())}
    if mapping.node:
        columns = mapping.values()
    else:
        columns = mapping.nodes or [n for n in names if n and n not in used]
    texts = dict.fromkeys(
        [*mapping.times(), *([mapping.node] if mapping.node else [])], pa.string()
    )
    plain = mapping.decimal == "." and not mapping.thousands
    kind = pa.float64() if plain else pa.string()
    numeric = [*columns, *(f.column for f in mapping.forcings.values())]
    table = read_columns(
        path,
        texts | dict.fromkeys(numeric, kind),
        mapping.separator,
        mapping.encoding,
        mapping.missing,
    )
    found = {
        name: table[name].to_numpy(zero_copy_only=False).astype(float)
        if plain
        else numbers(table[name], path, name, mapping.decimal, mapping.thousands)
        for name in numeric
    }
    values = np.stack([found[name] for name in columns], axis=1) * mapping.scale
    if mapping.nonnegative and (below := values < 0).any():
        row, column = np.argwhere(below)[0]
        raise FelsinaError(
            f"{path}: line {row + 2}, {columns[column]}: {values[row, column]:g} is negative, but "
            "the mapping says nonnegative; add it to missing, or set nonnegative = false"
        )
    stamps = _stamps(mapping, path, table)
    ids = np.broadcast_to(np.asarray(columns, object), values.shape)
    if mapping.node:
        names_of_rows = table[mapping.node].to_pandas()
        if names_of_rows.isna().any():
            row = int(np.flatnonzero(names_of_rows.isna())[0])
            raise FelsinaError(f"{path}: line {row + 2}, {mapping.node}: empty; drop the line")
        ids = np.broadcast_to(names_of_rows.to_numpy(object)[:, None], values.shape)
    later = np.arange(len(columns) if mapping.node else 1) * step_seconds(mapping.step)
    times = _utc(mapping, stamps, ids[:, : len(later)], later)
    cells = np.broadcast_to(times.asi8.reshape(len(stamps), -1), values.shape)
    flat = pd.DatetimeIndex(cells.ravel().view("M8[ns]")).tz_localize("UTC")
    lost = int((flat.isna() & ~np.isnan(values.ravel())).sum())
    forced = pd.DataFrame(
        {name: found[f.column] for name, f in mapping.forcings.items()},
        index=pd.DatetimeIndex(cells[:, 0].copy().view("M8[ns]")).tz_localize("UTC"),
    )
    return (flat, ids.ravel(), values.ravel()), forced.loc[forced.index.notna()], lost


def _utc(
    mapping: Mapping, stamps: pd.DatetimeIndex, ids: np.ndarray, later_s: np.ndarray
) -> pd.DatetimeIndex:
    """[rows x steps a row] the times of values, each ``later_s`` after its row's stamp."""
    if stamps.tz is not None:
        cells = stamps.tz_convert("UTC").asi8[:, None] + later_s[None, :] * 1_000_000_000
        return pd.DatetimeIndex(cells.ravel().view("M8[ns]")).tz_localize("UTC")
    cells = stamps.asi8[:, None] + later_s[None, :] * 1_000_000_000
    node = pd.factorize(ids.ravel())[0] if mapping.node else None
    found = utc_of(pd.DatetimeIndex(cells.ravel().view("M8[ns]")), mapping.timezone, node)
    return found.as_unit("ns")


def _stamps(mapping: Mapping, path: Path, table: pa.Table) -> pd.DatetimeIndex:
    """The rows' stamps in nanoseconds, naive unless the format tells a zone."""
    texts = table[mapping.times()[0]].to_pandas().fillna("")
    for name in mapping.times()[1:]:
        texts = texts + " " + table[name].to_pandas().fillna("")
    codes, unique = pd.factorize(texts)
    form = mapping.time_format
    try:
        if form in _UNITS:
            seconds = np.array([float_of(str(text)) for text in unique])
            stamps = pd.DatetimeIndex(pd.to_datetime(seconds, unit=_UNITS[form], utc=True))
        else:
            known = "ISO8601" if form == "iso" else form
            aware = "%z" in form or (form == "iso" and _offset(str(unique[0])))
            stamps = pd.DatetimeIndex(
                pd.to_datetime(unique, format=known, errors="coerce", utc=aware)
            )
    except ValueError as error:
        raise FelsinaError(f"{path}: {mapping.time}: {error}; set time_format") from error
    if stamps.isna().any():
        bad = int(np.flatnonzero(stamps.isna())[0])
        row = int(np.flatnonzero(codes == bad)[0])
        raise FelsinaError(
            f"{path}: line {row + 2}, {', '.join(mapping.times())}: {unique[bad]!r} is no stamp of "
            f"time_format = {form!r}; set what the file uses"
        )
    return stamps.as_unit("ns").take(codes)


def _offset(text: str) -> bool:
    return text.endswith("Z") or "+" in text[10:] or "-" in text[10:]


def _places(
    mapping: Mapping, documents: dict[str, Path], ids: list[str], notes: list[str]
) -> pd.DataFrame:
    said = mapping.places
    table = pd.DataFrame({"id": ids})
    if said is None:
        return table
    path = documents["places"]
    wanted = [n for n in (said.id, said.lon, said.lat, said.geopoint, *said.columns.values()) if n]
    rows = read_columns(
        path, dict.fromkeys(wanted, pa.string()), mapping.separator, mapping.encoding, [""]
    )
    known = pd.DataFrame({"id": rows[said.id].to_pandas()})
    if said.geopoint:
        texts = rows[said.geopoint].to_pandas().fillna("").to_numpy(object)
        known["lon"], known["lat"] = geopoints(texts, path, said.geopoint)
    else:
        for name, column in (("lon", said.lon), ("lat", said.lat)):
            if column:
                known[name] = numbers(rows[column], path, column, mapping.decimal)
    for name, column in said.columns.items():
        known[name] = rows[column].to_pandas()
    if (twice := known["id"].duplicated().to_numpy()).any():
        first = known["id"].tolist()[int(np.flatnonzero(twice)[0])]
        raise FelsinaError(f"{said.file}: {said.id} {first!r} stands twice; keep one row a node")
    if lacking := sorted(set(ids) - set(known["id"])):
        notes.append(f"{len(lacking)} nodes have no place in {said.file}, such as {lacking[0]}")
    return table.merge(known, on="id", how="left")


def _credit(documents: dict[str, Path]) -> dict[str, str]:
    return read_mapping(documents["mapping"]).source.model_dump()


SOURCE = Source(
    name="csv",
    publisher="",
    licence="",
    attribution="",
    settings=CsvSettings,
    asks=_asks,
    read=_read,
    targets=True,
    dated=False,
    credit=_credit,
)
