"""The CAMELS-US benchmark as a dataset folder: daily runoff of basins, with Daymet weather.

Newman et al. 2015 (doi:10.5194/hess-19-209-2015). Splits after Feng et al. 2020 (data integration,
doi:10.1029/2019WR026793), who also show the model yesterday's flow: ten years to September 1995
train, the last two of which validate here, and ten years to September 2005 test.

What this is not: Kratzert et al. 2019 (doi:10.5194/hess-23-5089-2019) train on 1999 to 2008 and
test on 1989 to 1999. There the test span lies before the train span, which a chronological split
cannot hold. And they *simulate* flow from weather alone, where Felsina forecasts it and also sees
the flow up to yesterday; its scores are no match for theirs. As with both papers, the weather of
the day forecast is the observed one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from models.contracts import FelsinaError
from pipelines.domains.published import Published, unreadable
from training.dataset import write_dataset

LOOKBACK, HORIZON = 365, 1
START, END = "1985-10-01", "2005-09-30"
TRAIN_END = datetime(1993, 10, 1, tzinfo=UTC)
VALIDATION_END = datetime(1995, 10, 1, tzinfo=UTC)
FORCINGS = {
    "prcp": ("prcp(mm/day)", "mm"),
    "srad": ("srad(W/m2)", "W/m2"),
    "tmax": ("tmax(C)", "degC"),
    "tmin": ("tmin(C)", "degC"),
    "vp": ("vp(Pa)", "Pa"),
}
"""Name to column of a Daymet file and unit."""
_WEATHER, _FLOW = "basin_mean_forcing/daymet", "usgs_streamflow"
_M3_IN_CUBIC_FOOT = 0.3048**3


def ingest(name: str, files: Published, folder: Path) -> None:
    """Write the basins of a CAMELS-US folder as a dataset folder.

    Args:
        name: ``camels``.
        files: the folder that holds ``basin_mean_forcing`` and ``usgs_streamflow``; where
            ``camels_topo.txt`` lies in it too, nodes get their place.
        folder: to write.

    Raises:
        FelsinaError: for a file that is missing or of another format.
    """
    files.refuse_graph(name)
    root = files.path
    flows = {p.name.partition("_")[0]: p for p in (root / _FLOW).glob("*/*_streamflow_qc.txt")}
    weather = (root / _WEATHER).glob("*/*_forcing_leap.txt")
    forced = {p.name.partition("_")[0]: p for p in weather}
    if not flows:
        raise FelsinaError(
            f"{root}: found no {_FLOW}/HUC/ID_streamflow_qc.txt; expected the CAMELS-US folder "
            f"that holds {_FLOW} and {_WEATHER}"
        )
    if absent := sorted(set(flows) - set(forced)):
        raise FelsinaError(
            f"{root}: no {_WEATHER}/HUC/ID_lump_cida_forcing_leap.txt for basin "
            f"{', '.join(absent[:5])}"
        )
    grid = pd.date_range(START, END, freq="1D", tz="UTC", name="time")
    series, forcings, nodes = {}, {}, []
    for basin in sorted(flows):
        area_m2, table = read_weather(forced[basin])
        nodes.append({"id": basin, "area_km2": round(area_m2 / 1e6, 3)})
        series[basin] = (read_flow(flows[basin]) * 86_400_000 / area_m2).reindex(grid)
        for forcing, column in table.reindex(grid).items():
            forcings[f"{forcing}@{basin}"] = column
    header: dict[str, Any] = {
        "name": name,
        "domain": "flood",
        "target": "runoff",
        "unit": "mm",
        "step": "1D",
        "timezone": "UTC",
        "lookback": LOOKBACK,
        "horizon": files.horizon or HORIZON,
        "nonnegative": True,
        "splits": {"train_end": TRAIN_END, "validation_end": VALIDATION_END},
        "evaluation": {"protocol": "efficiency"},
        "forcings": [
            {"name": forcing, "unit": unit, "known_future": True}
            for forcing, (_, unit) in FORCINGS.items()
        ],
        "source": {
            "publisher": "NCAR, CAMELS-US (Newman et al. 2015)",
            "licence": "not stated in the files",
            "attribution": "CAMELS-US: USGS streamflow, Daymet weather",
            "note": "runoff in mm a day; forecasts also see the flow up to the day before, unlike "
            "the simulations of Kratzert et al. 2019, whose test span lies before their train span",
        },
    }
    table = _placed(pd.DataFrame(nodes), root)
    write_dataset(folder, header, table, pd.DataFrame(series), None, pd.DataFrame(forcings))


def read_weather(path: Path) -> tuple[float, pd.DataFrame]:
    """Basin area in m2 and the forcings by UTC day of a Daymet file."""
    columns = [column for column, _ in FORCINGS.values()]
    try:
        with path.open() as stream:
            _latitude, _elevation, area_m2 = (float(stream.readline()) for _ in range(3))
            table = pd.read_csv(stream, sep=r"\s+")
        if absent := [c for c in ("Year", "Mnth", "Day", *columns) if c not in table]:
            found = ", ".join(map(str, table.columns))
            raise FelsinaError(f"{path}: no column {', '.join(absent)}; found {found}")
        if not area_m2 > 0:
            raise FelsinaError(f"{path}: area {area_m2} in line 3; expected m2 above 0")
        values = pd.DataFrame(
            table[columns].to_numpy(float), index=_days(table), columns=pd.Index(FORCINGS)
        )
    except (OSError, ValueError) as error:
        expected = "lines of latitude, elevation and area in m2, then a table"
        raise unreadable(path, error, expected) from error
    return area_m2, values


def read_flow(path: Path) -> pd.Series:
    """Flow in m3/s by UTC day of a USGS file, whose cubic feet a second are below 0 for a gap."""
    names = ["basin", "Year", "Mnth", "Day", "flow", "flag"]
    try:
        table = pd.read_csv(path, sep=r"\s+", header=None, names=names, dtype={"basin": str})
        flow = pd.Series(table["flow"].to_numpy(float), index=_days(table))
    except (OSError, ValueError) as error:
        expected = "columns basin, year, month, day, cubic feet a second, flag"
        raise unreadable(path, error, expected) from error
    return flow.mask(flow < 0) * _M3_IN_CUBIC_FOOT


def _days(table: pd.DataFrame) -> pd.DatetimeIndex:
    parts = table[["Year", "Mnth", "Day"]].set_axis(["year", "month", "day"], axis=1)
    days = pd.DatetimeIndex(pd.to_datetime(parts)).tz_localize("UTC")
    if days.has_duplicates:
        raise ValueError(f"{days[days.duplicated()][0]:%Y-%m-%d} stands twice")
    return days


def _placed(nodes: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Nodes with lon and lat, where ``camels_topo.txt`` lies in the folder."""
    found = sorted(root.rglob("camels_topo.txt"))
    if not found:
        return nodes
    try:
        topography = pd.read_csv(found[0], sep=";", dtype={"gauge_id": str})
        places = topography.set_index("gauge_id")[["gauge_lon", "gauge_lat"]]
    except (OSError, ValueError, KeyError) as error:
        expected = "gauge_id, gauge_lat and gauge_lon between semicolons"
        raise unreadable(found[0], error, expected) from error
    places = places.reindex(nodes["id"]).set_axis(["lon", "lat"], axis=1)
    return nodes.join(places.reset_index(drop=True))
