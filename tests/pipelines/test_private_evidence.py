"""Evidence into a private folder, and no private release without it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, sha256_file
from pipelines import cli, evidence_folder
from pipelines.evidence_folder import FOLDER, checked_evidence, write_evidence
from pipelines.private import private_settings, train_private
from pipelines.private_evidence import make_evidence
from pipelines.release import build_release
from pipelines.relocate import relocate
from pipelines.train import STATE, Trained, open_registered, open_trained, score
from privacy.draws import SecretDraws
from privacy.stand_in import stand_ins_like
from serving.release import EVIDENCE, EVIDENCE_FILES, EVIDENCE_PAGE, MANIFEST, load_release
from tests.factories import Silent, make_dataset
from tests.fixtures.private_city import PARTNER, City, make_street_city
from tests.fixtures.tiny import Tiny, reseal
from training.checkpoint import read, write
from training.dataset import open_dataset


def files_in(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return make_street_city(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def bare(city: City) -> Trained:
    """Trained and scored, without evidence."""
    dataset = open_registered(city.dataset)
    settings = private_settings(dataset, city.settings)
    made = train_private(dataset, settings, city.opened(), PARTNER, city.home, Silent())
    score(made, city.home, lambda share: None)
    shutil.copytree(city.home.parent, beside(city))
    return made


def beside(city: City) -> Path:
    place = city.home.parent
    return place.with_name(f"{place.name}-bare")


@pytest.fixture(scope="module")
def making(city: City, bare: Trained) -> tuple[set[str], Silent, dict]:
    """The files that came, who listened, and the record that was made."""
    before, listener = files_in(city.home.parent), Silent()
    made = make_evidence(bare, city.home, listener)
    return files_in(city.home.parent) - before, listener, made


@pytest.fixture(scope="module")
def proven(bare: Trained, making) -> Trained:
    """The same folder, with evidence."""
    return bare


@pytest.fixture
def copied(city: City, bare: Trained, tmp_path: Path) -> tuple[City, Trained]:
    """The trained folder without evidence, in a home of its own."""
    place = tmp_path / "copy"
    shutil.copytree(beside(city), place)
    other = City(*(place / path.name for path in vars(city).values()))
    relocate(other.home, apply=True)
    folder = other.home / "trained" / bare.folder.name
    return other, open_trained(folder, open_registered(other.dataset))


@pytest.fixture
def given(copied: tuple[City, Trained], proven: Trained) -> tuple[City, Trained]:
    """The same with evidence."""
    city, trained = copied
    shutil.copytree(proven.folder / FOLDER, trained.folder / FOLDER)
    return city, trained


def record_of(trained: Trained) -> dict:
    return json.loads((trained.folder / FOLDER / EVIDENCE).read_bytes())


def sealed_anew(trained: Trained, record: dict) -> None:
    """As somebody would who knows how evidence is sealed."""
    open_record = {name: value for name, value in record.items() if name != "sha256"}
    whole = open_record | {"sha256": sha256_bytes(canonical_json(open_record))}
    (trained.folder / FOLDER / EVIDENCE).write_bytes(canonical_json(whole))


def test_a_release_carries_its_evidence(given):
    city, trained = given
    folder = build_release(trained, city.home, city.opened())
    release, record = load_release(folder), record_of(trained)
    for name in EVIDENCE_FILES:
        kept = trained.folder / FOLDER / name
        assert release.manifest["files"][name] == sha256_file(kept) == sha256_file(folder / name)
    said = release.manifest["privacy"]
    white = record["audit"]["white_box"]
    assert said["audit"]["epsilon_at_least"] == white["epsilon"] < white["claim"]
    assert said["audit"]["canaries"] == 1000
    assert said["audit"]["auc"] == white["auc"]
    assert said["audit"]["could_contradict"] is True
    assert set(EVIDENCE_FILES) <= set(said["differential_privacy"]["not_covered"])
    assert record["of"]["model_sha256"] == release.manifest["files"]["model.onnx"]
    assert record["mechanism"]["noise_multiplier"] == trained.run["private"]["noise_multiplier"]
    assert build_release(trained, city.home, city.opened()) == folder
    assert city.kinds("release") == 1
    (folder / EVIDENCE_PAGE).write_text("all is well")
    with pytest.raises(FelsinaError, match=r"evidence\.md: sha256"):
        load_release(folder)


def test_errors_are_of_groups_and_the_page_says_whose(proven: Trained):
    errors = record_of(proven)["errors"]
    assert [(g["group"], g["units"]) for g in errors["groups"]] == [("north", 10), ("south", 10)]
    assert (errors["suppressed"], errors["covered_by_epsilon"]) == (1, False)
    page = (proven.folder / FOLDER / EVIDENCE_PAGE).read_text()
    assert "island" not in page
    assert "This counts one training run alone" in page
    assert "Il conto riguarda un solo addestramento" in page


def test_evidence_reads_the_folder_and_adds_nothing_else(city: City, proven: Trained, making):
    came, listener, made = making
    place = f"home/trained/{proven.folder.name}"
    added = {f"{place}/{FOLDER}/{name}" for name in EVIDENCE_FILES}
    assert came == added  # no weights of the twin
    assert sha256_file(proven.folder / STATE) == sha256_file(beside(city) / place / STATE)
    assert listener.stages == ["audit", "twin", "errors"]
    quiet = Silent()
    assert make_evidence(proven, city.home, quiet) == made
    assert quiet.stages == []


def test_without_the_partners_word_no_error_is_shown(copied):
    city, trained = copied
    listener = Silent()
    made = make_evidence(trained, city.home, listener, attribute=None)
    assert listener.stages == ["audit"]  # no private row is read
    assert made["errors"] is None
    page = (trained.folder / FOLDER / EVIDENCE_PAGE).read_text()
    assert "Not shown here" in page
    assert "north" not in page + json.dumps(made)
    folder = build_release(trained, city.home, city.opened())
    said = load_release(folder).manifest["privacy"]["differential_privacy"]
    assert not set(EVIDENCE_FILES) & set(said["not_covered"])


def test_missing_noise_is_found_stays_found_and_stops_the_release(copied, monkeypatch, capsys):
    city, trained = copied
    words = ["privacy", "evidence", "--trained", str(trained.folder)]
    words += ["--dataset", str(city.dataset)]
    monkeypatch.setenv("FELSINA_HOME", str(city.home))

    def run(*more: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["felsina", *words, *more])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0, capsys.readouterr().out

    with monkeypatch.context() as patch:
        patch.setattr(SecretDraws, "noise", lambda self, step, size: np.zeros(size))
        code, out = run()
    assert code == 1
    assert "CONTRADICTED" in out
    page = (trained.folder / FOLDER / EVIDENCE_PAGE).read_text()
    assert "The model must not be released" in page
    with pytest.raises(
        FelsinaError, match=r"canaries refute epsilon 3\.9.*release nothing of this"
    ):
        build_release(trained, city.home, city.opened())
    assert city.kinds("release") == 0
    assert not list((city.home / "releases").glob("tiny-*"))
    # No better draw of canaries takes its place.
    code, out = run("--seed", "1", "--json")
    assert code == 1
    assert json.loads(out)["made_with"]["seed"] == 0


def test_a_release_without_evidence_is_refused(copied):
    city, trained = copied
    with pytest.raises(FelsinaError, match=r"has no evidence .* felsina privacy evidence --tr"):
        build_release(trained, city.home, city.opened())
    assert city.kinds("release") == 0


@pytest.mark.parametrize("name", EVIDENCE_FILES)
def test_a_kill_between_the_files_leaves_nothing_half(copied, proven, monkeypatch, name):
    city, trained = copied
    record = {k: v for k, v in record_of(proven).items() if k not in ("sha256", "page_sha256")}
    write = Path.write_bytes

    def killed(path: Path, content: bytes) -> int:
        if path.name == name:
            raise KeyboardInterrupt
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            write_evidence(trained.folder / FOLDER, record)
    assert not (trained.folder / FOLDER).exists()
    with pytest.raises(FelsinaError, match="has no evidence"):
        build_release(trained, city.home, city.opened())
    write_evidence(trained.folder / FOLDER, record)
    assert record_of(trained) == record_of(proven)
    with monkeypatch.context() as patch:
        patch.setattr(evidence_folder, "sync_folder", lambda part: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_evidence(trained.folder / FOLDER, record | {"errors": None})
    assert checked_evidence(trained) == record_of(proven)  # the earlier one, whole


@pytest.mark.parametrize("name", EVIDENCE_FILES)
def test_edited_evidence_is_refused(given, name):
    city, trained = given
    path = trained.folder / FOLDER / name
    path.write_text(path.read_text().replace("1.9", "2.9"))
    with pytest.raises(FelsinaError, match="was edited or is incomplete; remove it and run"):
        build_release(trained, city.home, city.opened())
    path.unlink()
    with pytest.raises(FelsinaError, match="was edited or is incomplete"):
        build_release(trained, city.home, city.opened())


@pytest.mark.parametrize("value", [0.0, 9.0, None])
@pytest.mark.parametrize("part", ["epsilon", "claim", "right", "delta"])
def test_figures_that_do_not_follow_are_refused_however_they_are_sealed(given, part, value):
    _, trained = given
    record = record_of(trained)
    record["audit"]["white_box"][part] = value
    sealed_anew(trained, record)
    with pytest.raises(FelsinaError, match="was edited"):
        checked_evidence(trained)


def test_evidence_of_something_else_is_refused(given):
    city, trained = given
    state = read(trained.folder / STATE)
    write({name: value + 1 for name, value in state.items()}, trained.folder / STATE)
    with pytest.raises(FelsinaError, match="is evidence of other state_sha256; run"):
        build_release(trained, city.home, city.opened())
    run = json.loads(json.dumps(trained.run))
    run["private"]["settings"]["clip_norm"] = 0.5
    with pytest.raises(FelsinaError, match="is evidence of other settings, state_sha256"):
        checked_evidence(replace(trained, run=run))


def test_serving_refuses_evidence_against_a_release(given, tmp_path: Path):
    city, trained = given
    folder = build_release(trained, city.home, city.opened())

    def changed(change) -> Path:
        record = json.loads((folder / EVIDENCE).read_bytes())
        change(record)
        content = canonical_json(record)
        digest = sha256_bytes(content)
        copy = reseal(folder, tmp_path, lambda m: m["files"].update({EVIDENCE: digest}))
        (copy / EVIDENCE).write_bytes(content)
        return copy

    with pytest.raises(FelsinaError, match="speaks against the release's claim"):
        load_release(changed(lambda record: record["audit"].update(contradicts=True)))
    with pytest.raises(FelsinaError, match=r"is of another model\.onnx"):
        load_release(changed(lambda record: record["of"].update(model_sha256="0" * 64)))
    with pytest.raises(FelsinaError, match="no evidence"):
        load_release(changed(lambda record: record.pop("audit")))
    bare = reseal(folder, tmp_path / "bare", lambda m: m["files"].pop(EVIDENCE))
    with pytest.raises(FelsinaError, match=r"not a manifest .*evidence\.json"):
        load_release(bare)
    assert json.loads((folder / MANIFEST).read_bytes())["files"][EVIDENCE]


def test_what_cannot_be_evidence_is_refused_before_anything_runs(
    copied, tiny: Tiny, tmp_path: Path
):
    city, trained = copied
    listener = Silent()

    def refused(said: str, made: Trained = trained, **arguments) -> None:
        with pytest.raises(FelsinaError, match=said):
            make_evidence(made, city.home, listener, **arguments)

    refused("was not trained privately", open_trained(tiny.trained, tiny.dataset))
    refused("--canaries 999", canaries=999)
    refused("no column colour; group by one of area", attribute="colour")
    refused("trained without public series; leave out --public", public=tiny.dataset)
    refused("holds the private series", stand_in=trained.dataset)
    other = open_dataset(make_dataset(tmp_path / "other", lookback=24))
    refused("its lookback is 24, that of the release 48", stand_in=other)
    for part, said in (
        ("code", "was trained by other code"),
        ("noise_multiplier", "its settings now ask for 1.9"),
        ("public", "name the same folder, unchanged, with --public"),
    ):
        run = json.loads(json.dumps(trained.run))
        run["private"][part] = {"noise_multiplier": 2.5}.get(part, {"series.parquet": "1"})
        refused(said, replace(trained, run=run))
    assert listener.stages == []
    assert not (trained.folder / FOLDER).exists()


def test_stand_ins_take_the_form_of_a_dataset_and_none_of_its_rows(city: City):
    dataset = open_registered(city.dataset)
    made = stand_ins_like(dataset, 50, seed=1)
    assert made.values.shape == (len(dataset.values), 50)
    assert replace(made.spec, dataset=dataset.spec.dataset) == dataset.spec
    assert (made.splits, made.start) == (dataset.splits, dataset.start)
    assert made.digests == {}
    blank = replace(dataset, values=np.full_like(dataset.values, np.nan))
    np.testing.assert_array_equal(stand_ins_like(blank, 50, seed=1).values, made.values)
    week = 24 * 77
    long = replace(dataset, values=np.zeros((2 * week, 2), np.float32))
    twice = stand_ins_like(long, 3).values
    np.testing.assert_array_equal(twice[:week], twice[week:])
    assert np.isfinite(twice).all()


@pytest.mark.slow
def test_a_public_backbone_is_the_audits_too(tmp_path: Path):
    city = make_street_city(tmp_path)
    public = open_registered(make_dataset(tmp_path / "open", seed=5, name="open"))
    dataset = open_registered(city.dataset)
    settings = private_settings(dataset, city.settings, ["steps=2"])
    made = train_private(dataset, settings, city.opened(), PARTNER, city.home, Silent(), public)
    score(made, city.home, lambda share: None)
    with pytest.raises(FelsinaError, match="name the same folder, unchanged, with --public"):
        make_evidence(made, city.home, Silent())
    record = make_evidence(made, city.home, Silent(), public=public, attribute=None)
    assert record["audit"]["contradicts"] is False
    units = open_registered(make_dataset(tmp_path / "units", seed=6, name="units"))
    again = make_evidence(made, city.home, Silent(), units, public, attribute=None)
    assert again["audit"]["stand_in"] == "units"
    assert again["made_with"]["stand_in"] == units.digests
