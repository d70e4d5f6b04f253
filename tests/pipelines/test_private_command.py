"""`felsina privacy train`, `release build --trained` and `privacy claim` from outside."""

import json
import subprocess
import time
from datetime import date
from pathlib import Path

import pytest

from models.signing import create_key
from privacy.entries import Release
from privacy.ledger import Ledger
from privacy.population import BudgetKey
from tests.fixtures.ledgers import HOMES, THOUSAND, agreement, budget, dataset
from tests.fixtures.private_city import City, make_city
from tests.fixtures.tiny import ROOT, Run, Tiny, command, environment

KILLED_AFTER, MANY = 10, 40
"""Steps that are charged before the kill, and steps of the whole training."""


@pytest.mark.slow
def test_a_killed_training_goes_on_and_every_step_is_charged_once(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    city = make_city(tmp_path)
    monkeypatch.setenv("FELSINA_HOME", str(city.home))

    def told(*words: str) -> dict:
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    # Four homes: with much noise hardly anything is spent, however many steps there are.
    sets = ["--set", f"steps={MANY}", "--set", "noise_multiplier=40", "--set", "lags=[24]"]
    words = ["privacy", "train", *city.flags, *sets]
    process = subprocess.Popen(
        command(*words),
        cwd=ROOT,
        env=environment(city.home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < end and city.kinds("charge") < KILLED_AFTER:
        time.sleep(0.01)
    process.kill()
    _, said = process.communicate(timeout=30)
    assert process.returncode == -9, said
    charged = city.charges()
    assert KILLED_AFTER <= len(charged) < MANY
    assert "on the budget of hera" in said
    assert not (city.home / "trained").exists()

    record = told(*words)
    name = record["run"]
    assert city.charges() == [(name, step) for step in range(MANY)]
    assert city.charges()[: len(charged)] == charged
    assert record["whole"] is True
    assert record["spent"] == pytest.approx(record["epsilon"], rel=1e-6)

    made = ["--dataset", str(city.dataset), "--trained", record["trained"]]
    assert told("privacy", "evidence", *made, "--no-errors")["of"]["run"] == name
    paying = ["--ledger", str(city.ledger), "--key", str(city.key)]
    release = Path(told("release", "build", *made, *paying)["release"])
    assert run("release", "verify", str(release))[0] == 0
    checked = told("privacy", "ledger", "verify", str(city.ledger))
    assert checked["releases"][0]["release"] == release.name
    (claim,) = told("privacy", "claim", "--ledger", str(city.ledger))["claims"]
    assert claim["releases"] == [release.name]
    assert claim["runs"] == [name]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> City:
    return make_city(tmp_path_factory.mktemp("command"), epsilon=0.3)


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ([], "budget is 0.3"),
        (["unit='window'"], "window protects nobody"),
        (["unit='vehicle'"], "registered for unit household"),
        (["nosuch=1"], "setting nosuch = 1"),
        (["delta=.1"], "take at most 0.025"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_runs(run, city: City, sets, said) -> None:
    before = city.ledger.read_bytes()
    code, out, err = run("privacy", "train", *city.flags, *[t for s in sets for t in ("--set", s)])
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("felsina: ")
    assert said in err.splitlines()[-1]
    assert city.ledger.read_bytes() == before
    assert not (city.home / "work").exists()


@pytest.mark.parametrize("flag", ["--dataset", "--ledger", "--key", "--settings"])
def test_a_missing_file_is_named(run, city: City, tmp_path: Path, flag: str) -> None:
    words = list(city.flags)
    words[words.index(flag) + 1] = str(tmp_path / "nosuch")
    code, _, err = run("privacy", "train", *words)
    assert code == 2
    assert err.splitlines()[-1].startswith("felsina: ")
    assert "nosuch" in err.splitlines()[-1]


def test_build_takes_a_folder_as_it_is(run, city: City, tiny: Tiny) -> None:
    build = ["release", "build", "--dataset", str(tiny.folder)]
    named = [*build, "--trained", str(tiny.trained)]
    paying = ["--ledger", str(city.ledger), "--key", str(city.key)]
    code, out, _ = run(*named)
    assert code == 0
    assert out.strip() == str(tiny.release)
    for words, said in (
        ([*build, *paying], "name its folder with --trained"),
        ([*named, "--seed", "3"], "is sealed as it is"),
        ([*named, *paying[:2]], "--ledger and --key go together"),
        ([*named, *paying], "was not trained privately"),
    ):
        code, _, err = run(*words)
        assert code == 2
        assert said in err.splitlines()[-1]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path, key = tmp_path / "ledger.jsonl", create_key(tmp_path / "city.key")
    held = Ledger.create(path, key, "bologna")
    buses = BudgetKey("tper", "buses", "vehicle")
    always = date(9999, 12, 31)
    for body in (
        agreement(until=always),
        dataset(),
        budget(),
        agreement(partner="tper", unit="vehicle", until=always),
        dataset("buses", digest="3", partner="tper", unit="vehicle", units=900),
        budget(1.0, 1e-5, buses),
    ):
        held.record(body)
    held.charge(HOMES, THOUSAND, "march", 0)
    held.record(Release(release="e-1", manifest_sha256="b" * 64, claim=(held.claim(HOMES),)))
    return path


def test_a_claim_is_told_in_both_languages(run, ledger: Path) -> None:
    code, out, _ = run("privacy", "claim", "--ledger", str(ledger))
    assert code == 0
    for text in ("data set homes of partner hera", "6.23 times", "Not protected:", "(e-1)"):
        assert text in out
    for text in ("homes del partner hera", "6,23 volte", "Non è protetto:", "tper"):
        assert text in out
    assert "not who signed" in out
    own = ["--partner", "hera", "--key", f"{ledger.with_name('city.key')}.pub"]
    code, out, _ = run("privacy", "claim", "--ledger", str(ledger), *own)
    assert code == 0
    assert "tper" not in out
    assert "not who signed" not in out


def test_a_claim_in_json(run, ledger: Path) -> None:
    words = ["privacy", "claim", "--ledger", str(ledger), "--partner", "hera", "--json"]
    answer = json.loads(run(*words)[1])
    (claim,) = answer["claims"]
    assert claim["epsilon"] == pytest.approx(1.828, abs=5e-4)
    assert (claim["units"], claim["runs"], claim["releases"]) == (5000, ["march"], ["e-1"])
    assert set(answer["statement"]) == {"en", "it", "not_protected_en", "not_protected_it"}


def test_a_claim_of_an_edited_ledger_is_refused(run, ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes().replace(b'"steps":1000', b'"steps":10'))
    code, out, err = run("privacy", "claim", "--ledger", str(ledger))
    assert (code, out) == (2, "")
    assert "was edited" in err
    code, _, err = run("privacy", "claim", "--ledger", str(ledger.with_name("nosuch")))
    assert code == 2
    assert "is missing" in err
