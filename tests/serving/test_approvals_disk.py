"""What who can write the home may do to files under a running server, and what stays in force."""

import os
from datetime import timedelta

import numpy as np
import pytest

from models.board import APPROVE
from models.record import write_atomic
from serving import approvals as module
from serving.approvals import Allowed, Approvals
from serving.release import MODEL, Approval, load_release
from serving.runtime import Runtime
from serving.served import Served
from tests.fixtures.boards import terms_of
from tests.fixtures.housed import House, at


def alarm(house: House, folder) -> None:
    of = terms_of(house.home, folder)
    house.board.register("c").alarm(of.dataset, of.release, of.manifest_sha256, "misses floods")


def test_a_stream_that_is_a_loop_extends_no_approval(house: House, monkeypatch) -> None:
    house.promote(house.first, expires="2030-06-01")
    assert house.served() == house.first.name
    house.stream.unlink()
    house.stream.symlink_to(house.stream.name)
    assert house.served() == house.first.name, "what was verified stays until it expires"
    assert "is missing" in house.approvals.fault
    at(monkeypatch, "2030-06-02")
    house.withheld("which is over")


@pytest.mark.parametrize("trap", ["loop", "pipe", "folder"])
def test_a_trap_in_what_is_fallen_back_to_keeps_nothing_in_service(house: House, trap: str) -> None:
    house.promote(house.first)
    house.promote(house.second)
    house.restart()
    assert house.served() == house.second.name
    if trap == "loop":
        (house.first / "x").symlink_to("x")
    else:
        (house.first / MODEL).unlink()
        made = house.first / MODEL
        os.mkfifo(made) if trap == "pipe" else made.mkdir()
    alarm(house, house.second)
    house.withheld("misses floods")


def test_what_is_opened_is_what_was_verified(house: House, tiny) -> None:
    release = load_release(house.first)
    window = tiny.builder.batch(tiny.origins[:1])
    before = Runtime(release).predict(window)
    (house.first / MODEL).write_bytes(b"another graph, put there after the look")
    np.testing.assert_array_equal(Runtime(release).predict(window), before)


def test_what_is_held_is_not_lent_to_another_manifest_s_approval(house: House) -> None:
    served = Served(house.home, lambda folder: Runtime(load_release(folder)))
    one = Approval("approved", "d" * 64)
    right = load_release(house.first).sha256
    held = served._load("tiny", Allowed(house.first, right, one))
    assert held is not None
    served._held["tiny"] = held
    assert served._load("tiny", Allowed(house.first, right, one)) == held
    assert served._load("tiny", Allowed(house.first, "f" * 64, one)) is None


def test_memory_outlives_a_store_that_was_emptied(house: House) -> None:
    house.promote(house.first)
    house.promote(house.second)
    before = house.kept()
    alarm(house, house.second)
    assert house.served() == house.first.name
    with house.store.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM heads")
    house.put_back(before)
    assert house.served() == house.first.name
    assert "old copy was put back" in house.approvals.fault


def test_an_alarm_counts_while_the_store_is_silent(house: House) -> None:
    house.promote(house.first)
    assert house.served() == house.first.name
    with house.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE heads RENAME TO away")
    alarm(house, house.first)
    house.withheld("misses floods")
    assert "the store does not say" in house.approvals.fault


def test_an_entry_that_is_to_come_is_a_fault_that_leaves_no_trace(
    house: House, monkeypatch
) -> None:
    house.promote(house.first)
    before = house.kept()
    assert house.served() == house.first.name
    of = terms_of(house.home, house.second)
    house.board.vote(of, "a")
    with monkeypatch.context() as patch:
        patch.setattr(module, "AHEAD", timedelta(days=-1))
        assert house.served() == house.first.name
        assert "which is to come" in house.approvals.fault
    for name, content in before.items():  # restored, and believed again by who starts
        write_atomic(house.board.folder / name, content)
    anew = Approvals(house.home, house.charter, house.store)
    assert anew.verified() is not None
    assert anew.fault == ""
    assert of.decision == APPROVE


def test_a_folder_of_nothing_takes_no_name_away(house: House) -> None:
    house.promote(house.first)
    stray = house.home / "releases" / "tiny-zzzzzzzzzzzz"
    stray.mkdir()
    for name in ("manifest.json", "inputs.json"):
        (stray / name).write_bytes(b"{}")
    assert house.served() == house.first.name
    alarm(house, house.first)
    house.withheld("misses floods")


def test_a_head_of_ten_thousand_brackets_is_a_fault(house: House) -> None:
    house.promote(house.first)
    assert house.served() == house.first.name
    write_atomic(house.stream.with_name(house.stream.name + ".head"), b"[" * 200_000)
    assert house.served() == house.first.name
    assert house.approvals.fault
