"""Any CSV by a mapping file, in the notations and layouts that cities use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.domains.registry import source_of
from pipelines.ingest.run import Ingested, ingest
from training.dataset import open_dataset

DAYS = 40
MAPPING = """
domain = "energy"
target = "load"
unit = "kW"
step = "1h"
timezone = "Europe/Rome"
lookback = 24
horizon = 12
nonnegative = true
files = "data*.csv"
{keys}
[source]
publisher = "City of Modena"
licence = "CC0"
attribution = "Modena open data"
"""


def truth(start: str = "2024-10-10") -> pd.DataFrame:
    """Two meters over the end of summer time, in UTC."""
    begin = pd.Timestamp(start, tz="Europe/Rome")
    index = pd.date_range(begin, begin + pd.DateOffset(days=DAYS), freq="h", inclusive="left")
    rng = np.random.default_rng(0)
    values = rng.uniform(900, 3000, (len(index), 2)).round(1)
    return pd.DataFrame(values, index=index.tz_convert("UTC"), columns=pd.Index(["a", "b"]))


def local(table: pd.DataFrame, form: str) -> list[str]:
    return list(pd.DatetimeIndex(table.index).tz_convert("Europe/Rome").strftime(form))


def italian(value: float) -> str:
    return f"{value:,.1f}".replace(",", " ").replace(".", ",").replace(" ", ".")


def bring(folder: Path, keys: str, text: str, **more: Any) -> Ingested:
    folder.mkdir(exist_ok=True)
    (folder / "mapping.toml").write_text(MAPPING.format(keys=keys))
    (folder / "data.csv").write_text(text, encoding="utf-8")
    changes = {"path": str(folder / "mapping.toml")}
    return ingest(source_of("csv"), folder / "out", changes=changes, **more)


def values_of(folder: Path) -> pd.DataFrame:
    dataset = open_dataset(folder / "out")
    times = pd.DatetimeIndex(dataset.builder().times(np.arange(len(dataset.values))))
    return pd.DataFrame(
        dataset.values, index=times.tz_localize("UTC"), columns=pd.Index(dataset.graph.ids)
    )


LONG = 'time = ["day", "hour"]\ntime_format = "%d/%m/%Y %H.%M"\nnode = "meter"\nvalue = "kW"'
ITALIAN = 'separator = ";"\ndecimal = ","\nthousands = "."\n'


def long_text(table: pd.DataFrame) -> str:
    stamps = local(table, "%d/%m/%Y;%H.%M")
    rows = [
        f"{stamp};{node};{italian(value)}"
        for stamp, values in zip(stamps, table.to_numpy(), strict=True)
        for node, value in zip(table, values, strict=True)
    ]
    return "\n".join(["day;hour;meter;kW", *rows]) + "\n"


def test_a_long_table_in_italian_notation_over_the_end_of_summer_time(tmp_path) -> None:
    table = truth()
    bring(tmp_path, ITALIAN + LONG, long_text(table))
    pd.testing.assert_frame_equal(
        values_of(tmp_path), table.astype(np.float32), check_freq=False, check_index_type=False
    )
    dataset = open_dataset(tmp_path / "out")
    assert dataset.attribution == "Modena open data"
    assert dataset.header["source"]["licence"] == "CC0"


def test_a_column_a_node_with_a_forcing_and_places(tmp_path) -> None:
    table = truth()
    stamps = local(table, "%Y-%m-%dT%H:%M:%S%z")
    rows = [
        f"{s},{a},{b},{n % 24}"
        for n, (s, (a, b)) in enumerate(zip(stamps, table.to_numpy(), strict=True))
    ]
    keys = (
        'time = "at"\n[forcings.temp_c]\ncolumn = "air"\nunit = "degC"\nknown_future = true\n'
        '[places]\nfile = "places.csv"\nid = "code"\ngeopoint = "geo_point_2d"\n'
        'columns = {name = "street"}'
    )
    tmp_path.joinpath("places.csv").write_text(
        'code,geo_point_2d,street\nb,"44.64, 10.92",Via B\na,"44.65, 10.93",Via A\n'
    )
    bring(tmp_path, keys, "\n".join(["at,a,b,air", *rows]))
    dataset = open_dataset(tmp_path / "out")
    assert np.array_equal(dataset.values, table.to_numpy(np.float32))
    assert dataset.forcings is not None
    assert dataset.forcings[:30, 0, 0].tolist() == [n % 24 for n in range(30)]
    assert dataset.spec.forcings[0].known_future
    assert (dataset.graph.lon.tolist(), dataset.graph.names) == ([10.93, 10.92], ("Via A", "Via B"))
    assert len(dataset.graph.source) == 2


def test_several_steps_a_row(tmp_path) -> None:
    table = truth("2024-05-01")
    hours = [f"h{h:02}" for h in range(24)]
    rows = []
    for day, part in table.groupby(pd.DatetimeIndex(table.index).tz_convert("Europe/Rome").date):
        rows += [f"{day},{node}," + ",".join(map(str, part[node])) for node in table]
    keys = f'time = "day"\nnode = "meter"\nvalue = {hours}'.replace("'", '"')
    bring(tmp_path, keys, "\n".join([",".join(["day", "meter", *hours]), *rows]))
    assert np.array_equal(values_of(tmp_path), table.to_numpy(np.float32))


def test_a_later_file_revises_and_is_counted(tmp_path) -> None:
    table = truth("2024-05-01")
    keys = ITALIAN + LONG
    bring(tmp_path, keys, long_text(table))
    changed = table.iloc[-48:].copy()
    changed.iloc[:5, 0] += 1
    tmp_path.joinpath("data2.csv").write_text(long_text(changed))
    done = bring(tmp_path, keys, long_text(table))
    assert (done.changes.added, done.changes.revised, done.changes.withdrawn) == (0, 5, 0)
    table.iloc[-48:] = changed
    assert np.array_equal(values_of(tmp_path), table.to_numpy(np.float32))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("10/10/2024;03.00;b", "10/13/2024;03.00;b", "line 9, day, hour: '10/13/2024 03"),
        ("\n10/10/2024;03.00;a;", "\n10/10/2024;03.00;a;n.x.", "data.csv: line 8, kW: 'n.x."),
        ("\n10/10/2024;03.00;a;", "\n10/10/2024;03.00;a;-", "line 8, kW: -.* is negative, but the"),
        ("day;hour;meter;kW", "day;hour;meter;kWh", "no column kW; it has day, hour, meter, kWh"),
        ("\n10/10/2024;03.00;b;", "\n10/10/2024;03.07;b;", "is not 1h times n after"),
        ("\n10/10/2024;03.00;b;", "\n10/10/2024;03.00;;", "data.csv: line 9, meter: empty"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, old, new, said) -> None:
    text = long_text(truth())
    assert old in text
    with pytest.raises(FelsinaError, match=said) as error:
        bring(tmp_path, ITALIAN + LONG, text.replace(old, new))
    assert "\n" not in str(error.value)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["raw"]
    bring(tmp_path, ITALIAN + LONG, text)
    assert (tmp_path / "out" / "series.parquet").exists()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (LONG + '\nnode = "x"', "mapping.toml: no TOML"),
        ('time = "at"\nnode = "meter"', "give node and value, or neither"),
        ('time = "at"\nodd = 1', "mapping.toml: odd = 1: extra inputs are not permitted"),
        ('time = "at"\ndecimal = ","\nthousands = ","', "decimal and thousands are both ','"),
    ],
)
def test_a_wrong_mapping_is_told_by_its_key(tmp_path, keys, said) -> None:
    with pytest.raises(FelsinaError, match=said):
        bring(tmp_path, keys, "x\n")
    assert not (tmp_path / "out").exists()


def test_what_the_owner_set_stays(tmp_path) -> None:
    text = long_text(truth())
    bring(tmp_path, ITALIAN + LONG, text)
    path = tmp_path / "out" / "dataset.toml"
    mine = path.read_text().replace("lookback = 24", "lookback = 36  # a day and a half")
    path.write_text(mine)
    bring(tmp_path, ITALIAN + LONG, text)
    assert path.read_text() == mine
