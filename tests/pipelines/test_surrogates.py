"""From a design to a sealed surrogate: found again, taken up after a kill, shown by commands."""

import json
from pathlib import Path

import pytest

from models.board import BOARD, CHARTER
from models.contracts import FelsinaError
from models.record import canonical_json
from pipelines import cli, domains
from pipelines.domains.scenarios import FINISHED
from pipelines.surrogates import release_surrogate, surrogate_settings
from serving.release import MANIFEST
from serving.surrogate import load_surrogate
from tests.factories import Silent
from tests.fixtures.greenhouse import DOMAIN_LINE, Sealed, make_experiments
from training.experiments import open_experiments, write_experiments

DESIGN = 'name = "beds"\ndomain = "greenhouse"\nseed = 3\n'


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, "DOMAINS", (*domains.DOMAINS, DOMAIN_LINE))


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for all that is made here, since a new tracking store takes seconds."""
    return tmp_path_factory.mktemp("spare")


@pytest.fixture
def felsina(monkeypatch, capsys):
    """Run the command line here, where the domain is registered."""

    def run(*words: str | Path) -> tuple[object, str, str]:
        monkeypatch.setattr("sys.argv", ["felsina", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return run


def test_what_was_made_is_found_again(registered, sealed: Sealed) -> None:
    assert sealed.listener.stages == ["train", "export", "score"]
    listener = Silent()
    settings = surrogate_settings(sealed.experiments)
    again = release_surrogate(sealed.experiments, settings, sealed.home, listener)
    assert (again, listener.stages) == (sealed.release, [])
    assert [path.name for path in (sealed.home / "work").iterdir() if path.is_dir()] == []
    assert [path.name for path in (sealed.home / "releases").iterdir()] == [again.name]


def test_a_broken_release_is_refused_where_it_is_found_again(
    registered, sealed: Sealed, tmp_path: Path
) -> None:
    (tmp_path / "trained").mkdir()
    (note,) = (sealed.home / "trained").iterdir()
    (tmp_path / "trained" / note.name).write_bytes(note.read_bytes())
    (tmp_path / "releases" / sealed.release.name).mkdir(parents=True)
    settings = surrogate_settings(sealed.experiments)
    with pytest.raises(FelsinaError, match="is missing"):
        release_surrogate(sealed.experiments, settings, tmp_path, Silent())


class Killed(BaseException):
    """As a signal would end it: nothing that handles errors sees it."""


class Killer(Silent):
    def __init__(self, stage: str, share: float) -> None:
        super().__init__()
        self.at = stage, share

    def progress(self, stage: str, share: float) -> None:
        super().progress(stage, share)
        if stage == self.at[0] and share >= self.at[1]:
            raise Killed


def test_killed_it_goes_on_to_the_same_release(registered, sealed: Sealed, spare: Path) -> None:
    settings = surrogate_settings(sealed.experiments)
    (note,) = (sealed.home / "trained").iterdir()
    for stage, share in (("train", 0.5), ("score", 1.0)):
        with pytest.raises(Killed):
            release_surrogate(sealed.experiments, settings, spare, Killer(stage, share))
        assert not (spare / "trained" / note.name).exists()
    release = release_surrogate(sealed.experiments, settings, spare, Silent())
    assert release.name == sealed.release.name
    for path in sealed.release.iterdir():
        assert (release / path.name).read_bytes() == path.read_bytes()
    assert not list((spare / "releases").glob(".*"))
    load_surrogate(release)


def test_settings_come_from_the_domain_and_flags(registered, sealed: Sealed) -> None:
    found = surrogate_settings(sealed.experiments, seed=4, assignments=["batch=7"])
    assert (found.steps, found.seed, found.batch) == (300, 4, 7)
    with pytest.raises(FelsinaError, match="horizon"):
        surrogate_settings(sealed.experiments, assignments=["horizon=7"])


def test_an_unregistered_domain_is_refused(sealed: Sealed, tmp_path: Path) -> None:
    with pytest.raises(FelsinaError, match="'greenhouse' is not registered"):
        surrogate_settings(sealed.experiments)


def test_a_domain_without_a_surrogate_is_refused(sealed: Sealed, monkeypatch) -> None:
    monkeypatch.setattr(domains, "DOMAINS", (*domains.DOMAINS, "tests.fixtures.bare"))
    with pytest.raises(FelsinaError, match="domain 'greenhouse' has no surrogate to train"):
        surrogate_settings(sealed.experiments)


def test_a_manifest_says_what_it_was_made_of(sealed: Sealed) -> None:
    manifest = json.loads((sealed.release / MANIFEST).read_bytes())
    assert manifest["training"]["settings"]["steps"] == manifest["training"]["steps"] == 300
    assert manifest["export"]["largest_relative_difference"] < 1e-4
    assert set(manifest["code"]) == {"sha256", "packages"}
    assert (manifest["domain"], manifest["simulator"]) == ("greenhouse", "a formula")


def test_a_list_shows_surrogates(felsina, sealed: Sealed, monkeypatch) -> None:
    monkeypatch.setenv("FELSINA_HOME", str(sealed.home))
    code, out, _ = felsina("release", "list", "--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "release": sealed.release.name,
            "dataset": "beds",
            "domain": "greenhouse",
            "simulator": "a formula",
            "served": (sealed.home / BOARD / CHARTER).is_file(),
        }
    ]
    code, out, _ = felsina("release", "list")
    assert code == 0
    assert "for a formula" in out


def test_experiments_are_sampled_and_built(
    registered, felsina, tmp_path: Path, spare: Path, monkeypatch
) -> None:
    """A design of a few lines becomes a release whose errors are shown."""
    monkeypatch.setenv("FELSINA_HOME", str(spare))
    (tmp_path / "design.toml").write_text(DESIGN)
    folder = tmp_path / "beds"
    code, out, err = felsina("scenario", "sample", tmp_path / "design.toml", "--out", folder)
    assert code == 0, err
    assert "1200 train, 100 stopping, 150 calibration; tests: 400 all, 300 strong wind" in (
        " ".join(out.split())
    )
    assert not (folder / FINISHED).exists()
    assert not folder.with_name("beds.partial").exists()
    assert open_experiments(folder).record["made"] == {"seed": 3}
    words = ("release", "build", "--dataset", folder, "--set", "steps=100")
    code, out, err = felsina(*words, "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert set(answer["tests"]) == {"all", "strong wind"}
    load_surrogate(Path(answer["release"]))
    code, out, err = felsina(*words)
    assert code == 0, err
    assert "strong wind, 300 runs: errors against a formula" in out
    assert out.count("loss_w_m2") == 2

    code, _, err = felsina("scenario", "sample", tmp_path / "design.toml", "--out", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{folder} exists" in err


def test_a_domain_without_a_sampler_is_refused(felsina, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(domains, "DOMAINS", (*domains.DOMAINS, "tests.fixtures.bare"))
    (tmp_path / "design.toml").write_text('name = "beds"\ndomain = "greenhouse"\n')
    code, out, err = felsina(
        "scenario", "sample", tmp_path / "design.toml", "--out", tmp_path / "x"
    )
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "design.toml: domain 'greenhouse' has no simulator to draw scenarios for" in err
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "x.partial").exists()


@pytest.mark.parametrize("text", ["", 'name = "beds"', 'domain = "greenhouse"', "name ="])
def test_a_design_that_is_none_is_refused(felsina, tmp_path: Path, text: str) -> None:
    (tmp_path / "design.toml").write_text(text)
    code, _, err = felsina("scenario", "sample", tmp_path / "design.toml", "--out", tmp_path / "x")
    assert (code, err.count("\n")) == (2, 1)
    assert "design.toml" in err


def test_a_folder_of_nothing_known_is_refused(felsina, tmp_path: Path) -> None:
    folder = tmp_path / "beds"
    write_experiments(folder, make_experiments(folder))
    (folder / "target.npy").write_bytes(b"")
    code, _, err = felsina("release", "build", "--dataset", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "target.npy" in err
    (folder / "experiments.json").write_bytes(canonical_json({}))
    code, _, err = felsina("release", "build", "--dataset", folder)
    assert (code, err.count("\n")) == (2, 1)
    assert "experiments.json" in err
