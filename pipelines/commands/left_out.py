"""``felsina audit left-out``: how wrong forecasts are where no sensor is."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rich.table import Table

from fairness.areas import read_outlines
from models.record import canonical_json, sha256_bytes, write_atomic
from pipelines.commands.terminal import Stages, answer, out, percent, plain_table, say
from pipelines.left_out import INDUCTIVE, VARIANTS, leave_out
from pipelines.left_out_map import draw_map, write_geojson
from pipelines.settings import home
from pipelines.train import open_registered, settings_for

RECORD, GEOJSON, PICTURE = "left_out.json", "areas.geojson", "map.png"
_SAID = {"seen": "with sensors", "new": "new sensor", "blind": "no sensor"}


def leave_out_one(
    dataset: Path,
    areas: Path | None,
    folds: int,
    folder: Path | None,
    profile: str,
    seed: int,
    assignments: list[str] | None,
    json: bool,
) -> None:
    """Leave areas out, write record, GeoJSON and map, and say what was found."""
    opened = open_registered(dataset)
    outlines = {} if areas is None else read_outlines(areas)
    folder = folder or home() / "left_out" / opened.spec.dataset
    settings = settings_for(opened, profile, seed, None, [*INDUCTIVE, *(assignments or [])])
    made_from = {
        "data": opened.digests,
        "settings": settings.model_dump(mode="json"),
        "folds": folds,
    }
    work = home() / "work" / f"left-out-{sha256_bytes(canonical_json(made_from))[:12]}"
    with Stages() as stages:
        stages.begin(opened.spec.dataset, f"{folds} parts of the city, each left out once")
        record = leave_out(opened, areas, folds, settings, work, stages)
    shutil.rmtree(work, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RECORD, canonical_json(record))
    write_geojson(record, outlines, folder / GEOJSON)
    draw_map(record, outlines, folder / PICTURE)
    if json:
        answer(record)
        return
    out.print(_table(record))
    worse = record["worse_by"]
    sure = "" if worse["low"] is None else f" ({worse['low']:+.0%} to {worse['high']:+.0%})"
    out.print(
        f"Where no sensor is the error is {worse['estimate']:+.0%} beside the sensors'{sure}."
    )
    if record["without"]:
        out.print(f"{len(record['without'])} areas have no sensor: nothing can be measured there.")
    say(f"record, GeoJSON and map in {folder}")


def _table(record: dict[str, Any]) -> Table:
    title = f"{record['dataset']}, {record['days']} days: error (WAPE) and how often the band holds"
    bands = (f"band, {_SAID[v]}" for v in VARIANTS)
    table = plain_table(title, ("area", "sensors", *(_SAID[v] for v in VARIANTS), *bands))
    for row in [*record["areas"], {"name": "mean of areas", "sensors": ""} | record["all"]]:
        wape = [percent(row[variant]["wape"]) for variant in VARIANTS]
        band = [percent(row[variant]["coverage_90"]) for variant in VARIANTS]
        table.add_row(row["name"], str(row["sensors"]), *wape, *band)
    return table
