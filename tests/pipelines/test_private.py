"""Private training into a trained folder, and on to a sealed release with its claim."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from models.record import sha256_file
from models.signing import create_key
from pipelines import private_release, release
from pipelines.adopt import adopt
from pipelines.private import private_settings, train_private
from pipelines.private_evidence import make_evidence
from pipelines.private_release import CLAIM, WITHHELD
from pipelines.release import build_release
from pipelines.relocate import relocate
from pipelines.report import Inputs, build, verify
from pipelines.train import MEMBERS, STATE, Trained, open_registered, open_trained, score
from privacy.accounting import SampledGaussian
from privacy.dp import PrivateSettings
from privacy.ledger import BudgetExceededError, Ledger
from privacy.replay import replay
from serving.api import create_app
from serving.catalogue import Catalogue
from serving.release import AUDIT, MANIFEST, load_release
from serving.runtime import Runtime
from serving.store import Store
from tests.factories import Silent, make_dataset
from tests.fixtures.pickles import pickles
from tests.fixtures.private_city import DELTA, HOMES, PARTNER, STEPS, City, make_city
from tests.fixtures.tiny import Tiny
from training.checkpoint import read


def settings_of(city: City, *assignments: str) -> PrivateSettings:
    return private_settings(open_registered(city.dataset), city.settings, list(assignments))


def trained_in(city: City, *assignments: str, listener: Silent | None = None) -> Trained:
    return train_private(
        open_registered(city.dataset),
        settings_of(city, *assignments),
        city.opened(),
        PARTNER,
        city.home,
        listener or Silent(),
    )


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return make_city(tmp_path_factory.mktemp("private"))


def before_release(city: City) -> Path:
    place = city.home.parent
    return place.with_name(f"{place.name}-before")


@pytest.fixture(scope="module")
def trained(city: City) -> Trained:
    made = trained_in(city)
    score(made, city.home, lambda share: None)
    make_evidence(made, city.home, Silent(), attribute=None)
    shutil.copytree(city.home.parent, before_release(city))
    return made


def test_nothing_that_it_leaves_is_a_pickle(city: City, trained: Trained) -> None:
    assert (trained.folder / STATE).is_file()
    assert pickles(city.home.parent) == []


@pytest.fixture(scope="module")
def sealed(city: City, trained: Trained) -> Path:
    return build_release(trained, city.home, city.opened())


@pytest.fixture
def copied(city: City, trained: Trained, tmp_path: Path) -> tuple[City, Trained]:
    """The trained folder and its ledger before any release, to be sealed anew."""
    place = tmp_path / "copy"
    shutil.copytree(before_release(city), place)
    other = City(*(place / path.name for path in vars(city).values()))
    relocate(other.home, apply=True)
    folder = other.home / "trained" / trained.folder.name
    return other, open_trained(folder, open_registered(other.dataset))


def manifest_of(folder: Path) -> dict:
    return json.loads((folder / MANIFEST).read_bytes())


def test_every_step_is_charged_once_to_a_run_named_by_the_folder(city: City, trained: Trained):
    run = trained.run["private"]["run"]
    assert run.startswith(f"{trained.folder.name}-")
    assert city.charges() == [(run, step) for step in range(STEPS)]
    assert trained.run["steps"] == trained.run["private"]["steps"] == STEPS
    assert trained.run["private"]["whole"] is True
    assert trained.run["private"]["epsilon"] == pytest.approx(city.opened().epsilon(HOMES).pld)
    assert not [path for path in (city.home / "work").iterdir() if path.is_dir()]


def test_nothing_but_noisy_steps_is_made_of_private_rows(trained: Trained):
    assert np.load(trained.folder / MEMBERS).shape[0] == 0
    assert "private rows" in trained.run["members"]["left_out"]
    state = read(trained.folder / STATE)
    assert (state["offset"] == 0).all()
    assert (state["backbone.weight"] == 0).all()  # no ridge without public series


def test_the_backtest_says_what_no_epsilon_covers(trained: Trained):
    named = trained.report["privacy"]["of_private_rows"]
    assert {"models", "targets", "adaptive", "threshold_events"} <= set(named)
    assert not {"dataset", "unit", "parameters"} & set(named)
    assert "without noise" in trained.report["privacy"]["note"]


def test_what_is_trained_is_found_and_not_paid_again(city: City, trained: Trained):
    before = city.ledger.read_bytes()
    listener = Silent()
    again = trained_in(city, "checkpoint_every=1", listener=listener)
    assert again.folder == trained.folder
    assert listener.stages == []
    assert city.ledger.read_bytes() == before


def test_the_release_says_what_was_spent_and_what_not_protected(city: City, sealed: Path):
    manifest = manifest_of(sealed)
    said = manifest["privacy"]
    claimed = said["differential_privacy"]
    ledger = city.opened()
    assert {name: claimed[name] for name in HOMES._fields} == HOMES._asdict()
    assert claimed["epsilon"] == ledger.epsilon(HOMES).pld
    assert claimed["delta"] == DELTA
    assert (claimed["sampling_rate"], claimed["noise_multiplier"]) == (0.5, 3.0)
    assert (claimed["steps"], claimed["clip_norm"]) == (STEPS, 0.2)
    assert "privacy loss distribution" in claimed["accountant"]
    entries = city.ledger.read_bytes().splitlines()
    stated = claimed["ledger"]
    assert stated["entry"] == len(entries) - 2  # all that came before the release's own
    assert json.loads(entries[-1])["previous"] == stated["head_sha256"]
    assert "every single household in the data set tiny of partner hera" in said["statement"]
    assert "(this one)" in said["statement"]
    assert "ogni singolo nucleo familiare" in said["statement_it"]
    assert len(said["not_protected"]) == len(said["not_protected_it"]) == 8
    assert {"metrics", "report.json", "graph.json"} <= set(claimed["not_covered"])


def test_the_release_holds_little_else_of_private_rows(city: City, sealed: Path):
    manifest = manifest_of(sealed)
    assert manifest["data"]["digests"] == manifest["data"]["quality"] == WITHHELD
    assert manifest["calibration"]["method"] == "none"
    assert manifest["calibration"]["largest_offset"] == 0
    assert "not calibrated" in manifest["interval"]["method"]
    assert manifest["members"]["count"] == 0
    assert manifest["training"]["settings"]["unit"] == "household"
    graph = load_release(sealed).graph
    assert graph.ids == graph.names
    assert np.isnan(graph.lon).all()
    assert set(graph.areas) == {""}
    assert len(graph.source) == 0
    digests = open_registered(city.dataset).digests.values()
    assert not [d for d in digests if d in (sealed / MANIFEST).read_text()]


def test_the_ledger_holds_the_release_once_and_replays(city: City, trained: Trained, sealed: Path):
    again = build_release(open_trained(trained.folder, trained.dataset), city.home, city.opened())
    assert again == sealed
    assert city.kinds("release") == 1
    accounts = replay(city.ledger, city.opened()._stream._key.public_key())
    (claimed,) = accounts.claims
    assert claimed.release == sealed.name
    body = json.loads(city.ledger.read_bytes().splitlines()[-1])["body"]
    assert body["manifest_sha256"] == sha256_file(sealed / MANIFEST)


def test_a_build_killed_after_its_entry_goes_on_with_it(copied, monkeypatch):
    city, trained = copied

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(release, "sync_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            build_release(trained, city.home, city.opened())
    assert city.kinds("release") == 1
    assert not list((city.home / "releases").glob("tiny-*"))
    # What others spend meanwhile does not change what this release said when it was entered.
    city.opened().charge(HOMES, SampledGaussian(0.5, 3.0, 1), "other", 0)
    folder = build_release(trained, city.home, city.opened())
    assert city.kinds("release") == 1
    assert f'"release":"{folder.name}"' in city.ledger.read_text()


def test_a_build_killed_before_its_entry_claims_what_is_then_spent(copied, monkeypatch):
    city, trained = copied

    def killed(ledger: Ledger, body: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            build_release(trained, city.home, city.opened())
    kept = json.loads((trained.folder / CLAIM).read_bytes())
    first = kept["privacy"]["differential_privacy"]
    city.opened().charge(HOMES, SampledGaussian(0.5, 3.0, 3), "other", 0)
    folder = build_release(trained, city.home, city.opened())
    claimed = manifest_of(folder)["privacy"]["differential_privacy"]
    assert claimed["epsilon"] == city.opened().epsilon(HOMES).pld > 1.1 * first["epsilon"]
    assert city.kinds("release") == 1


def test_serving_forecasts_with_it_and_shows_the_statement(
    city: City, sealed: Path, tmp_path: Path
):
    dataset, loaded = open_registered(city.dataset), load_release(sealed)
    builder = dataset.builder(loaded.spec)
    forecast = Runtime(loaded).forecast(builder, builder.batch(np.array([900])), 900)
    assert np.isfinite(forecast.quantiles).all()
    app = create_app(Catalogue(city.home, Store(tmp_path / "observations.db")))
    detail = TestClient(app).get("/v1/datasets/tiny").json()
    said = loaded.manifest["privacy"]
    assert detail["privacy"] == {
        **{name: said[name] for name in ("statement", "statement_it")},
        **{name: said[name] for name in ("not_protected", "not_protected_it")},
        **{name: said["differential_privacy"][name] for name in ("epsilon", "delta", "unit")},
        "audit": {name: said["audit"][name] for name in AUDIT},
    }


def test_a_release_needs_the_ledger_that_paid(copied, tiny: Tiny, tmp_path: Path):
    city, trained = copied
    with pytest.raises(FelsinaError, match=r"was trained privately: name the ledger"):
        build_release(trained, city.home)
    other = Ledger.create(tmp_path / "other.jsonl", create_key(tmp_path / "other.key"), "modena")
    with pytest.raises(FelsinaError, match=r"the ledger modena holds no charges for all 6 steps"):
        build_release(trained, city.home, other)
    ordinary = open_trained(tiny.trained, tiny.dataset)
    with pytest.raises(FelsinaError, match="was not trained privately"):
        build_release(ordinary, tiny.home, city.opened())
    assert build_release(ordinary, tiny.home) == tiny.release
    with pytest.raises(FelsinaError, match="trained privately, and its release has to carry"):
        adopt(tiny.dataset, trained.folder, city.home, Silent())


def test_a_trained_folder_of_other_data_is_refused(trained: Trained, tiny: Tiny, tmp_path: Path):
    with pytest.raises(FelsinaError, match=r"was not made from .* as it is now"):
        open_trained(trained.folder, open_registered(make_dataset(tmp_path / "other", seed=3)))
    with pytest.raises(FelsinaError, match="no trained folder"):
        open_trained(tmp_path, tiny.dataset)


def test_a_plan_beyond_the_budget_does_not_start(tmp_path: Path):
    city = make_city(tmp_path, epsilon=0.5)
    before = city.ledger.read_bytes()
    with pytest.raises(BudgetExceededError, match=r"budget is 0\.5"):
        trained_in(city)
    assert city.ledger.read_bytes() == before
    assert not city.home.exists()


def test_a_budget_that_others_use_up_ends_the_run_with_what_was_paid(tmp_path: Path, monkeypatch):
    city = make_city(tmp_path, epsilon=0.75)
    monkeypatch.setattr(Ledger, "require", lambda *_: None)  # as if the others came just after it
    made = trained_in(city)
    private = made.run["private"]
    assert 0 < private["steps"] < STEPS
    assert private["whole"] is False
    assert len(city.charges()) == private["steps"] == made.fitted.steps
    assert city.kinds("stop") == 1
    assert trained_in(city).folder == made.folder
    assert city.kinds("stop") == 1


def test_a_budget_used_up_before_the_first_step_trains_nothing(tmp_path: Path, monkeypatch):
    city = make_city(tmp_path, epsilon=0.01)
    monkeypatch.setattr(Ledger, "require", lambda *_: None)
    with pytest.raises(FelsinaError, match="nothing was trained"):
        trained_in(city)
    assert not list((city.home / "work").glob("*/checkpoints"))
    assert not list((city.home / "trained").glob("tiny-*"))


def test_a_home_that_was_lost_pays_for_its_new_noise(copied):
    city, trained = copied
    shutil.rmtree(trained.folder)
    again = trained_in(city)
    assert again.folder.name == trained.folder.name
    runs = [run for run, _ in city.charges()]
    assert len(runs) == 2 * STEPS
    assert len(set(runs)) == 2


def test_series_that_the_ledger_does_not_know_are_refused(city: City, tmp_path: Path):
    other = open_registered(make_dataset(tmp_path / "tiny", seed=7))
    arguments = settings_of(city), city.opened(), PARTNER, tmp_path / "home", Silent()
    with pytest.raises(FelsinaError, match=r"series\.parquet: sha256 .* is not what the ledger"):
        train_private(other, *arguments)
    homes = open_registered(city.dataset)
    with pytest.raises(FelsinaError, match="dataset tiny of partner hera in the ledger"):
        train_private(homes, *arguments, public=homes)
    unknown = (*arguments[:2], "iren", *arguments[3:])
    with pytest.raises(FelsinaError, match=r"partner iren, dataset tiny .*register it first"):
        train_private(homes, *unknown)


@pytest.mark.slow
def test_a_public_dataset_gives_the_backbone(city: City, tmp_path: Path):
    public = open_registered(make_dataset(tmp_path / "open", seed=5, name="open"))
    made = train_private(
        open_registered(city.dataset),
        settings_of(city, "steps=1"),
        city.opened(),
        PARTNER,
        tmp_path / "home",
        Silent(),
        public,
    )
    assert made.run["private"]["public"] == public.digests
    assert (made.fitted.forecaster.backbone.weight != 0).any()


def test_settings_are_merged_and_wrong_ones_refused(city: City, tmp_path: Path):
    dataset = open_registered(city.dataset)
    merged = settings_of(city, "steps=3", "architecture.width=16")
    assert (merged.steps, merged.architecture.width, merged.unit) == (3, 16, "household")
    assert merged.architecture.inductive
    assert not merged.architecture.graph
    few = ["unit='day'", "nominal_units=40", "sampling_rate=.1", "delta=.001"]
    assert private_settings(dataset, None, few).lags == (24, 168)
    with pytest.raises(FelsinaError, match="setting delta"):
        private_settings(dataset, None, few[:3])
    with pytest.raises(FelsinaError, match=r"nosuch\.toml: cannot be read"):
        private_settings(dataset, tmp_path / "nosuch.toml")
    with pytest.raises(FelsinaError, match="setting nosuch"):
        settings_of(city, "nosuch=1")


def test_a_day_as_the_unit_leaves_the_nodes_in_the_graph(trained: Trained):
    run = json.loads(json.dumps(trained.run))
    run["private"]["settings"]["unit"] = "day"
    days = Trained(trained.folder, trained.dataset, trained.fitted, trained.template, run)
    assert private_release.released_graph(days) is trained.dataset.graph


def test_the_board_reads_of_privacy_and_not_of_groups(city: City, sealed: Path, tmp_path: Path):
    """A private release can be reported; no figure by group is made of private rows."""
    inputs = Inputs(release=sealed, dataset=open_registered(city.dataset))
    folder, record = build(inputs, tmp_path)
    assert record["audit"]["groupings"] == []
    assert record["audit"]["evidence"]["why"] == ["private_rows"]
    assert "private_rows" in record["verdict"]["unknown"]
    assert record["privacy"]["evidence"]["audit"]
    digests = open_registered(city.dataset).digests.values()
    for path in folder.iterdir():
        assert not [d for d in digests if d in path.read_text()]
    assert "it learned from private data" in (folder / "report.en.html").read_text()
    assert verify(inputs, tmp_path)[1] == []
