"""``felsina city`` and ``felsina partner`` without a network; test_live has one."""

import json
import math
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models.errors import FelsinaError
from pipelines.cli import app
from privacy.deployment.city import City
from tests.factories import make_dataset

PLAN = """
federation = "demo"
[rounds]
rounds = 3
[private]
unit = "household"
nominal_units = 4
sampling_rate = 0.5
delta = 1e-3
epsilon = 2.0
steps = 6
most_windows = 2
lags = [24, 168]
[private.architecture]
width = 8
blocks = 1
embedding = 2
dropout = 0.0
inductive = true
graph = false
"""


def felsina(*words, fails=False):
    done = CliRunner().invoke(app, [str(word) for word in words])
    if fails:
        assert isinstance(done.exception, FelsinaError), done.output
        return str(done.exception)
    assert done.exception is None, (done.output, done.exception)
    return done.output


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A city, an invitation, and a partner's dataset."""
    folder = tmp_path_factory.mktemp("federation")
    (folder / "plan.toml").write_text(PLAN)
    (folder / "agreement.md").write_text("We train together.\n")
    make_dataset(folder / "data")
    said = felsina(
        *("city", "init", "--name", "bologna", "--address", "localhost:1"),
        *("--plan", folder / "plan.toml", "--like", folder / "data", "--city", folder / "city"),
    )
    assert "felsina_federation/apps.py" in said
    invite(folder, "hera")
    return folder


def invite(folder, name, *words, fails=False):
    return felsina(
        *("city", "invite", name, "--agreement", folder / "agreement.md", "--units", 4),
        *("--purpose", "forecasts", "--until", "2099-12-31", "--delta", 1e-3),
        *("--city", folder / "city", "--out", folder / f"{name}.invitation", *words),
        fails=fails,
    )


def test_check_says_what_joining_means_and_opens_no_connection(place, monkeypatch):
    def no_network(*args, **named):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    words = ("partner", "check", "--dataset", place / "data", "--invitation")
    told = json.loads(felsina(*words, place / "hera.invitation", "--json"))
    private, leaves = told["private"], told["leaves"]
    assert (private["unit"], private["units_here"], private["nominal_units"]) == ("household", 4, 4)
    assert 1.9 < private["epsilon"] <= 2.0
    assert leaves["numbers"] == sum(math.prod(shape) for shape in leaves["arrays"].values())
    assert not any("node" in name.split(".") for name in leaves["arrays"])
    text = felsina(*words, place / "hera.invitation")
    assert "spends epsilon 1.99" in text
    assert text.strip().endswith("nothing was sent")


def test_a_plan_alone_can_be_checked_and_a_policy_narrows(place):
    words = ("partner", "check", "--dataset", place / "data")
    assert "federation demo" in felsina(*words, "--plan", place / "plan.toml")
    assert "name an invitation" in felsina(*words)
    policy = place / "own.toml"
    policy.write_text("noise_multiplier = 9.0\n")
    named = (*words, "--invitation", place / "hera.invitation", "--policy", policy)
    told = json.loads(felsina(*named, "--json"))
    assert told["private"]["noise_multiplier"] == 9.0
    assert told["private"]["epsilon"] < 1
    policy.write_text("epsilon = 0.5\n")
    told = json.loads(felsina(*named, "--json"))
    assert 0.45 < told["private"]["epsilon"] <= told["terms"]["epsilon"] == 0.5
    policy.write_text("epsilon = 9.0\n")
    assert "only be stricter" in felsina(*named, fails=True)


def test_join_asks_before_anything_is_made(place):
    house = place / "house"
    words = ("partner", "join", place / "hera.invitation", "--dataset", place / "data")
    assert "--agree" in felsina(*words, "--house", house, fails=True)
    assert not house.exists()


def test_another_task_or_version_is_refused_by_name(place, tmp_path):
    other = make_dataset(tmp_path / "other", horizon=12)
    words = ("partner", "check", "--dataset", other, "--invitation", place / "hera.invitation")
    assert "horizon is 12, federation demo has 6" in felsina(*words, fails=True)


def test_the_citys_words_are_checked(place):
    assert "exists" in invite(place, "hera", fails=True)
    assert "give a text file" in invite(place, "iren", "--agreement", "none.md", fails=True)
    assert "2027-12-31" in invite(place, "iren", "--until", "soon", fails=True)
    city = ("--city", place / "city")
    assert "never invited" in felsina("city", "withdraw", "nobody", *city, fails=True)
    assert "plain name" in felsina("city", "run", "../x", *city, fails=True)
    assert "no city's folder" in felsina("city", "status", "--city", place, fails=True)
    status = json.loads(felsina("city", "status", *city, "--json"))
    assert [row["state"] for row in status["partners"]] == ["invited"]
    assert "intact" in felsina("city", "ledger", *city)
    assert City(place / "city").plan.federation == "demo"


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ("federation = ", "no TOML: Invalid value"),
        ("federation = 'demo'", "reason"),
        (PLAN.replace("household", "window"), "window protects nobody"),
        (PLAN.replace("delta = 1e-3", "delta = 0.5"), "delta"),
        (PLAN.replace("rounds = 3", "rounds = 9"), "fewer than rounds"),
        (PLAN.replace("rounds = 3", "round = 3"), "rounds.round"),
        (PLAN.replace("rounds = 3", "rule = 'median'"), "rounds.rule = 'median'"),
        (PLAN + "\n[training]\nsteps = 3\n", "one of them"),
    ],
)
def test_a_plan_that_is_wrong_leaves_no_city(place, tmp_path, plan, said):
    path = tmp_path / "plan.toml"
    path.write_text(plan)
    words = ("city", "init", "--name", "x", "--address", "localhost:1", "--plan", path)
    like = ("--like", place / "data", "--city", tmp_path / "city")
    assert said in felsina(*words, *like, fails=True)
    assert not (tmp_path / "city").exists()
