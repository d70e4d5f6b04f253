"""The same bytes for the same record, and files that are whole or absent."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.record import canonical_json, sha256_bytes, sha256_file, write_atomic

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), inner)
    ),
    max_leaves=12,
)


def reordered(record):
    if isinstance(record, dict):
        return {key: reordered(record[key]) for key in reversed(list(record))}
    return [reordered(item) for item in record] if isinstance(record, list) else record


@given(values)
def test_bytes_do_not_depend_on_the_order_of_keys_and_read_back(record):
    content = canonical_json(record)
    assert canonical_json(reordered(record)) == content
    assert json.loads(content) == record


def test_the_bytes_are_compact_sorted_and_utf8():
    assert canonical_json({"b": [1, 2.5], "a": "città"}) == '{"a":"città","b":[1,2.5]}'.encode()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"mae": [1.0, bad]})


def test_a_file_and_its_bytes_have_one_digest(tmp_path):
    content = b"felsina" * 100_000
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    assert sha256_file(path) == sha256_bytes(content) == hashlib.sha256(content).hexdigest()


def test_writing_replaces_the_file_whole_and_makes_its_folder(tmp_path):
    path = tmp_path / "deep" / "record.json"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["record.json"]


def test_an_interrupted_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    write_atomic(path, b"old")

    def interrupted(self, target):
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(OSError, match="no space"):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]
