import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes
from models.scenario import CALIBRATION
from pipelines import cli
from serving.release import INPUTS, MANIFEST, champions, load_release, release_id
from serving.surrogate import FILES, load_surrogate
from tests.factories import Silent
from tests.fixtures.greenhouse import SPEC, Beds, Sealed, settings
from training.surrogate import answers, fit_surrogate


@pytest.fixture
def copy(sealed: Sealed, tmp_path: Path) -> Path:
    folder = tmp_path / "releases" / sealed.release.name
    return Path(shutil.copytree(sealed.release, folder))


def refused(folder: Path, name: str) -> str:
    with pytest.raises(FelsinaError) as caught:
        load_surrogate(folder)
    text = str(caught.value)
    assert str(folder / name) in text
    assert "\n" not in text
    return text


def test_an_intact_surrogate_says_what_it_is(sealed: Sealed) -> None:
    surrogate = load_surrogate(sealed.release)
    assert surrogate.id == sealed.release.name
    assert surrogate.id == f"beds-{surrogate.sha256[:12]}"
    assert surrogate.spec == SPEC
    assert surrogate.manifest["kind"] == "surrogate"
    assert surrogate.manifest["data"] == {
        "digests": sealed.experiments.digests,
        "record": {"seed": 0},
    }
    assert set(surrogate.report["tests"]) == {"all", "strong wind"}
    assert champions(sealed.home, surrogates=True) == {"beds": sealed.release}
    assert champions(sealed.home) == {}


def test_it_answers_as_torch_does(sealed: Sealed, tmp_path: Path) -> None:
    """Trained again, since what is sealed holds no torch."""
    again = fit_surrogate(sealed.experiments, Beds, settings(), tmp_path, Silent())
    rows = np.concatenate([sealed.experiments.rows(n) for n in ("all", CALIBRATION)])
    expected = answers(again.surrogate, sealed.experiments, rows)
    inputs = sealed.experiments.scalars[rows], sealed.experiments.fields[rows]
    found = load_surrogate(sealed.release).answer(*inputs)
    spread = expected.std(axis=(0, 1, 3), keepdims=True)
    assert (np.abs(found - expected) / spread).max() < 1e-5
    assert torch.isfinite(again.surrogate.offset).all()


@pytest.mark.parametrize("count", [1, 3, 513, 2001])
def test_any_number_of_scenarios_is_answered_alike(sealed: Sealed, count: int) -> None:
    """Whatever batch the graph was exported with, or the answers are made in."""
    surrogate = load_surrogate(sealed.release)
    scalars = np.resize(sealed.experiments.scalars, (count, 2))
    fields = np.resize(sealed.experiments.fields, (count, 3, 1))
    found = surrogate.answer(scalars, fields)
    assert found.shape == (count, 4, 2, 7)
    last = surrogate.answer(scalars[-1:], fields[-1:])
    np.testing.assert_allclose(found[-1:], last, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
def test_one_changed_bit_is_refused(copy: Path, name: str, share: float) -> None:
    content = bytearray((copy / name).read_bytes())
    content[round(share * (len(content) - 1))] ^= 1
    (copy / name).write_bytes(bytes(content))
    refused(copy, name)


@pytest.mark.parametrize("name", [*FILES, MANIFEST])
def test_a_missing_file_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    assert "missing" in refused(copy, name)


def test_an_extra_file_is_refused(copy: Path) -> None:
    (copy / "extra.txt").write_text("")
    assert "not in the manifest" in refused(copy, "extra.txt")


def test_a_renamed_folder_is_refused(copy: Path) -> None:
    assert "renamed" in refused(copy.rename(copy.with_name("beds-000000000000")), MANIFEST)


def resealed(copy: Path, content: bytes, dataset: str = "beds") -> Path:
    """The release with other inputs, properly sealed."""
    (copy / INPUTS).write_bytes(content)
    manifest = json.loads((copy / MANIFEST).read_bytes())
    manifest["dataset"], manifest["files"][INPUTS] = dataset, sha256_bytes(content)
    sealed = canonical_json(manifest)
    (copy / MANIFEST).write_bytes(sealed)
    return copy.rename(copy.with_name(release_id(dataset, sealed)))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff"])
def test_sealed_inputs_that_are_no_spec_are_refused(copy: Path, content: bytes) -> None:
    refused(resealed(copy, content), INPUTS)


def test_the_inputs_of_another_surrogate_are_refused(copy: Path) -> None:
    folder = resealed(copy, canonical_json(SPEC.to_dict()), dataset="rows")
    assert "of beds, not of rows" in refused(folder, INPUTS)


def test_neither_kind_is_taken_for_the_other(tiny, sealed: Sealed) -> None:
    assert "no surrogate's release" in refused(tiny.release, INPUTS)
    with pytest.raises(FelsinaError, match=MANIFEST):
        load_release(sealed.release)


def test_the_command_verifies(copy: Path, monkeypatch, capsys) -> None:
    def verify() -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["felsina", "release", "verify", str(copy)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    code, out, err = verify()
    assert (code, err) == (0, "")
    assert f"{copy.name}: intact" in out
    (copy / INPUTS).write_bytes((copy / INPUTS).read_bytes() + b"\n")
    code, out, err = verify()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert str(copy / INPUTS) in err
