"""A partner's house, before a city that asks whatever it likes."""

from __future__ import annotations

import json
import stat
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from flwr.app import Message

from models.errors import FelsinaError
from models.signing import create_key, load_key, public_hex, sign_record
from privacy.deployment import house as module
from privacy.deployment.house import House
from privacy.deployment.plan import Policy
from privacy.grid import InProcessGrid
from privacy.ledger import Ledger
from privacy.messages import ending, instruction
from tests.privacy.deployment.conftest import invitation_of, make_city


class Asked:
    """A house that has joined, and a city that asks it."""

    def __init__(self, city, part, folder, monkeypatch, invitation, policy=None):
        policy = policy or Policy()
        self.house = House(folder, invitation, part, policy)
        self.said: list[str] = []

        def post(house, content, told, stop):
            return json.loads(json.dumps(city.enrol(house.partner, content)))

        monkeypatch.setattr(House, "_post", post)
        self.house.join(self.said.append, lambda: False)

        def node(identity, bundle, app, told):
            self.app = app
            return self

        monkeypatch.setattr(module, "Node", node)
        self.house.serve(self.said.append, lambda: True)
        self.initial = self.house.plan.initial(part.graph)

    def serve(self, stop): ...

    def ask(self, run, round, arrays=None, kind="train"):
        grid = InProcessGrid({1: self.app})
        content = instruction(arrays or self.initial, round, run)
        (reply,) = grid.send_and_receive([Message(content, 1, kind)])
        return reply

    def spent(self):
        own = self.house.folder
        account = Ledger(own / "account.jsonl", load_key(own / "partner.key"))
        return account.epsilon(self.house.key).pld


@pytest.fixture
def moved_in(city, parts, tmp_path, monkeypatch):
    """Joins; more often, if need be."""
    invitation = invitation_of(city, "hera", tmp_path)

    def join(policy=None, folder="house", given=city, path=invitation):
        return Asked(given, parts[0], tmp_path / folder, monkeypatch, path, policy)

    return join


def test_whatever_the_city_asks_no_more_leaves_than_the_policy_allows(moved_in):
    here = moved_in(Policy(epsilon=2.5))
    answered = [here.ask(f"run-{k}", 1).has_content() for k in range(6)]
    assert answered[0]
    assert not answered[-1]
    assert here.spent() <= 2.5
    before = here.spent()
    for run, round, arrays in (
        ("run-0", 1, {name: values + 1 for name, values in here.initial.items()}),
        ("run-0", 4, None),
        ("run-0", 0, None),
        ("run-0", 2, {"other": np.zeros(3, np.float32)}),
    ):
        reply = here.ask(run, round, arrays)
        assert (reply.has_error(), reply.error.reason) == (True, None)
    assert here.spent() == before
    for said in ("the budget is 2.5", "answered for another model", "round 4", "other arrays"):
        assert any(said in line for line in here.said), said


def test_a_run_whose_folder_was_taken_away_is_paid_for_anew(moved_in):
    here = moved_in()
    first = here.ask("first", 1)
    spent = here.spent()
    for path in (here.house.folder / "runs" / "first").iterdir():
        path.unlink()
    here.house._trainers.clear()
    again = here.ask("first", 1)
    assert first.has_content()
    assert again.has_content()
    assert here.spent() > 1.2 * spent  # other noise on the same rows


def test_without_noise_the_partners_own_day_and_rounds_hold_too(
    parts, tmp_path, monkeypatch, moved_in
):
    city = make_city(tmp_path / "plain", parts[0], private=False)
    (tmp_path / "hera.invitation").unlink()
    path = invitation_of(city, "hera", tmp_path, epsilon=0.0)
    last = date.today() + timedelta(days=3)
    here = moved_in(Policy(until=last), given=city, path=path)
    assert here.ask("first", 3).has_content()
    assert here.ask("first", 4).has_error()
    assert here.ask("first", -1).has_error()
    after = datetime(last.year, last.month, last.day, tzinfo=UTC) + timedelta(days=1)
    monkeypatch.setattr(module, "utc_now", lambda: after)
    assert here.ask("first", 2).has_error()
    assert f"the agreement ended on {last}" in here.said[-1]


@pytest.mark.parametrize(
    "run", ["", ".", "..", "../../up", "a/b", "/tmp/x", "a\n", "\x1b[2J", "x" * 300]
)
def test_a_run_of_a_strange_name_touches_nothing(moved_in, run):
    here = moved_in()
    before = sorted(here.house.folder.parent.rglob("*"))
    assert here.ask(run, 1).has_error()
    grid = InProcessGrid({1: here.app})
    message = Message(ending(here.initial, 1, run, "{}"), 1, "evaluate")
    (reply,) = grid.send_and_receive([message])
    assert reply.has_error()
    assert sorted(here.house.folder.parent.rglob("*")) == before
    assert not any(set(line) & set("\n\x1b") for line in here.said)


def test_a_receipt_is_a_head_and_no_path(moved_in, city):
    here = moved_in()
    before = sorted(here.house.folder.rglob("*"))
    head = city.ledger().receipt()
    bare = {name: head[name] for name in ("stream", "n", "time")}
    for changed in (bare, bare | {"sha256": "/../../x"}, bare | {"n": "../1", "sha256": "0" * 64}):
        with pytest.raises(FelsinaError, match="receipt is none"):
            here.house._receipt(sign_record(changed, city.key))
    other = create_key(here.house.folder.parent / "other.key")
    with pytest.raises(FelsinaError, match="receipt is signed by key"):
        here.house._receipt(sign_record(head, other))
    assert sorted(here.house.folder.rglob("*")) == before


def test_a_house_is_one_owners_one_process_and_one_partner(
    moved_in, city, parts, tmp_path, monkeypatch
):
    folder = tmp_path / "house"
    folder.mkdir(mode=0o755)
    here = moved_in()
    here.ask("first", 1)
    for path in (folder, folder / "runs" / "first"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    with pytest.raises(FelsinaError, match="another process is in it"):
        moved_in()
    here.house._lock.close()  # ended
    again = moved_in(Policy(noise_multiplier=50.0))
    assert again.ask("first", 1).has_error()  # of the same run, with other settings
    assert "other settings or data" in again.said[-1]
    again.house._lock.close()
    iren = invitation_of(city, "iren", tmp_path)
    with pytest.raises(FelsinaError, match="is the house of hera in bologna"):
        moved_in(path=iren)
    assert public_hex(city.key.public_key()) in (folder / "invitation").read_text()
