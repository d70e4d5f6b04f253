"""Public benchmark files become dataset folders with the published splits."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from pipelines.commands.ingest import ingest_one
from pipelines.domains.published import Published
from pipelines.domains.registry import published
from tests.fixtures import published as files
from tests.fixtures.tiny import SET_FLAGS
from training.dataset import CityDataset, open_dataset


def read(name: str, path: Path, folder: Path, **more) -> CityDataset:
    ingest_one(name, Published(path, **more), folder)
    return open_dataset(folder)


def test_eleven_benchmarks_are_known() -> None:
    names = "metr-la pems-bay pems03 pems04 pems07 pems08 etth1 etth2 ettm1 ettm2 camels"
    assert list(published()) == names.split()
    assert {d.name for d in published().values()} == {"traffic", "energy", "flood"}


def test_what_is_there_or_unknown_is_refused(tmp_path) -> None:
    path = files.metr_la(tmp_path / "metr-la.h5")
    with pytest.raises(FelsinaError, match="source 'odd' is unknown; use one of metr-la, pems-bay"):
        read("odd", path, tmp_path / "out")
    folder = tmp_path / "there"
    folder.mkdir()
    with pytest.raises(FelsinaError, match="there exists; name a folder that does not"):
        read("metr-la", path, folder)


def test_a_folder_that_does_not_validate_is_taken_away(tmp_path) -> None:
    path = files.metr_la(tmp_path / "metr-la.h5")
    with h5py.File(path, "a") as file:
        file["df/block0_values"][9, 1] = -3
    with pytest.raises(FelsinaError, match=r"column 767541: negative value -3.0"):
        read("metr-la", path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_metr_la_keeps_every_row_at_standard_time(tmp_path) -> None:
    path = files.metr_la(tmp_path / "metr-la.h5")
    dataset = read("metr-la", path, tmp_path / "out")
    assert dataset.graph.ids == files.SENSORS
    assert (dataset.spec.unit, dataset.spec.timezone) == ("mph", "Etc/GMT+8")
    assert dataset.start == np.datetime64("2012-03-09T08:00")
    with h5py.File(path) as file:
        values = file["df/block0_values"][:]
    assert (values == 0).any()
    np.testing.assert_allclose(dataset.values, np.where(values == 0, np.nan, values), rtol=1e-6)
    clock = dataset.builder().times(np.arange(len(values))) - np.timedelta64(8, "h")
    assert clock[288 * 2 + 24] == np.datetime64("2012-03-11T02:00")


def test_pems_bay_is_regular_on_the_civil_clock(tmp_path) -> None:
    dataset = read("pems-bay", files.pems_bay(tmp_path / "pems-bay.h5"), tmp_path / "out")
    assert dataset.graph.ids == ("400001", "400017", "400030")
    assert dataset.spec.timezone == "America/Los_Angeles"
    assert dataset.start == np.datetime64("2017-03-10T08:00")
    assert len(dataset.values) == 288 * 5 - 12
    assert not np.isnan(dataset.values).all(axis=1).any()


def test_windows_are_those_of_the_papers(tmp_path) -> None:
    dataset = read("metr-la", files.metr_la(tmp_path / "metr-la.h5"), tmp_path / "out")
    windows = 288 * 5 - 23
    train = dataset.splits.train(dataset.spec)
    test = dataset.splits.test(dataset.spec, dataset.start)
    # DCRNN: windows by their last row shown, from row 11 on; the first 70 %, the last 20 %.
    published_origins = np.arange(11, 11 + windows)
    np.testing.assert_array_equal(train, published_origins[: round(0.7 * windows)])
    np.testing.assert_array_equal(test, published_origins[-round(0.2 * windows) :])
    assert dataset.protocol == "masked"


def test_a_gap_in_the_stamps_becomes_missing_values(tmp_path) -> None:
    path = files.metr_la(tmp_path / "metr-la.h5", start="2012-03-01")
    with h5py.File(path, "a") as file:
        frame = file["df"]
        keep = np.r_[0:100, 103 : 288 * 5]
        kind = frame["axis1"].attrs["kind"]
        for part in ("axis1", "block0_values"):
            kept = frame[part][:][keep]
            del frame[part]
            frame[part] = kept
        frame["axis1"].attrs["kind"] = kind
    dataset = read("metr-la", path, tmp_path / "out")
    assert len(dataset.values) == 288 * 5
    assert np.isnan(dataset.values[100:103]).all()


def test_the_graph_is_dcrnns_kernel(tmp_path) -> None:
    path = files.metr_la(tmp_path / "metr-la.h5")
    graph = tmp_path / "distances_la_2012.csv"
    a, b, c = files.SENSORS
    rows = [(a, a, 0), (b, b, 0), (c, c, 0), (a, b, 500), (b, c, 4000), (c, a, 1000), (a, "9", 10)]
    lines = "".join(f"{s},{t},{d}\n" for s, t, d in rows)
    graph.write_text("from,to,cost\n" + lines)
    with_names = read("metr-la", path, tmp_path / "one", graph=graph).graph
    graph.write_text(lines)
    without = read("metr-la", path, tmp_path / "two", graph=graph).graph
    width = np.std([0, 0, 0, 500, 4000, 1000])
    expected = {(0, 1): np.exp(-((500 / width) ** 2)), (2, 0): np.exp(-((1000 / width) ** 2))}
    for found in (with_names, without):
        pairs = zip(found.source.tolist(), found.target.tolist(), strict=True)
        weights = dict(zip(pairs, found.weight.tolist(), strict=True))
        assert weights == pytest.approx(expected)
    assert np.exp(-((4000 / width) ** 2)) < 0.1


def npz(path: Path, days: int = 5) -> tuple[Path, np.ndarray]:
    rng = np.random.default_rng(0)
    data = rng.uniform(100, 150, (288 * days, 4, 3))
    data[3, 2, 0] = 0
    np.savez(path, data=data)
    return path, data


def test_pems_is_its_flow_from_the_papers_first_day(tmp_path) -> None:
    path, data = npz(tmp_path / "PEMS04.npz")
    graph = tmp_path / "PEMS04.csv"
    graph.write_text("from,to,cost\n0,1,310.5\n1,0,310.5\n2,1,80.1\n3,3,0\n")
    dataset = read("pems04", path, tmp_path / "out", graph=graph)
    flow = np.where(data[..., 0] == 0, np.nan, data[..., 0])
    np.testing.assert_allclose(dataset.values, flow, rtol=1e-6)
    assert dataset.start == np.datetime64("2018-01-01T08:00")
    edges = {*zip(dataset.graph.source.tolist(), dataset.graph.target.tolist(), strict=True)}
    assert edges == {(0, 1), (1, 0), (2, 1), (1, 2)}
    assert set(dataset.graph.weight) == {1.0}
    windows = 288 * 5 - 23
    assert len(dataset.splits.train(dataset.spec)) == round(0.6 * windows)
    assert len(dataset.splits.test(dataset.spec, dataset.start)) == round(0.2 * windows)


def test_an_even_grid_over_the_hour_that_november_repeats_is_kept(tmp_path) -> None:
    path, data = npz(tmp_path / "PEMS03.npz", days=91)
    dataset = read("pems03", path, tmp_path / "out")
    assert len(dataset.values) == len(data)
    assert dataset.spec.timezone == "Etc/GMT+8"


def test_pems03_names_its_sensors_by_id(tmp_path) -> None:
    path, _ = npz(tmp_path / "PEMS03.npz")
    graph, nodes = tmp_path / "PEMS03.csv", tmp_path / "PEMS03.txt"
    graph.write_text("from,to,distance\n317842,318721,0.3\n")
    with pytest.raises(FelsinaError, match=r"317842, 318721 is none of 0, 1, 2, \.\.\. 3.*--nodes"):
        read("pems03", path, tmp_path / "out", graph=graph)
    assert not (tmp_path / "out").exists()
    nodes.write_text("318721\n311903\n317842\n315955\n")
    dataset = read("pems03", path, tmp_path / "out", graph=graph, nodes=nodes)
    assert dataset.graph.ids == ("318721", "311903", "317842", "315955")
    assert [*zip(dataset.graph.source, dataset.graph.target, strict=True)] == [(2, 0), (0, 2)]
    nodes.write_text("318721\n311903\n")
    with pytest.raises(FelsinaError, match=r"2 ids, but .* holds 4 nodes"):
        read("pems03", path, tmp_path / "other", nodes=nodes)


def test_ett_is_cut_to_twenty_months(tmp_path) -> None:
    path = files.etth1(tmp_path / "ETTh1.csv")
    dataset = read("etth1", path, tmp_path / "out", horizon=192)
    spec = dataset.spec
    assert dataset.graph.ids == ("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT")
    assert (spec.lookback, spec.horizon, spec.nonnegative) == (336, 192, False)
    assert len(dataset.values) == 20 * 30 * 24
    table = pd.read_csv(path).iloc[: 20 * 30 * 24, 1:]
    np.testing.assert_allclose(dataset.values, table, rtol=1e-6)
    assert dataset.start == np.datetime64("2016-06-30T16:00")
    assert len(dataset.splits.train(spec)) == 12 * 30 * 24 - 336 - 192 + 1
    test = dataset.splits.test(spec, dataset.start)
    assert (test[0] + 1, test[-1] + 192) == (16 * 30 * 24, 20 * 30 * 24 - 1)
    assert dataset.protocol == "standardised"


def test_camels_is_runoff_with_its_weather(tmp_path) -> None:
    root = files.camels(tmp_path / "camels")
    attributes = root / "camels_attributes_v2.0"
    attributes.mkdir()
    (attributes / "camels_topo.txt").write_text(
        "gauge_id;gauge_lat;gauge_lon;elev_mean\n01013500;47.23739;-68.58264;250.31\n"
    )
    dataset = read("camels", root, tmp_path / "out")
    spec = dataset.spec
    assert dataset.graph.ids == tuple(files.BASINS)
    np.testing.assert_allclose(dataset.graph.lon, [-68.58264, np.nan])
    assert [f.name for f in spec.known_future] == ["prcp", "srad", "tmax", "tmin", "vp"]
    assert (dataset.start, len(dataset.values)) == (np.datetime64("1985-10-01"), 7305)
    day = (np.datetime64("2000-01-01") - dataset.start).astype("timedelta64[D]").astype(int)
    assert np.isnan(dataset.values[:, 0]).nonzero()[0].tolist() == [day]
    lines = (root / "usgs_streamflow/17/14400000_streamflow_qc.txt").read_text().splitlines()
    (cubic_feet,) = (float(x.split()[4]) for x in lines if x.startswith("14400000 2000 01 02"))
    litres = cubic_feet * 28.316846592 * 86400
    assert dataset.values[day + 1, 1] == pytest.approx(litres / 702_000_000, rel=1e-5)
    assert dataset.forcings is not None
    np.testing.assert_allclose(dataset.forcings[day, 0, 1:], [200, 12.5, 2.25, 700])
    origins = dataset.splits.test(spec, dataset.start)
    assert len(origins) == (pd.Timestamp("2005-10-01") - pd.Timestamp("1995-10-01")).days
    assert dataset.protocol == "efficiency"
    assert "Kratzert" in dataset.header["source"]["note"]


def spoil_key(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["df/block0_values"]


def spoil_shape(path: Path) -> None:
    with h5py.File(path, "a") as file:
        values = file["df/block0_values"][:]
        del file["df/block0_values"]
        file["df/block0_values"] = values.T


def spoil_stamp(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["df/axis1"][7] = file["df/axis1"][6]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_key, r"found \{'df': \['axis0', 'axis1', 'block0_items'\]\}; expected one pandas"),
        (spoil_shape, r"found values \(3, 1440\) for stamps \(1440,\)"),
        (spoil_stamp, "stamp 2012-03-09 00:30:00 stands twice"),
        (lambda path: path.write_bytes(b"no h5"), "metr-la.h5: .*; expected one pandas frame"),
        (lambda path: files.metr_la(path, days=0), "holds no values"),
    ],
)
def test_a_spoilt_frame_is_refused(tmp_path, spoil, said) -> None:
    path = files.metr_la(tmp_path / "metr-la.h5")
    spoil(path)
    refused("metr-la", path, tmp_path / "out", said)


def refused(name: str, path: Path, folder: Path, said: str, **more) -> None:
    with pytest.raises(FelsinaError, match=said) as error:
        read(name, path, folder, **more)
    assert str(path) in str(error.value) or more
    assert "\n" not in str(error.value)
    assert not folder.exists()


def test_other_spoilt_files_are_refused(tmp_path) -> None:
    folder = tmp_path / "out"
    path = tmp_path / "x.npz"
    np.savez(path, flow=np.zeros(3))
    refused("pems08", path, folder, "found keys flow; expected a .npz with key data")
    np.savez(path, data=np.zeros((30, 4)))
    refused("pems08", path, folder, r"found data float64 \(30, 4\)")
    path.write_text("text")
    refused("pems08", path, folder, "no .npz file")
    csv = files.etth1(tmp_path / "ETTh1.csv", rows=24 * 500)
    refused("etth1", csv, folder, "found 12000 rows .* expected one every 1h for 600 days")
    refused("ettm1", csv, folder, "expected one every 15min")
    csv.write_text("date,OT\n2016-07-01,1\n")
    refused("etth1", csv, folder, "found columns date, OT; expected date, HUFL")
    csv.write_text("a,b\n1,2,3\n4\n5,6,7,8\n")
    refused("etth1", csv, folder, "expected a CSV with columns date")
    refused("etth1", csv, folder, "has no graph; leave it out", graph=csv)
    refused("camels", tmp_path, folder, "found no usgs_streamflow/HUC/ID_streamflow_qc.txt")
    refused("metr-la", tmp_path / "absent.h5", folder, "is missing; name metr-la.h5 of DCRNN")


def test_spoilt_distances_are_refused(tmp_path) -> None:
    path, graph = files.metr_la(tmp_path / "metr-la.h5"), tmp_path / "d.csv"
    for text, said in {
        "from,to\n1,2\n": "2 columns; write from, to, cost",
        "from,to,cost\n1,2,x\n": "cost 'x' of pair 1 is no distance",
        "from,to,cost\n1,2,3\n": "names none of the sensors, 773869, 767541, 767542",
        "": "expected a CSV of from, to, cost",
    }.items():
        graph.write_text(text)
        refused("metr-la", path, tmp_path / "out", said, graph=graph)


def test_a_spoilt_basin_is_refused_by_file(tmp_path) -> None:
    root = files.camels(tmp_path / "camels")
    weather = root / "basin_mean_forcing/daymet/17/14400000_lump_cida_forcing_leap.txt"
    text = weather.read_text()
    weather.write_text(text.replace("prcp(mm/day)", "rain"))
    with pytest.raises(
        FelsinaError, match=r"14400000_lump.*: no column prcp\(mm/day\); found Year"
    ):
        read("camels", root, tmp_path / "out")
    weather.write_text(text.replace("702000000", "area"))
    with pytest.raises(FelsinaError, match="expected lines of latitude, elevation and area"):
        read("camels", root, tmp_path / "out")
    weather.unlink()
    with pytest.raises(FelsinaError, match=r"no basin_mean_forcing.* for basin 14400000"):
        read("camels", root, tmp_path / "out")


@pytest.mark.slow
def test_a_benchmark_file_is_scored_by_its_protocol_in_two_commands(
    tmp_path, run, monkeypatch
) -> None:
    monkeypatch.setenv("FELSINA_HOME", str(tmp_path / "home"))
    path, folder = files.metr_la(tmp_path / "metr-la.h5", days=5), tmp_path / "metr-la"
    graph = tmp_path / "distances.csv"
    a, b, c = files.SENSORS
    graph.write_text(f"from,to,cost\n{a},{a},0\n{a},{b},100\n{b},{c},90\n{c},{a},999\n")
    flags, report_file = ("--dataset", str(folder)), tmp_path / "report.json"
    code, out, err = run("data", "ingest", "metr-la", str(path), *flags, "--graph", str(graph))
    assert code == 0, err
    assert out == f"{folder}: metr-la, 3 nodes, 2 edges x 1440 steps of 5min\n"
    code, out, err = run(
        "backtest", *flags, "--json", str(report_file), *SET_FLAGS, "--set", "lags=[]"
    )
    assert code == 0, err
    assert "metr-la: published protocol (masked)" in out
    report = json.loads(report_file.read_bytes())
    rows = {(r["model"], r["steps"]): r for r in report["protocol"]["rows"]}
    assert {steps for _, steps in rows} == {"3", "6", "12", "1-12"}
    for model, scores in report["models"].items():
        assert rows[model, "1-12"]["mae"] == pytest.approx(scores["mae"], rel=1e-6)
        assert rows[model, "3"]["mae"] == pytest.approx(scores["by_lead"]["3"]["mae"], rel=1e-6)
