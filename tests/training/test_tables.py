"""Tables of a folder: what is read as what."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.contracts import FelsinaError
from training.tables import finite, read_columns, read_graph


def write_nodes(folder: Path, text: str = "id,lon,lat\na,11.3,44.4\nb,,\nc,11.5,44.5\n") -> Path:
    (folder / "nodes.csv").write_text(text)
    return folder


def stamps(periods: int = 5, step: str = "1h") -> pd.DatetimeIndex:
    return pd.date_range("2024-02-05", periods=periods, freq=step, tz="UTC")


def test_columns_come_as_floats_on_a_utc_index(tmp_path):
    path = tmp_path / "series.parquet"
    table = pd.DataFrame({"time": stamps(), "a": np.arange(5), "b": pd.array([1, None, 3, 4, 5])})
    table.to_parquet(path, index=False)
    read = read_columns(path, "1h")
    assert read.index.equals(stamps())
    assert str(read.index.tz) == "UTC"
    assert (read.dtypes == "float64").all()
    assert np.isnan(read["b"].iloc[1])
    assert read["a"].tolist() == [0, 1, 2, 3, 4]


def test_time_may_be_the_index_of_the_frame(tmp_path):
    path = tmp_path / "series.parquet"
    pd.DataFrame({"a": np.arange(5.0)}, index=stamps().rename("time")).to_parquet(path)
    assert read_columns(path, "1h").index.equals(stamps())


@pytest.mark.parametrize("step", ["5min", "15min", "1D"])
def test_every_step_is_a_regular_grid(tmp_path, step):
    path = tmp_path / "series.parquet"
    frequency = {"1D": "1D"}.get(step, step)
    pd.DataFrame({"time": stamps(9, frequency), "a": 1.0}).to_parquet(path, index=False)
    assert len(read_columns(path, step)) == 9
    with pytest.raises(FelsinaError, match="irregular"):
        read_columns(path, "1h")


def test_a_column_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "series.parquet"
    columns = [pa.array(stamps()), pa.array(np.ones(5)), pa.array(np.zeros(5))]
    pq.write_table(pa.Table.from_arrays(columns, names=["time", "a", "a"]), path)
    with pytest.raises(FelsinaError) as caught:
        read_columns(path, "1h")
    text = str(caught.value)
    assert "series.parquet" in text
    assert "a" in text.split(str(path))[1]
    assert "\n" not in text


def test_the_first_offending_rows_are_listed(tmp_path):
    path = tmp_path / "series.parquet"
    index = stamps(20)
    broken = index[[0, 1, 1, 3, 4, 4, 6, 7, 7, 7, 10]]
    pd.DataFrame({"time": broken, "a": 1.0}).to_parquet(path, index=False)
    with pytest.raises(FelsinaError) as caught:
        read_columns(path, "1h")
    text = str(caught.value)
    assert "rows 2, 5, 8" in text
    assert "2024-02-05 01:00" in text
    assert "2024-02-05 04:00" in text


def test_the_first_infinite_value_and_their_number_are_told(tmp_path):
    table = pd.DataFrame({"a": [1.0, np.nan, 3.0], "b": [1.0, np.inf, -np.inf]}, stamps(3))
    finite(tmp_path / "x.parquet", table[["a"]])
    with pytest.raises(FelsinaError) as caught:
        finite(tmp_path / "x.parquet", table)
    assert "column b" in str(caught.value)
    assert "2024-02-05 01:00" in str(caught.value)
    assert "2 in all" in str(caught.value)


def test_nodes_without_place_or_name(tmp_path):
    graph = read_graph(write_nodes(tmp_path))
    assert graph.ids == graph.names == ("a", "b", "c")
    assert np.isnan(graph.lon[1])
    assert graph.lat[2] == 44.5
    assert graph.areas == ("", "", "")
    assert np.isnan(graph.thresholds).all()
    assert graph.attributes == {}
    assert len(graph.source) == 0


def test_names_areas_thresholds_and_attributes_are_read(tmp_path):
    text = "id,name,area,threshold_1,threshold_2,threshold_3,river\n"
    graph = read_graph(write_nodes(tmp_path, text + "a,Reno,7,1,1.5,2,R\nNA,,07,,,,S\n"))
    assert graph.ids == ("a", "NA")
    assert graph.names == ("Reno", "NA")
    assert graph.areas == ("7", "07")
    assert graph.thresholds[0].tolist() == [1, 1.5, 2]
    assert np.isnan(graph.thresholds[1]).all()
    assert graph.attributes == {"river": ("R", "S")}


def edges_of(folder: Path, text: str):
    write_nodes(folder)
    (folder / "edges.csv").write_text(text)
    return read_graph(folder)


def test_edges_keep_their_direction_and_weight(tmp_path):
    graph = edges_of(tmp_path, "source,target,weight\na,c,2\nc,b,0.25\n")
    assert graph.source.tolist() == [0, 2]
    assert graph.target.tolist() == [2, 1]
    assert graph.weight.tolist() == [2, 0.25]


def test_edges_without_weight_are_alike(tmp_path):
    assert edges_of(tmp_path, "source,target\na,c\nc,b\n").weight.tolist() == [1, 1]


def test_near_edges_weigh_more_than_far_ones(tmp_path):
    weight = edges_of(tmp_path, "source,target,distance_m\na,c,0\nc,b,100\nb,a,300\n").weight
    assert weight[0] == 1
    assert weight[0] > weight[1] > weight[2] > 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("source,target,weight\na,c,1\nc,b,0\n", ["weight", "'0'", "row 2", "positive"]),
        ("source,target,weight\na,c,heavy\n", ["weight", "heavy", "row 1"]),
        ("source,target,distance_m\na,c,-1\n", ["distance_m", "-1", "row 1", "0 or more"]),
        ("source,target\na,c\nq,r\nz,a\n", ["source", "q (row 2)", "z (row 3)", "nodes.csv"]),
        ("source,weight\na,1\n", ["target", "missing"]),
        ("source,target\n", ["no rows"]),
        ("", ["not a CSV"]),
    ],
)
def test_edges_are_refused_by_row(tmp_path, text, words):
    with pytest.raises(FelsinaError) as caught:
        edges_of(tmp_path, text)
    assert "edges.csv" in str(caught.value)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("value", ["east", "inf", "1,0"])
def test_a_place_that_is_no_number_is_refused(tmp_path, value):
    with pytest.raises(FelsinaError) as caught:
        read_graph(write_nodes(tmp_path, f'id,lon\na,11\nb,"{value}"\n'))
    assert "nodes.csv" in str(caught.value)
    assert "column lon" in str(caught.value)
    assert "row 2" in str(caught.value)
