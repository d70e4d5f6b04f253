"""Bologna's statistical areas with income and fragility: what an audit groups places by.

Three whole exports of the city's portal, whose columns were read off copies of 2024:
``aree-statistiche`` (90 outlines), ``indici-di-fragilita-dal-2021`` (a row an area and year) and
``redditi-per-area-statistica`` (mean taxable income since 2009). They become ``areas/areas.toml``,
its table and outlines, as ``felsina audit --areas`` reads them; no model sees them.

Two faults of the source are mended, both in the fragility table of 2022: incomes in thousands of
euro, and residents divided by 1 000 wherever they had a thousands separator. Of residents the last
year is taken whose sum is that of a city.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from models.contracts import FelsinaError
from pipelines.ingest.columns import header_of, plain, read_columns
from pipelines.ingest.opendatasoft import INTERRUPTED, SEPARATOR, export_url
from pipelines.ingest.source import Ask, Settings, Source, Span, Tables

_DATASETS = {
    "outlines": ("aree-statistiche", "geojson"),
    "fragility": ("indici-di-fragilita-dal-2021", "csv"),
    "income": ("redditi-per-area-statistica", "csv"),
}
_FRAGILITY = {
    "cod_area_statistica": "area_code",
    "anno": "year",
    "popolazione_residente": "residents",
    "residenti_oltre_65_anni_che_vive_sola": "over65_alone_pct",
    "stranieri_0_19_anni": "foreign_0_19_pct",
    "reddito_pro_capite_mediano_delle_famiglie": "median_family_income_pc_eur",
    "indice_complessivo_fragilita": "frag_overall",
}
_LEAST_RESIDENTS = 300_000
_THOUSANDS_EUR = 1000.0
_ATTRIBUTES = [
    "mean_income_eur",
    "median_family_income_pc_eur",
    "over65_alone_pct",
    "foreign_0_19_pct",
    "frag_overall",
]
_TOML = """# Statistical areas of Bologna: felsina audit --areas areas/areas.toml
table = "area_attributes.csv"
outlines = "areas.geojson"
code = "area_code"
levels = ["area", "zona", "quartiere"]
residents = "residents"
attributes = {attributes}
attribution = "Comune di Bologna, Open Data, CC BY 4.0"
"""


class AreaSettings(Settings):
    """What can be set: the portal's host."""

    host: str = "https://opendata.comune.bologna.it"


def _asks(settings: AreaSettings, span: Span) -> list[Ask]:
    return [
        Ask(key, export_url(settings.host, dataset, kind, labels=True), broken_by=INTERRUPTED)
        for key, (dataset, kind) in _DATASETS.items()
    ]


def _read(settings: AreaSettings, documents: dict[str, Path], nodes: pd.DataFrame | None) -> Tables:
    outlines, areas = _outlines(documents["outlines"])
    years = _fragility(documents["fragility"])
    table = areas.merge(_latest(years), on="area_code", how="left")
    income = _income(documents["income"])
    table["mean_income_eur"] = [income.get(_key(name), np.nan) for name in table["area"]]
    lacking = int(np.isnan(table["mean_income_eur"].to_numpy(float)).sum())
    if lacking > len(table) / 2:
        raise FelsinaError(
            f"{documents['income']}: no income for {lacking} of {len(table)} areas; the "
            "portal may have changed their names"
        )
    names = ", ".join(f'"{name}"' for name in _ATTRIBUTES)
    files = {
        "areas/areas.toml": _TOML.format(attributes=f"[{names}]").encode(),
        "areas/area_attributes.csv": table.to_csv(index=False, float_format="%.10g").encode(),
        "areas/areas.geojson": outlines,
    }
    notes = [f"{len(table)} areas: felsina audit --areas DIR/areas/areas.toml"]
    return Tables(files=files, notes=notes)


def _outlines(path: Path) -> tuple[bytes, pd.DataFrame]:
    """GeoJSON with ``area_code`` alone, and the areas' names and districts."""
    try:
        features = json.loads(path.read_bytes())["features"]
        rows = []
        for feature in features:
            said = {plain(name): value for name, value in feature["properties"].items()}
            code = int(said["codice_area_statistica"])
            names = {level: str(said[level]) for level in ("zona", "quartiere")}
            rows.append({"area_code": code, "area": str(said["area_statistica"])} | names)
            feature["properties"] = {"area_code": code}
    except (ValueError, KeyError, TypeError) as error:
        raise FelsinaError(
            f"{path}: {type(error).__name__}: {error}; expected GeoJSON of areas with "
            "codice_area_statistica, area_statistica, zona and quartiere"
        ) from error
    order = np.argsort([row["area_code"] for row in rows], kind="stable")
    kept = {"type": "FeatureCollection", "features": [features[n] for n in order]}
    return json.dumps(kept, separators=(",", ":")).encode(), pd.DataFrame([rows[n] for n in order])


def _columns(path: Path, wanted: dict[str, str]) -> pd.DataFrame:
    """Columns of a CSV export as numbers, under our names; any but one of text for the area."""
    found = {_key(plain(_ascii(name))): name for name in header_of(path, SEPARATOR)}
    if lacking := [name for name in wanted if _key(name) not in found]:
        raise FelsinaError(f"{path}: no column {lacking[0]}; it has {', '.join(found)[:300]}")
    types = {
        found[_key(name)]: pa.string() if new == "area" else pa.float64()
        for name, new in wanted.items()
    }
    table = read_columns(path, types, SEPARATOR)
    return pd.DataFrame({new: table[found[_key(name)]].to_pandas() for name, new in wanted.items()})


def _fragility(path: Path) -> pd.DataFrame:
    table = _columns(path, _FRAGILITY)
    income = table["median_family_income_pc_eur"].to_numpy(float)
    table["median_family_income_pc_eur"] = np.where(income < _THOUSANDS_EUR, income * 1000, income)
    return table.astype({"area_code": int, "year": int})


def _latest(years: pd.DataFrame) -> pd.DataFrame:
    """The last year's indices, with the residents of the last year in which they are whole."""
    total: dict[int, float] = {}
    for year, residents in zip(years["year"], years["residents"].fillna(0.0), strict=True):
        total[int(year)] = total.get(int(year), 0.0) + float(residents)
    whole = [year for year, residents in total.items() if residents >= _LEAST_RESIDENTS]
    if not whole:
        raise FelsinaError(
            f"indici-di-fragilita: no year has {_LEAST_RESIDENTS} residents in all; the portal's "
            "numbers may have lost their thousands"
        )
    last = years.loc[years["year"] == years["year"].max()].drop(columns=["residents", "year"])
    counted = years.loc[years["year"] == max(whole), ["area_code", "residents"]]
    return last.merge(counted, on="area_code", how="outer")


def _income(path: Path) -> dict[str, float]:
    """Mean taxable income by area's name, of the last year."""
    table = _columns(
        path,
        {"anno_reddito": "year", "area_statistica": "area", "reddito_medio_contribuente": "income"},
    )
    last = table.loc[table["year"] == table["year"].max()]
    return {
        _key(str(name)): float(eur) for name, eur in zip(last["area"], last["income"], strict=True)
    }


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _key(name: str) -> str:
    """Names of areas agree but for accents, apostrophes and case."""
    return "".join(c for c in _ascii(name).lower() if c.isalnum())


SOURCE = Source(
    name="bologna-areas",
    publisher="Comune di Bologna",
    licence="CC BY 4.0",
    attribution="Comune di Bologna, Open Data",
    settings=AreaSettings,
    asks=_asks,
    read=_read,
    dated=False,
)
