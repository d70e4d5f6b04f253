"""Where silence hides how much: the areas that were left out, as GeoJSON and as a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.colors import Normalize
from matplotlib.patches import Polygon

from models.contracts import FloatArray
from models.record import write_atomic

Outlines = dict[str, list[list[FloatArray]]]
"""Name of an area to its polygons, each a list of rings [P, 2]."""
_UNKNOWN = "#d9d9d9"


def write_geojson(record: dict[str, Any], outlines: Outlines, path: Path) -> None:
    """Write a feature an area: its outline, or the middle of its sensors, and its figures."""
    rows = {row["name"]: row for row in record["areas"]}
    features = []
    for name in [*rows, *record["without"]]:
        row = rows.get(name, {"name": name, "sensors": 0})
        polygons = [[ring.tolist() for ring in rings] for rings in outlines.get(name, [])]
        shape: dict[str, Any] | None = None
        if polygons:
            shape = {"type": "MultiPolygon", "coordinates": polygons}
        elif row.get("lon") is not None:
            shape = {"type": "Point", "coordinates": [row["lon"], row["lat"]]}
        told = {key: value for key, value in row.items() if key not in ("lon", "lat")}
        flat = {key: value for key, value in told.items() if not isinstance(value, dict)}
        for variant, figures in told.items():
            if isinstance(figures, dict):
                flat |= {f"{variant}_{name}": value for name, value in figures.items()}
        features.append({"type": "Feature", "geometry": shape, "properties": flat})
    collection = {"type": "FeatureCollection", "features": features}
    write_atomic(path, json.dumps(collection, ensure_ascii=False).encode())


def draw_map(record: dict[str, Any], outlines: Outlines, path: Path) -> None:
    """Draw the error of each area with its sensors and without them, in the same colours."""
    rows = [row for row in record["areas"] if row["lon"] is not None]
    if not rows:
        return
    figure, both = plt.subplots(1, 2, figsize=(10, 5), layout="constrained", sharex=True)
    worst = max(row["blind"]["wape"] or 0 for row in rows)
    scale = Normalize(0, worst)
    colour = plt.get_cmap("viridis_r")
    for axes, variant, title in zip(
        both, ("seen", "blind"), ("with their sensors", "where no sensor is"), strict=True
    ):
        for name in record["without"]:
            for rings in outlines.get(name, []):
                axes.add_patch(Polygon(rings[0], facecolor=_UNKNOWN, edgecolor="white"))
        for row in rows:
            value = row[variant]["wape"]
            face = _UNKNOWN if value is None else colour(scale(value))
            for rings in outlines.get(row["name"], []):
                axes.add_patch(Polygon(rings[0], facecolor=face, edgecolor="white"))
            axes.scatter(row["lon"], row["lat"], s=60, color=face, edgecolor="black", zorder=3)
            text = "?" if value is None else f"{value:.0%}"
            axes.annotate(text, (row["lon"], row["lat"]), (6, 4), textcoords="offset points")
        axes.set_title(f"{record['dataset']}: error {title}")
        axes.set_aspect(1.4)
        axes.margins(0.15)
        axes.spines[["top", "right"]].set_visible(False)
    label = "error as a share of what is observed; grey: no sensor, nothing known"
    figure.colorbar(plt.cm.ScalarMappable(scale, colour), ax=both, label=label)
    figure.savefig(path, dpi=110)
    plt.close(figure)
