"""`felsina privacy ledger` from outside, and the lines in docs/ledger.md that need none of it."""

import json
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from models.record import canonical_json
from models.signing import create_key, public_hex
from pipelines import cli
from privacy.accounting import SampledGaussian
from privacy.entries import Agreement, Budget, Dataset, Release
from privacy.ledger import Ledger
from privacy.population import BudgetKey
from tests.fixtures.tiny import ROOT

HOMES = BudgetKey("hera", "homes", "household")
THOUSAND = SampledGaussian(0.01, 1.0, 1000)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("city")
    key = create_key(folder / "city.key")
    ledger = Ledger.create(
        folder / "ledger.jsonl", key, "bologna", lambda: datetime(2026, 3, 1, tzinfo=UTC)
    )
    for body in (
        Agreement(
            partner="hera",
            text_sha256="a" * 64,
            unit="household",
            epsilon=4.0,
            delta=1e-5,
            purposes=("energy forecasts, città di Bologna",),
            until=date(2026, 12, 31),
        ),
        Dataset(
            partner="hera",
            dataset="homes",
            digests={"series.parquet": "1" * 64},
            unit="household",
            units=5000,
        ),
        Budget(**HOMES._asdict(), epsilon=2.0, delta=1e-5),
    ):
        ledger.record(body)
    ledger.charge(HOMES, THOUSAND, "march", 0)
    release = Release(release="e-1", manifest_sha256="b" * 64, claim=(ledger.claim(HOMES),))
    ledger.record(release)
    (folder / "receipt.json").write_bytes(canonical_json(ledger.receipt()))
    (folder / "key.hex").write_text(public_hex(key.public_key()))
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch, capsys):
    """A command on a copy of the ledger, with the city's key and the receipt."""
    for file in made.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())

    def run(verb: str, *more: str, own: bool = False) -> tuple[int, str, str]:
        trusted = ["--key", str(tmp_path / "city.key.pub"), "--receipt"]
        trusted = [] if own else [*trusted, str(tmp_path / "receipt.json")]
        arguments = ["privacy", "ledger", verb, str(tmp_path / "ledger.jsonl"), *trusted, *more]
        monkeypatch.setattr("sys.argv", ["felsina", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def test_verify_shows_each_account(run):
    code, out, _ = run("verify")
    assert code == 0
    head, row, last = out.splitlines()
    assert re.split(r"  +", head.strip()) == [
        "partner",
        "dataset",
        "unit",
        "spent epsilon",
        "budget",
        "delta",
        "runs",
    ]
    assert row.split() == ["hera", "homes", "household", "1.8282", "2", "1e-05", "march"]
    assert "intact" in last
    assert "1 receipt kept" in last
    code, out, _ = run("verify", "--json")
    answer = json.loads(out)
    assert code == 0
    assert answer["key_given"] is True
    (account,) = answer["accounts"]
    assert account["epsilon"] == pytest.approx(1.828, abs=5e-4)
    assert account["runs"] == ["march"]
    assert answer["releases"][0]["epsilon"] == account["epsilon"]


def test_without_the_city_s_key_less_is_said(run):
    code, out, _ = run("verify", own=True)
    assert code == 0
    assert "not who signed" in out
    assert "no receipt given" in out


def test_show_lists_the_entries(run):
    code, out, _ = run("show")
    assert code == 0
    kinds = [line.split()[2] for line in out.splitlines()[:-1]]
    assert kinds == ["open", "agreement", "dataset", "budget", "charge", "release"]
    entries = json.loads(run("show", "--json")[1])
    assert entries[4]["body"]["steps"] == 1000


@pytest.mark.parametrize("verb", ["verify", "show"])
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b'"steps":1000', b'"steps":1', "entry 4 was edited"),
        (b'"stream":"bologna"', b'"stream":"b"', "entry 0 was edited"),
        (b'{"body"', b"", "entry 0 was edited"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_2(run, tmp_path, verb, own, old, new, said):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    code, out, err = run(verb, own=own)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("felsina: ")
    assert said in err


def test_another_city_s_key_and_a_missing_file_are_refused(run, tmp_path):
    other = public_hex(create_key(tmp_path / "other.key").public_key())
    code, _, err = run("verify", "--key", other, own=True)
    assert code == 2
    assert "entry 0 is signed by key" in err or "the head is signed by key" in err
    (tmp_path / "ledger.jsonl").unlink()
    code, _, err = run("verify", own=True)
    assert code == 2
    assert "is missing; name a privacy ledger" in err


def test_the_lines_in_the_docs_check_it_alone(made, tmp_path):
    page = (ROOT / "docs" / "ledger.md").read_text()
    code = next(c for c in re.findall(r"```python\n(.*?)```", page, re.S) if "hashlib" in c)
    assert len(re.findall(r"^.*\S.*$", code, re.M)) == 15
    check = tmp_path / "check.py"
    check.write_text(code)
    public = (made / "key.hex").read_text()

    def checked(path: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(check), str(path), str(made / "receipt.json"), public]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    done = checked(made / "ledger.jsonl")
    assert done.stdout.strip() == "6 entries, kept since the receipt of entry 5", done.stderr
    lines = (made / "ledger.jsonl").read_bytes().splitlines(keepends=True)
    copy = tmp_path / "copy.jsonl"
    swapped = [lines[1], lines[0], *lines[2:]]
    for spoiled in (lines[:-1], lines[1:], [*lines[:3], *lines[4:]], swapped):
        copy.write_bytes(b"".join(spoiled))
        assert checked(copy).returncode == 1
    copy.write_bytes(b"".join(lines).replace(b'"steps":1000', b'"steps":1'))
    assert "InvalidSignature" in checked(copy).stderr
