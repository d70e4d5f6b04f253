import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from models.record import sha256_file
from models.scenario import CALIBRATION, STOPPING, TRAIN
from tests.fixtures.greenhouse import SPEC, make_experiments
from training.experiments import is_experiments, open_experiments, write_experiments

COUNTS = {TRAIN: 4, STOPPING: 2, CALIBRATION: 3, "all": 5, "calm": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_experiments(tmp_path / "beds", make_experiments(tmp_path / "beds", counts=COUNTS))
    return tmp_path / "beds"


def refused(folder: Path, name: str) -> str:
    with pytest.raises(FelsinaError) as caught:
        open_experiments(folder)
    text = str(caught.value)
    assert str(folder / name) in text
    assert "felsina scenario sample" in text
    assert "\n" not in text
    return text


def test_a_folder_says_what_was_written(folder):
    made, found = make_experiments(folder, counts=COUNTS), open_experiments(folder)
    assert found.spec == SPEC
    assert found.record == made.record
    for name in ("scalars", "fields", "target", "split"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name))
    assert np.isnan(found.target).any()


def test_arrays_are_kept_in_single_precision(tmp_path):
    made = make_experiments(tmp_path, counts=COUNTS)
    write_experiments(tmp_path, replace(made, scalars=made.scalars.astype(float)))
    assert open_experiments(tmp_path).scalars.dtype == np.float32


def test_splits_are_found_and_the_others_are_tests(folder):
    found = open_experiments(folder)
    assert found.tests == ["all", "calm"]
    assert {name: len(found.rows(name)) for name in COUNTS} == COUNTS
    assert found.rows(STOPPING).tolist() == [4, 5]


def test_digests_are_those_of_the_files(folder):
    digests = open_experiments(folder).digests
    assert set(digests) == {path.name for path in folder.iterdir()}
    assert all(sha256_file(folder / name) == digest for name, digest in digests.items())


def test_a_folder_is_known_by_its_record(folder, tmp_path):
    assert is_experiments(folder)
    assert not is_experiments(tmp_path)


FILES = ("experiments.json", "scalars.npy", "fields.npy", "target.npy", "split.npy")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98])
def test_a_file_cut_short_is_named(folder, name, share):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(share * len(content))])
    refused(folder, name)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_something_else_is_named(folder, name):
    (folder / name).write_bytes(b"\xffnothing of that kind")
    refused(folder, name)


@pytest.mark.parametrize("name", ["scalars", "fields", "target"])
def test_an_array_of_another_shape_is_named(folder, name):
    values = np.load(folder / f"{name}.npy")
    for spoilt in (values[:-1], values[..., :0], values[None], values.astype(str)):
        np.save(folder / f"{name}.npy", spoilt)
        assert "not floats" in refused(folder, f"{name}.npy")


@pytest.mark.parametrize("name", ["scalars", "fields", "target"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_runs_without_a_number_are_named(folder, name, value):
    """Of the answers a value may be missing, but none be infinite."""
    values = np.load(folder / f"{name}.npy")
    values[[2, 7]] = value
    np.save(folder / f"{name}.npy", values)
    if name == "target" and np.isnan(value):
        assert np.isnan(open_experiments(folder).target[2]).all()
    else:
        assert "runs [2, 7]" in refused(folder, f"{name}.npy")


@pytest.mark.parametrize("name", [TRAIN, STOPPING, CALIBRATION])
def test_a_split_without_runs_is_named(folder, name):
    split = np.load(folder / "split.npy")
    np.save(folder / "split.npy", np.where(split == name, "all", split))
    assert f"no run is for {name}" in refused(folder, "split.npy")


@pytest.mark.parametrize("key", ["spec", "record"])
def test_a_record_that_lacks_a_part_is_refused(folder, key):
    path = folder / "experiments.json"
    record = json.loads(path.read_bytes())
    del record[key]
    path.write_text(json.dumps(record))
    assert key in refused(folder, "experiments.json")


def test_a_record_of_no_spec_is_refused(folder):
    path = folder / "experiments.json"
    record = json.loads(path.read_bytes())
    record["spec"]["quantiles"] = [0.5]
    path.write_text(json.dumps(record))
    assert "symmetric" in refused(folder, "experiments.json")
