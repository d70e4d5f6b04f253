import json
import shutil
from pathlib import Path

import pytest

from models.contracts import FelsinaError
from models.record import canonical_json
from pipelines import cli
from serving.release import FILES, MANIFEST, load_release, release_id
from tests.fixtures.tiny import Tiny, reseal


@pytest.fixture
def copy(tiny: Tiny, tmp_path: Path) -> Path:
    folder = tmp_path / "releases" / tiny.release.name
    shutil.copytree(tiny.release, folder)
    return folder


def refused(folder: Path, name: str) -> str:
    with pytest.raises(FelsinaError) as error:
        load_release(folder)
    assert str(folder / name) in str(error.value)
    return str(error.value)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_an_intact_release_says_what_it_is(tiny: Tiny) -> None:
    release = load_release(tiny.release)
    assert release.id == tiny.release.name == f"tiny-{release.sha256[:12]}"
    assert release.spec.lags == (24, 168)
    assert release.graph.to_dict() == tiny.dataset.graph.to_dict()
    assert set(release.manifest["files"]) == set(FILES)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_one_changed_bit_is_refused(copy: Path, name: str, share: float) -> None:
    path = copy / name
    flip(path, round(share * (path.stat().st_size - 1)))
    assert "changed" in refused(copy, name)


def test_any_changed_bit_of_the_manifest_is_refused(copy: Path) -> None:
    path = copy / MANIFEST
    whole = path.read_bytes()
    for place in range(0, len(whole), 41):
        flip(path, place)
        refused(copy, MANIFEST)
        path.write_bytes(whole)
    load_release(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_longer_or_shorter_file_is_refused(copy: Path, name: str) -> None:
    whole = (copy / name).read_bytes()
    for content in (whole + b"\n", whole[:-1], b""):
        (copy / name).write_bytes(content)
        refused(copy, name)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert "missing" in refused(copy, name)


@pytest.mark.parametrize("name", ["extra.txt", ".hidden", "model.onnx.data"])
def test_an_extra_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).write_text("")
    assert "not in the manifest" in refused(copy, name)


def test_a_renamed_folder_is_refused(copy: Path) -> None:
    other = copy.rename(copy.with_name("tiny-000000000000"))
    assert "renamed" in refused(other, MANIFEST)


def test_an_edited_manifest_is_refused_even_with_the_same_meaning(copy: Path) -> None:
    path = copy / MANIFEST
    manifest = json.loads(path.read_bytes())
    path.write_text(json.dumps(manifest, indent=2))
    refused(copy, MANIFEST)
    path.write_bytes(canonical_json(manifest | {"metrics": {}}))
    refused(copy, MANIFEST)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{}", b'{"files":{}}', b"\xff\xfe"])
def test_what_is_no_manifest_is_refused(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    refused(copy, MANIFEST)


@pytest.mark.parametrize("key", ["spec", "data", "interval"])
def test_a_well_named_manifest_that_lacks_a_part_is_refused(
    tiny: Tiny, tmp_path: Path, key: str
) -> None:
    folder = reseal(tiny.release, tmp_path, lambda manifest: manifest.pop(key))
    assert key in refused(folder, MANIFEST)


@pytest.mark.parametrize("name", FILES)
def test_a_manifest_that_seals_too_few_files_is_refused(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    folder = reseal(tiny.release, tmp_path, lambda manifest: manifest["files"].pop(name))
    (folder / name).unlink()
    with pytest.raises(FelsinaError, match=name):
        load_release(folder)


def test_the_id_follows_the_manifest() -> None:
    assert release_id("tiny", b"a") != release_id("tiny", b"b")


def test_the_command_verifies(copy: Path, monkeypatch, capsys) -> None:
    def verify() -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["felsina", "release", "verify", str(copy)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    code, out, err = verify()
    assert (code, err) == (0, "")
    assert f"{copy.name}: intact" in out
    flip(copy / FILES[0], 1000)
    code, out, err = verify()
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert str(copy / FILES[0]) in err
