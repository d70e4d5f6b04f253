"""The door: what a dataset folder may hold, and how everything else is refused."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.contracts import FelsinaError
from tests.spoiling import drop, edit_table, edit_text, edit_toml, put
from training.dataset import open_dataset

DATA = os.environ.get("FELSINA_DATA")
real = pytest.mark.skipif(not DATA, reason="FELSINA_DATA is not set: no real data here")


def refusal(folder: Path, **arguments) -> str:
    with pytest.raises(FelsinaError) as caught:
        open_dataset(folder, **arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert "\r" not in text
    return text


TOML = "dataset.toml"
REFUSALS = {
    # what dataset.toml may not say
    "no toml": (drop(TOML), [TOML, "missing", "--dataset"]),
    "not toml": (edit_toml("horizon = 6", "horizon 6"), [TOML, "no TOML"]),
    "no key": (edit_toml("horizon = 6", ""), [TOML, "horizon", "missing", "add"]),
    "unknown key": (edit_toml("horizon", "colour = 1\nhorizon"), [TOML, "colour", "lookback"]),
    "float": (edit_toml("horizon = 6", "horizon = 6.5"), [TOML, "horizon", "6.5", "int"]),
    "bool": (edit_toml("horizon = 6", "horizon = true"), [TOML, "horizon", "True", "int"]),
    "text": (edit_toml("lookback = 48", 'lookback = "48"'), [TOML, "lookback", "'48'", "int"]),
    "number": (edit_toml("nonnegative = true", "nonnegative = 1"), [TOML, "nonnegative", "bool"]),
    "zero": (edit_toml("lookback = 48", "lookback = 0"), [TOML, "lookback", "0", "at least 1"]),
    "name": (edit_toml('"tiny"', '"tiny set"'), [TOML, "tiny set", "hyphens"]),
    "unit": (edit_toml('"veh/h"', '"cars"'), [TOML, "cars", "veh/h"]),
    "step": (edit_toml('"1h"', '"7h"'), [TOML, "7h", "15min"]),
    "zone": (edit_toml("Europe/Rome", "Europe/Bologna"), [TOML, "Europe/Bologna", "Europe/Rome"]),
    "country": (
        edit_toml("horizon = 6", 'horizon = 6\ncountry = "ZZ"'),
        [TOML, "ZZ", "CC-SUB"],
    ),
    "forcing unit": (edit_toml('"degC"', '"celsius"'), [TOML, "temp_c", "celsius", "degC"]),
    "forcing key": (edit_toml("known_future", "known"), [TOML, "known_future"]),
    "forcing flag": (
        edit_text(TOML, lambda t: re.sub("known_future = .*", 'known_future = "false"', t)),
        [TOML, "known_future", "false"],
    ),
    "forcing entry": (edit_toml('name = "temp_c"', "kind = 1"), [TOML, "forcings", "name"]),
    "naive split": (
        edit_toml("2024-03-20T00:00:00Z", "2024-03-20T00:00:00"),
        [TOML, "train_end", "zone"],
    ),
    "split as text": (
        edit_toml("2024-03-20T00:00:00Z", '"2024-03-20"'),
        [TOML, "train_end", "2024-03-20"],
    ),
    "no split": (edit_toml("validation_end", "train_stop"), [TOML, "validation_end"]),
    "issue text": (
        edit_toml("[source]", '[evaluation]\nissue_every = "soon"\n[source]'),
        [TOML, "issue_every", "soon", "24h"],
    ),
    "issue zero": (
        edit_toml("[source]", '[evaluation]\nissue_every = "0h"\n[source]'),
        [TOML, "issue_every", "0h", "24h"],
    ),
    "issue off the grid": (
        edit_toml("[source]", '[evaluation]\nissue_every = "90min"\n[source]'),
        [TOML, "issue_every", "90min", "no multiple of step"],
    ),
    "issue number": (
        edit_toml("[source]", "[evaluation]\nissue_every = 24\n[source]"),
        [TOML, "issue_every", "24h"],
    ),
    "issue misspelt": (
        edit_toml("[source]", '[evaluation]\nissue_evry = "24h"\n[source]'),
        [TOML, "issue_evry"],
    ),
    # spans
    "train empty": (
        edit_toml("2024-03-20T00:00:00Z", "2024-02-07T04:00:00Z"),
        [TOML, "train", "empty", "48", "2024-02-07"],
    ),
    "validation empty": (
        edit_toml("2024-04-05T00:00:00Z", "2024-03-20T05:00:00Z"),
        [TOML, "validation", "empty", "2024-03-20"],
    ),
    "validation first": (
        edit_toml("2024-04-05T00:00:00Z", "2024-03-01T00:00:00Z"),
        [TOML, "empty"],
    ),
    "test empty": (
        edit_toml("2024-04-05T00:00:00Z", "2024-04-14T20:00:00Z"),
        [TOML, "test", "empty", "horizon 6"],
    ),
    "all before": (edit_toml("2024-03-20T00:00:00Z", "2020-01-01T00:00:00Z"), [TOML, "train"]),
    # nodes
    "no nodes": (drop("nodes.csv"), ["nodes.csv", "missing"]),
    "no id": (
        edit_text("nodes.csv", lambda t: t.replace("id,", "ident,", 1)),
        ["nodes.csv", "id", "ident"],
    ),
    "no rows": (edit_text("nodes.csv", lambda t: t.splitlines()[0]), ["nodes.csv", "no rows"]),
    "node twice": (
        edit_text("nodes.csv", lambda t: t + t.splitlines()[1]),
        ["nodes.csv", "id", "a", "twice"],
    ),
    "lon": (
        edit_text("nodes.csv", lambda t: t.replace("b,11.3", "b,east", 1)),
        ["nodes.csv", "lon", "east", "row 2"],
    ),
    "no text": (lambda f: (f / "nodes.csv").write_bytes(b"id\n\xff\xfe\n"), ["nodes.csv"]),
    # edges
    "edge": (
        edit_text("edges.csv", lambda t: t.replace("c,d", "c,zz", 1)),
        ["edges.csv", "target", "zz", "row 3", "nodes.csv"],
    ),
    "edge column": (
        edit_text("edges.csv", lambda t: t.replace("source", "from", 1)),
        ["edges.csv", "source", "from"],
    ),
    "edge weight": (
        edit_text("edges.csv", lambda t: t.replace("0.5", "-0.5", 1)),
        ["edges.csv", "weight", "-0.5", "row 1", "positive"],
    ),
    "edge without weight": (
        edit_text("edges.csv", lambda t: t.replace("a,b,0.5", "a,b,", 1)),
        ["edges.csv", "weight", "row 1"],
    ),
    "edge of infinite weight": (
        edit_text("edges.csv", lambda t: t.replace("0.5", "inf", 1)),
        ["edges.csv", "weight", "inf", "row 1"],
    ),
    # series
    "no series": (drop("series.parquet"), ["series.parquet", "missing"]),
    "not parquet": (
        lambda f: (f / "series.parquet").write_text("time,a\n"),
        ["series.parquet", "not a parquet"],
    ),
    "no time": (
        edit_table("series", lambda t: t.rename(columns={"time": "when"})),
        ["series.parquet", "column time", "when"],
    ),
    "naive time": (
        edit_table("series", lambda t: t.assign(time=t["time"].dt.tz_localize(None))),
        ["series.parquet", "time", "2024-02-05", "tz_localize"],
    ),
    "time as text": (
        edit_table("series", lambda t: t.assign(time=t["time"].astype(str))),
        ["series.parquet", "time", "2024-02-05", "tz_localize"],
    ),
    "no stamps": (
        edit_table("series", lambda t: t.iloc[:0]),
        ["series.parquet", "time", "empty"],
    ),
    "no naive stamps": (
        edit_table("series", lambda t: t.assign(time=t["time"].dt.tz_localize(None)).iloc[:0]),
        ["series.parquet", "time"],
    ),
    "empty stamp": (edit_table("series", put(5, "time", pd.NaT)), ["series.parquet", "time"]),
    "duplicate stamp": (
        edit_table("series", lambda t: pd.concat([t.iloc[:8], t.iloc[7:]])),
        ["series.parquet", "time", "duplicate", "2024-02-05 07:00", "8", "keep one"],
    ),
    "irregular stamp": (
        edit_table("series", lambda t: t.drop(index=[10])),
        ["series.parquet", "time", "irregular", "2024-02-05 11:00", "10", "1h", "NaN"],
    ),
    "unsorted stamps": (
        edit_table("series", lambda t: t.iloc[::-1]),
        ["series.parquet", "time", "irregular"],
    ),
    "unknown column": (
        edit_table("series", lambda t: t.assign(zz=1.0)),
        ["series.parquet", "zz", "nodes.csv"],
    ),
    "no column": (
        edit_table("series", lambda t: t.drop(columns="c")),
        ["series.parquet", "c", "nodes.csv", "NaN"],
    ),
    "text values": (
        edit_table("series", lambda t: t.assign(b="many")),
        ["series.parquet", "column b", "many", "numbers"],
    ),
    "flags": (
        edit_table("series", lambda t: t.assign(b=True)),
        ["series.parquet", "column b", "bool"],
    ),
    "infinite": (
        edit_table("series", put(9, "b", -np.inf)),
        ["series.parquet", "column b", "infinite", "2024-02-05 09:00", "NaN"],
    ),
    "negative": (
        edit_table("series", put(9, "c", -4.0)),
        ["series.parquet", "column c", "-4.0", "2024-02-05 09:00", "nonnegative"],
    ),
    # forcings
    "no forcings": (drop("forcings.parquet"), ["forcings.parquet", "temp_c", "rain_mm"]),
    "absent forcing": (
        edit_table("forcings", lambda t: t.drop(columns="rain_mm")),
        ["forcings.parquet", "rain_mm", "no column", "NODE"],
    ),
    "forcing at no node": (
        edit_table("forcings", lambda t: t.rename(columns={"rain_mm": "rain_mm@zz"})),
        ["forcings.parquet", "rain_mm@zz", "zz", "a, b, c, d"],
    ),
    "infinite forcing": (
        edit_table("forcings", put(3, "temp_c", np.inf)),
        ["forcings.parquet", "temp_c", "infinite", "2024-02-05 03:00"],
    ),
    "forcings off the grid": (
        edit_table("forcings", lambda t: t.assign(time=t["time"] + pd.Timedelta("10min"))),
        ["forcings.parquet", "time", "grid", "00:10"],
    ),
    "naive forcings": (
        edit_table("forcings", lambda t: t.assign(time=t["time"].dt.tz_localize(None))),
        ["forcings.parquet", "time", "tz_localize"],
    ),
    "irregular forcings": (
        edit_table("forcings", lambda t: t.drop(index=[10])),
        ["forcings.parquet", "irregular"],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_spoilt_folder_is_refused_with_what_where_and_how_to_mend_it(name, copy):
    spoil, words = REFUSALS[name]
    open_dataset(copy)
    spoil(copy)
    text = refusal(copy)
    assert str(copy) in text
    for word in words:
        assert word in text, text


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "dataset.toml" in refusal(tmp_path / "nowhere")


def test_an_unregistered_domain_is_refused_and_any_goes_without_a_register(folder):
    text = refusal(folder, domains=["energy", "flood"])
    assert "'traffic'" in text
    assert "energy, flood" in text
    assert open_dataset(folder, ["traffic"]).spec.domain == "traffic"
