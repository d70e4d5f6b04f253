"""From a federation's last model to a release that is signed and served like any other."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from models.chain import verify
from models.contracts import FelsinaError
from models.record import sha256_file
from pipelines import release as sealing
from pipelines.adopt import adopt
from pipelines.federated import train_federated
from pipelines.private_evidence import make_evidence
from pipelines.release import build_release
from pipelines.relocate import relocate
from pipelines.replay import score_release, score_trained
from pipelines.run import hold_observations
from pipelines.train import Trained, open_registered, score
from privacy.deployment.city import City
from privacy.population import BudgetKey
from serving.api import create_app
from serving.approvals import Approvals
from serving.catalogue import Catalogue
from serving.release import MANIFEST, load_release
from serving.store import Store
from tests.factories import Silent, make_dataset
from tests.fixtures.boards import charter_of, promoted
from tests.fixtures.tiny import Run
from tests.fixtures.town import NAMES, Town
from training.dataset import CityDataset, open_dataset


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("federated")


@pytest.fixture(scope="module")
def parts(place: Path) -> list[CityDataset]:
    return [open_dataset(make_dataset(place / f"p{k}", seed=k)) for k in range(4)]


@pytest.fixture(scope="module")
def own(place: Path) -> Path:
    """Nodes of the city's own."""
    return make_dataset(place / "own", seed=9, name="own")


@pytest.fixture(scope="module")
def town(place: Path, parts: list[CityDataset]) -> Town:
    """Three partners trained with noise; nothing is released."""
    town = Town(place / "town", parts[:3], private=True)
    assert town.run("first")["reason"] == ""
    return town


@pytest.fixture(scope="module")
def ready(place: Path, town: Town, own: Path) -> Trained:
    """Trained, scored and audited in a home that holds no release."""
    trained = train_federated(town.city, "first", open_registered(own), place / "home", Silent())
    score(trained, place / "home", lambda share: None)
    make_evidence(trained, place / "home", Silent(), attribute=None)
    return trained


@pytest.fixture
def copied(town: Town, ready: Trained, place: Path, tmp_path: Path) -> tuple[Town, Path]:
    """The city and a home, to be changed."""
    shutil.copytree(place / "home", tmp_path / "home")
    relocate(tmp_path / "home", apply=True)
    return town.copied(tmp_path / "town"), tmp_path / "home"


def released(town: Town, own: Path, home: Path, run: str = "first") -> Path:
    """As the command makes it, of what lies there already."""
    trained = train_federated(town.city, run, open_registered(own), home, Silent())
    score(trained, home, lambda share: None)
    return build_release(trained, home, town.city.ledger())


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def entries(town: Town, kind: str) -> list[dict]:
    every = verify(town.city.ledger_path, town.city.key.public_key())
    return [entry.body for entry in every if entry.kind == kind]


def test_the_network_is_the_partners_and_the_bands_are_the_citys(town: Town, ready: Trained):
    forecaster = ready.fitted.forecaster
    for name, values in town.model("first").items():
        assert np.array_equal(forecaster.get_parameter(name).detach().numpy(), values), name
    assert forecaster.offset.any()
    assert not torch.any(forecaster.backbone.weight)  # constant: no row of anybody is in it
    assert ready.noise is not None
    assert ready.noise["partner"] == "tper"


def test_the_release_claims_what_the_ledger_says_of_each_partner(
    copied: tuple[Town, Path], own: Path
):
    town, home = copied
    release = load_release(released(town, own, home))
    ledger, said = town.city.ledger(), release.manifest["privacy"]
    claimed = said["differential_privacy"]
    assert [one["partner"] for one in claimed["partners"]] == list(NAMES[:3])
    for one in claimed["partners"]:
        key = BudgetKey(one["partner"], "homes", "household")
        assert one["epsilon"] == ledger.epsilon(key).pld > 0
        assert f"partner {one['partner']}," in said["statement"]
        assert f"partner {one['partner']}," in said["statement_it"]
    assert claimed["partner"] == "tper"  # who added least noise
    assert claimed["epsilon"] == max(one["epsilon"] for one in claimed["partners"])
    assert any("data set own:" in line for line in said["not_protected"])
    assert said["audit"]["partner"] == "tper"
    told = release.manifest["federation"]
    assert (told["run"], told["rounds"], told["stopped"]) == ("first", 3, "")
    assert told["plan_sha256"] == town.city.plan.digest
    (entry,) = entries(town, "release")
    assert (entry["release"], entry["manifest_sha256"]) == (release.id, release.sha256)
    assert len(entry["claim"]) == 3


def test_a_second_call_gives_the_same_bytes_and_enters_nothing(
    copied: tuple[Town, Path], own: Path
):
    town, home = copied
    before = bytes_of(released(town, own, home))
    town.run("second")  # charges more to everybody
    folder = released(town, own, home)
    assert bytes_of(folder) == before
    shutil.rmtree(folder)
    assert bytes_of(released(town, own, home)) == before
    assert len(entries(town, "release")) == 1


def test_a_kill_after_the_entry_goes_on_with_it(copied: tuple[Town, Path], own: Path, monkeypatch):
    town, home = copied

    def killed(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sealing, "sync_folder", killed)
        with pytest.raises(KeyboardInterrupt):
            released(town, own, home)
    assert not list((home / "releases").glob("own-*"))
    (entry,) = entries(town, "release")
    folder = released(town, own, home)
    assert entries(town, "release") == [entry]
    assert (folder.name, sha256_file(folder / MANIFEST)) == (
        entry["release"],
        entry["manifest_sha256"],
    )


def test_who_withdrew_is_in_no_new_release(copied: tuple[Town, Path], own: Path):
    town, home = copied
    town.city.withdraw("iren", "another strategy")
    with pytest.raises(FelsinaError, match=r"seen iren, who withdrew .* --after first"):
        released(town, own, home)
    assert entries(town, "release") == []


def test_a_release_stays_when_a_partner_withdraws(copied: tuple[Town, Path], own: Path):
    town, home = copied
    before = bytes_of(released(town, own, home))
    town.city.withdraw("iren", "another strategy")
    assert bytes_of(released(town, own, home)) == before


def test_a_server_gives_the_forecasts_that_were_backtested(copied: tuple[Town, Path], own: Path):
    town, home = copied
    dataset = open_registered(own)
    release = load_release(released(town, own, home))
    trained = train_federated(town.city, "first", dataset, home, Silent())
    backtested, served = score_trained(trained).daily, score_release(release, dataset).daily
    np.testing.assert_allclose(served, backtested, atol=1e-3, rtol=1e-5)


def test_from_the_command_to_an_answer_that_says_the_epsilon(
    copied: tuple[Town, Path], own: Path, run: Run, monkeypatch
):
    town, home = copied
    monkeypatch.setenv("FELSINA_HOME", str(home))
    words = ["city", "release", "first", "--dataset", str(own), "--city", str(town.city.folder)]
    code, out, err = run(*words, "--json")
    assert code == 0, err
    made = json.loads(out)
    folder = Path(made["release"])
    code, _, err = run("report", "build", "--release", folder.name, "--dataset", str(own))
    assert code == 0, err
    told = json.loads((home / "reports" / folder.name / "report.json").read_bytes())
    assert told["federation"]["run"] == "first"
    assert told["audit"]["days"] > 0  # the rows are the city's own, and may be told of
    assert "private_rows" not in told["verdict"]["unknown"]
    page = (home / "reports" / folder.name / "report.en.html").read_text()
    assert "what partners kept, nothing of this" in page
    assert "hera, iren, tper trained the network together in 3 rounds" in page
    for one in made["claims"]:
        assert f"for each household of {one['partner']}, paid for" in page
    promoted(home)
    store = Store(home / "observations.db")
    hold_observations(open_registered(own), load_release(folder).spec.reach, store)
    approvals = Approvals(home, charter_of(home), store)
    client = TestClient(create_app(Catalogue(home, store, approvals)))
    answer = client.get("/v1/forecasts/own").json()
    assert (answer["model"]["version"], answer["approval"]) == (folder.name, "approved")
    privacy = client.get("/v1/datasets/own").json()["privacy"]
    assert privacy["epsilon"] == max(one["epsilon"] for one in made["claims"])


def test_a_run_that_goes_on_from_another_names_the_partners_of_both(
    copied: tuple[Town, Path], parts: list[CityDataset], own: Path, tmp_path: Path
):
    town = Town(tmp_path / "four", parts, private=True, first={"enel": 2})
    town.run("first")
    town.city.withdraw("enel", "another strategy")
    assert town.run("second", after="first")["reason"] == ""
    trained = train_federated(town.city, "second", open_registered(own), copied[1], Silent())
    charged = {one["partner"]: one["charged"] for one in trained.run["federation"]["partners"]}
    assert list(charged) == list(NAMES[:3])
    for steps in charged.values():
        assert [(one["run"], one["steps"]) for one in steps] == [("first", 2), ("second", 4)]


def test_without_noise_it_says_why_and_who_took_part(
    copied: tuple[Town, Path], parts: list[CityDataset], own: Path, tmp_path: Path
):
    town, home = Town(tmp_path / "plain", parts[:3], inductive=True), copied[1]
    town.run("first")
    folder = released(town, own, home)
    assert released(town, own, home) == folder
    said = load_release(folder).manifest["privacy"]
    assert said["differential_privacy"] is None
    for text in (said["statement"], said["statement_it"]):
        assert "meters of public buildings" in text
        assert "hera, iren, tper" in text
    assert entries(town, "release") == []


def test_what_cannot_be_released_is_refused_in_one_line(
    copied: tuple[Town, Path],
    ready: Trained,
    parts: list[CityDataset],
    own: Path,
    tmp_path: Path,
):
    town, home = copied

    def refused(said: str, run: str = "first", dataset: Path = own, city: City = town.city) -> None:
        with pytest.raises(FelsinaError, match=said) as caught:
            train_federated(city, run, open_registered(dataset), home, Silent())
        assert "\n" not in str(caught.value)

    refused("run 'never' of .* has not ended", run="never")
    refused("has not ended", run="../first")
    other = make_dataset(tmp_path / "other", horizon=12)
    refused("horizon is 12, federation demo has 6", dataset=other)
    refused("is dataset homes of partner hera", dataset=parts[0].folder)
    with pytest.raises(FelsinaError, match="name their ledger bologna-demo with --ledger"):
        build_release(ready, home)
    with pytest.raises(FelsinaError, match="felsina city release first"):
        adopt(open_registered(own), ready.folder, home, Silent())
    with pytest.raises(FelsinaError, match="say --no-errors"):
        make_evidence(ready, home, Silent())
    by_name = Town(tmp_path / "by-name", parts[:3])
    by_name.run("first")
    refused(r"architecture.inductive = false", city=by_name.city)
    late = Town(tmp_path / "late", parts[:3], private=True, first=dict.fromkeys(NAMES, 9))
    late.run("first")
    refused("has no round", city=late.city)
    plan = town.city.folder / "plan.json"
    plan.write_text(plan.read_text().replace('"width":8', '"width":16'))
    refused("other arrays", city=City(plan.parent))
