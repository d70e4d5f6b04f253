"""What an opened dataset folder holds, and what is written back."""

import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import header, make_dataset, make_graph, make_series
from tests.spoiling import edit_table, put
from training import dataset as module
from training.dataset import open_dataset, write_dataset

DATA = os.environ.get("FELSINA_DATA")
real = pytest.mark.skipif(not DATA, reason="FELSINA_DATA is not set: no real data here")


def test_what_was_written_is_read_back(folder, dataset):
    series, forcings = make_series()
    assert dataset.start == np.datetime64("2024-02-05T00:00:00")
    np.testing.assert_array_equal(dataset.values, series.to_numpy(np.float32))
    np.testing.assert_array_equal(dataset.forcings[:, 0], forcings.to_numpy(np.float32))
    assert dataset.header == header()
    graph = make_graph()
    assert (dataset.graph.ids, dataset.graph.names) == (graph.ids, graph.names)
    assert dataset.graph.areas == graph.areas
    np.testing.assert_allclose(dataset.graph.lon, graph.lon)
    assert dataset.graph.source.tolist() == [0, 1, 2, 3]
    assert dataset.graph.target.tolist() == [1, 2, 3, 0]
    assert dataset.graph.weight.tolist() == [0.5, 1, 1, 2]
    assert dataset.spec.lags == ()
    assert dataset.spec.country == "IT-BO"
    assert dataset.synthetic
    assert dataset.attribution == "made by a test"


def test_spans_are_rows_of_the_series(dataset):
    times = dataset.builder().times(np.arange(dataset.splits.steps))
    assert times[dataset.splits.train_end] == np.datetime64("2024-03-20T00:00:00")
    assert times[dataset.splits.validation_end] == np.datetime64("2024-04-05T00:00:00")
    assert dataset.splits.steps == len(dataset.values)


def test_digests_are_those_of_the_files(dataset, copy):
    assert set(dataset.digests) == set(module.FILES)
    (copy / "edges.csv").unlink()
    other = open_dataset(copy).digests
    assert set(other) == set(module.FILES) - {"edges.csv"}
    assert other["series.parquet"] == dataset.digests["series.parquet"]
    edit_table("series", put(0, "a", 12345.0))(copy)
    assert open_dataset(copy).digests["series.parquet"] != other["series.parquet"]


def test_columns_follow_the_order_of_the_nodes(copy, dataset):
    edit_table("series", lambda t: t[["d", "time", "b", "a", "c"]])(copy)
    np.testing.assert_array_equal(open_dataset(copy).values, dataset.values)


def test_stamps_of_another_zone_are_the_same_moments(copy, dataset):
    edit_table("series", lambda t: t.assign(time=t["time"].dt.tz_convert("Asia/Tokyo")))(copy)
    again = open_dataset(copy)
    assert again.start == dataset.start
    np.testing.assert_array_equal(again.values, dataset.values)


def test_a_folder_without_edges_or_forcings_opens(tmp_path):
    folder = make_dataset(tmp_path / "bare", forcings=[])
    (folder / "edges.csv").unlink()
    (folder / "forcings.parquet").unlink()
    dataset = open_dataset(folder)
    assert dataset.forcings is None
    assert len(dataset.graph.source) == 0
    assert dataset.builder().batch(np.array([100])).past_forcings.shape == (1, 48, 1, 0)


def test_missing_values_and_negative_ones_where_they_may_be(tmp_path):
    folder = make_dataset(tmp_path / "signed", nonnegative=False)
    edit_table("series", put(9, "c", -4.0))(folder)
    assert open_dataset(folder).values[9, 2] == -4


def test_forcings_may_run_on_beyond_the_series(copy, dataset):
    """A forecast of the weather reaches beyond the last observation."""

    def longer(table: pd.DataFrame) -> pd.DataFrame:
        more = table.tail(24).copy()
        more["time"] += pd.Timedelta("24h")
        more["temp_c"], more["rain_mm"] = 21.5, np.nan
        return pd.concat([table, more])

    edit_table("forcings", longer)(copy)
    again = open_dataset(copy)
    steps = len(dataset.values)
    assert again.forcings.shape == (steps + 24, 1, 2)
    np.testing.assert_array_equal(again.forcings[:steps], dataset.forcings)
    window = again.builder().batch(np.array([steps - 1]))
    assert (window.future_forcings == 21.5).all()


def test_forcings_that_begin_or_end_elsewhere_are_aligned(copy, dataset):
    edit_table("forcings", lambda t: t.iloc[100:-50])(copy)
    forcings = open_dataset(copy).forcings
    assert forcings.shape == dataset.forcings.shape
    assert np.isnan(forcings[:100]).all()
    assert np.isnan(forcings[-50:]).all()
    np.testing.assert_array_equal(forcings[100:-50], dataset.forcings[100:-50])


def test_forcings_by_node_and_city_wide_ones_stand_side_by_side(copy, dataset):
    def by_node(table: pd.DataFrame) -> pd.DataFrame:
        rain = {f"rain_mm@{node}": table["rain_mm"] * k for k, node in enumerate("abc")}
        return table.drop(columns="rain_mm").assign(**rain)

    edit_table("forcings", by_node)(copy)
    forcings = open_dataset(copy).forcings
    rain = dataset.forcings[:, 0, 1]
    assert forcings.shape == (len(dataset.values), 4, 2)
    for node in range(3):
        np.testing.assert_allclose(forcings[:, node, 1], node * rain, rtol=1e-6)
    assert np.isnan(forcings[:, 3, 1]).all()
    for node in range(4):
        np.testing.assert_array_equal(forcings[:, node, 0], dataset.forcings[:, 0, 0])


def test_known_future_forcings_come_first_whatever_their_order(tmp_path, dataset):
    folder = make_dataset(tmp_path / "turned", forcings=header()["forcings"][::-1])
    again = open_dataset(folder)
    assert [forcing.name for forcing in again.spec.forcings] == ["temp_c", "rain_mm"]
    np.testing.assert_array_equal(again.forcings, dataset.forcings)


def test_an_undeclared_forcing_is_left_out(copy, dataset):
    edit_table("forcings", lambda t: t.assign(**{"wind@nobody": 1.0}))(copy)
    np.testing.assert_array_equal(open_dataset(copy).forcings, dataset.forcings)


def test_ids_that_look_like_numbers_stay_texts(tmp_path):
    index = pd.date_range("2024-02-05", periods=1680, freq="1h", tz="UTC")
    nodes = pd.DataFrame({"id": ["007", "10"], "area": ["01", ""], "lanes": ["2", "3"]})
    series = pd.DataFrame(np.ones((1680, 2)), index, ["10", "007"])
    write_dataset(tmp_path / "n", header(forcings=[]), nodes, series)
    dataset = open_dataset(tmp_path / "n")
    assert dataset.graph.ids == ("007", "10")
    assert dataset.graph.areas == ("01", "")
    assert dataset.graph.names == ("007", "10")
    assert dataset.graph.attributes == {"lanes": ("2", "3")}


def test_writing_again_replaces_the_whole_folder(tmp_path):
    folder = make_dataset(tmp_path / "tiny")
    (folder / "stray.txt").write_text("old")
    make_dataset(tmp_path / "tiny", seed=1)
    assert {path.name for path in folder.iterdir()} == set(module.FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_interrupted_write_leaves_the_old_folder(tmp_path, monkeypatch):
    folder = make_dataset(tmp_path / "tiny")
    before = open_dataset(folder).digests

    def interrupted(*_, **__):
        raise OSError("no space left")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", interrupted)
    with pytest.raises(OSError, match="no space"):
        make_dataset(folder, seed=1)
    monkeypatch.undo()
    assert open_dataset(folder).digests == before


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=40),
    st.integers(-(2**40), 2**40),
    st.booleans(),
    st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)),
)
def test_a_header_survives_toml(text, number, flag, stamp):
    record = header(
        source={"attribution": text, "year": number},
        synthetic=flag,
        splits={"train_end": stamp, "validation_end": stamp},
    )
    assert tomllib.loads(module._toml(record)) == record


@real
@pytest.mark.parametrize(
    ("name", "nodes", "steps"),
    [
        ("bologna-mts", 13, 6575),
        ("los-loop", 207, 2016),
        ("fontana-homes", 17, 8760),
        ("terna-north", 1, 35136),
        ("misa-stage", 6, 20399),
        ("emilia-discharge", 8, 4383),
    ],
)
def test_real_folders_open(name, nodes, steps):
    dataset = open_dataset(Path(str(DATA)) / "datasets" / name)
    assert dataset.values.shape == (steps, nodes)
    assert not dataset.synthetic
    assert dataset.attribution
