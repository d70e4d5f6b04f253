"""A real deployment on loopback: city, SuperLink, proxy, three partners, each a process of its own.

What is killed is killed with -9. Nothing here is a stand-in.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from models.chain import verify
from models.signing import load_key
from privacy.accounting import epsilon_of
from privacy.accounts import Accounts
from privacy.deployment import certificates
from privacy.deployment.house import seed_of
from privacy.deployment.node import Identity
from privacy.deployment.results import ENDED, load_arrays
from privacy.deployment.superlink import QUIET, free_port
from privacy.federation import in_process
from privacy.ledger import Ledger
from privacy.local import LocalTrainer, federated
from privacy.population import BudgetKey, mechanism_of
from privacy.replay import replay
from privacy.rounds import run_rounds
from tests.fixtures.forks import Forked
from tests.privacy.deployment.conftest import invitation_of, make_city

pytestmark = pytest.mark.slow
_PATIENCE_S = 240
NAMES = ("hera", "iren", "tper")


class Deployment:
    """Processes and folders of one federation."""

    def __init__(self, folder, parts, **plan):
        self.folder, self.parts = folder, dict(zip(NAMES, parts, strict=True))
        address = f"localhost:{free_port()}"
        rounds = {"deadline_s": 20, "attempts": 12}
        self.city = make_city(folder / "city", parts[0], address, **(rounds | plan))
        self.private = self.city.plan.private is not None
        self.processes: dict[str, Forked] = {}

    def invite(self, **terms):
        epsilon = {} if self.private else {"epsilon": 0.0}
        for name in NAMES:
            invitation_of(self.city, name, self.folder, **(epsilon | terms))

    def start(self, name, *words):
        environment = os.environ | QUIET | {"OMP_NUM_THREADS": "1"}
        environment |= {"FELSINA_HOME": str(self.folder / "home"), "PYTHONPATH": str(Path.cwd())}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = Forked([*map(str, words)], environment, Path.cwd(), log)

    def run(self, run):
        self.start("city", "city", "run", run, "--city", self.city.folder, "--wait", "120")

    def join(self, name, *words):
        dataset = self.parts[name].folder
        invitation = self.folder / f"{name}.invitation"
        house = ("--house", self.folder / name)
        self.start(
            name, "partner", "join", invitation, "--dataset", dataset, "--agree", *house, *words
        )

    def kill(self, name):
        self.processes[name].kill()
        self.processes.pop(name).wait()

    def work(self, run):
        return self.city.folder / "runs" / run

    def round(self, run):
        kept = sorted(self.work(run).glob("round-*.npz"))
        return int(kept[-1].stem.split("-")[1]) if kept else 0

    def until(self, what, said):
        ends = time.monotonic() + _PATIENCE_S
        while not what():
            dead = [n for n, p in self.processes.items() if p.poll() not in (None, 0)]
            if dead or time.monotonic() > ends:
                raise AssertionError(f"{said}; ended: {dead}\n{self.logs()}")
            time.sleep(0.2)

    def ended(self, run):
        path = self.work(run) / ENDED
        self.until(path.exists, f"run {run} did not end")
        return json.loads(path.read_bytes())

    def logs(self):
        places = [*self.folder.glob("*.log"), self.city.folder / "superlink" / "superlink.log"]
        return "\n".join(f"== {p.name}\n{p.read_text()[-1500:]}" for p in places if p.exists())

    def identity(self, name):
        own = self.folder / name
        key, pem = own / "node.key", own / "node.pem"
        return Identity(self.city.address, own / "ca.crt", key, pem)


@pytest.fixture
def deployed(parts, tmp_path):
    made: list[Deployment] = []

    def deploy(**plan):
        made.append(Deployment(tmp_path, parts, **plan))
        return made[-1]

    yield deploy
    for deployment in made:
        for process in deployment.processes.values():
            process.terminate()
        for process in deployment.processes.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_whatever_is_killed_the_model_is_that_of_an_unbroken_run(deployed, parts, tmp_path):
    here = deployed(private=False, rounds=4)
    here.invite()
    here.run("first")
    for name in NAMES:
        here.join(name)
    here.until(lambda: here.round("first") >= 1, "no round was finished")
    pid = int((here.city.folder / "superlink" / "pid").read_text())
    os.killpg(pid, signal.SIGKILL)
    after = here.round("first")
    here.until(lambda: here.round("first") > after, "no round after the SuperLink was killed")
    here.kill("iren")
    here.join("iren")
    after = here.round("first")
    here.until(lambda: here.round("first") > after, "no round after a partner was killed")
    pid = int((here.city.folder / "superlink" / "pid").read_text())
    here.kill("city")
    here.until(lambda: not alive(pid), "the SuperLink outlived its city")
    here.run("first")
    ended = here.ended("first")
    assert (ended["rounds"], ended["reason"]) == (4, "")
    assert set(ended["given_to"]) == set(NAMES)
    entries = verify(here.city.ledger_path, here.city.key.public_key(), [ended["receipt"]])
    assert sum(entry.kind == "agreement" for entry in entries) == 3

    plan = here.city.plan
    trainers = {}
    for name, part in here.parts.items():
        assert plan.training is not None
        trainers[name] = LocalTrainer(part, federated(plan.training), 4, seed_of(name))
    agreed = {name: float(one.observed) for name, one in trainers.items()}
    unbroken = run_rounds(
        "first",
        plan.initial(parts[0].graph),
        in_process(trainers),
        agreed,
        plan.rounds.settings(),
        tmp_path / "unbroken",
        lambda round, told: None,
    )
    served = load_arrays(here.work("first") / "model.npz")
    for name, values in unbroken.arrays.items():
        np.testing.assert_allclose(served[name], values, rtol=0, atol=1e-6)
    for name in NAMES:
        given = load_arrays(here.folder / name / "runs" / "first" / "model-000004.npz")
        assert all(np.array_equal(given[key], served[key]) for key in served)


def test_households_are_charged_for_what_was_used_and_a_run_stops_with_its_budget(deployed):
    here = deployed(private=True, rounds=3)
    here.invite(epsilon=2.6)  # a run spends 2, so that a second one cannot start
    here.run("first")
    for name in NAMES:
        here.join(name)
    ended = here.ended("first")
    assert (ended["rounds"], ended["reason"]) == (3, "")
    here.processes.pop("city").wait(60)

    ring = here.city.key.public_key()
    receipts = [
        sorted((here.folder / name / "receipts").iterdir(), key=lambda p: p.stat().st_mtime)[-1]
        for name in NAMES
    ]
    accounts = replay(here.city.ledger_path, ring, receipts)
    for name in NAMES:
        key = BudgetKey(name, "tiny", "household")
        spent = epsilon_of(steps_of(accounts, key), 1e-3).pld
        assert 1.9 < spent <= 2.0
        own = here.folder / name
        account = Ledger(own / "account.jsonl", load_key(own / "partner.key"))
        assert account.epsilon(key).pld == pytest.approx(spent, rel=1e-9)

    shows_what_a_partner_cannot_do(here)

    here.run("second")
    status = here.processes["city"].wait(180)
    said = (here.folder / "city.log").read_text()
    assert status == 2
    assert "and the budget is 2.6" in said
    assert not (here.work("second") / "round-000001.npz").exists()
    assert "Traceback" not in said

    here.processes.pop("city")
    here.city.withdraw("tper", "leaves")
    here.run("third")
    here.until(lambda: here.processes["tper"].poll() is not None, "a partner that left stays")
    assert here.processes.pop("tper").returncode == 2
    assert "withdrew" in (here.folder / "tper.log").read_text()


def steps_of(accounts: Accounts, key: BudgetKey):
    return [mechanism_of(made.charge) for made in accounts.population(key).charges]


def shows_what_a_partner_cannot_do(here: Deployment):
    """With all that a partner holds, it starts no run and registers no node."""
    for name in NAMES[1:]:  # with one partner the city waits, and its door stays open
        here.kill(name)
    here.run("watched")
    identity = here.identity("hera")
    header = base64.b64encode(
        certificates.public_pem(certificates.load_node_key(identity.key).public_key())
    ).decode()
    client = httpx.Client(base_url=f"https://{here.city.address}", verify=identity.context())

    def up():
        try:
            client.post("/v1/fleet/get-run", headers={"flwr-public-key": header})
        except httpx.TransportError:
            return False
        return True

    here.until(up, "the door does not open")
    before = (here.city.folder / "superlink" / "superlink.log").stat().st_size
    for path in ("/v1/control/start-run", "/v1/control/register-node", "/v1/fleet/register-node"):
        answer = client.post(path, content=b"", headers={"flwr-public-key": header})
        assert answer.status_code in (403, 404), path
    flower = here.folder / "flower"
    flower.mkdir()
    (flower / "config.toml").write_text(
        f'[superlink]\ndefault = "city"\n[superlink.city]\naddress = "{here.city.address}"\n'
        f'root-certificates = "{identity.authority}"\n'
    )
    (flower / "new.pub").write_bytes(
        certificates.ssh_of_pem(
            certificates.public_pem(
                certificates.create_node_key(flower / "new.key").public_key()
            ).decode()
        )
    )
    for words in (
        ("run", str(here.city.folder / "bundle"), "city"),
        ("supernode", "register", str(flower / "new.pub"), "city"),
        ("supernode", "list", "city"),
    ):
        assert not told_by_flower(flower, *words), words
    # The same words work where the city itself says them.
    assert told_by_flower(here.city.folder / "superlink" / "flwr", "supernode", "list", "felsina")
    log = (here.city.folder / "superlink" / "superlink.log").read_text()[before:]
    assert log.count("/v1/control/start-run") <= 1  # the city's own
    assert "register-node" not in log
    here.kill("city")
    for name in NAMES[1:]:
        here.join(name)


def told_by_flower(home, *words):
    """Whether Flower's own command succeeds with the connections of a home."""
    done = subprocess.run(
        [Path(sys.executable).parent / "flwr", *words, "--format", "json"],
        env=os.environ | QUIET | {"FLWR_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode == 0 and json.loads(done.stdout[done.stdout.find("{") :])["success"]


def test_a_run_of_another_bundle_gets_no_answer(deployed):
    here = deployed(private=False, rounds=1, attempts=1, deadline_s=20)
    here.invite()
    apps = here.city.folder / "bundle" / "felsina_federation" / "apps.py"
    apps.write_text(apps.read_text() + "\n# one line more\n")
    here.run("first")
    for name in NAMES:
        here.join(name)
    ended = here.ended("first")
    assert ended["rounds"] == 0
    assert "fewer than 3 sound replies" in ended["reason"]
    assert "error" in ended["reason"]
    for name in NAMES:
        assert "refused, nothing was trained" in (here.folder / f"{name}.log").read_text()
        assert not list((here.folder / name).glob("runs/first/*"))


def test_invitation_is_checked_before_anything_is_sent(deployed):
    here = deployed(private=True, rounds=3)
    here.invite()
    path = here.folder / "hera.invitation"
    record = json.loads(path.read_text())
    record["bundle_files"]["felsina_federation/apps.py"] = "0" * 64
    path.write_text(json.dumps(record))
    here.join("hera")
    assert here.processes.pop("hera").wait(60) == 2
    assert "was edited" in (here.folder / "hera.log").read_text()
    assert not (here.folder / "hera").exists()
