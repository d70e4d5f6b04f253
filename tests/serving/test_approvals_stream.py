"""Every way to damage the stream of decisions, under a server that runs and one that starts."""

import json
import logging

import pytest

from models.chain import head_path
from models.record import canonical_json, sha256_bytes, write_atomic
from models.signing import PrivateKey, sign_record
from serving.approvals import Approvals
from serving.store import Store
from tests.fixtures.boards import terms_of
from tests.fixtures.housed import URL, House, at


def forged(house: House, key: PrivateKey, upto: int | None = None) -> None:
    """Every entry, or the first ``upto``, signed anew by one key, with a head that fits."""
    lines, previous = [], "0" * 64
    for n, line in enumerate(house.stream.read_bytes().splitlines()[:upto]):
        record = json.loads(line)
        told = {k: record[k] for k in ("time", "kind", "body")} | {"n": n, "previous": previous}
        lines.append(canonical_json(sign_record(told, key)))
        previous = sha256_bytes(lines[-1])
    write_atomic(house.stream, b"".join(line + b"\n" for line in lines))
    head = json.loads(head_path(house.stream).read_bytes())
    head = {"stream": head["stream"], "time": head["time"], "n": len(lines) - 1}
    record = sign_record(head | {"sha256": previous}, key)
    write_atomic(head_path(house.stream), canonical_json(record))


def edited(house: House) -> None:
    content = house.stream.read_bytes().replace(b"2999-12-31", b"3999-12-31", 1)
    write_atomic(house.stream, content)


def cut_from_the_middle(house: House) -> None:
    lines = house.stream.read_bytes().splitlines(keepends=True)
    write_atomic(house.stream, b"".join(lines[:2] + lines[3:]))


def cut_at_the_end(house: House) -> None:
    lines = house.stream.read_bytes().splitlines(keepends=True)
    write_atomic(house.stream, b"".join(lines[:-1]))


def cut_with_a_new_head(house: House) -> None:
    """The operator has a key of the ring: only what was seen before speaks against this."""
    lines = house.stream.read_bytes().splitlines(keepends=True)
    write_atomic(house.stream, b"".join(lines[:-1]))
    last = json.loads(lines[-2])
    head = {"stream": house.board.charter.stream, "n": last["n"], "time": last["time"]}
    head["sha256"] = sha256_bytes(lines[-2][:-1])
    record = sign_record(head, house.board.keys["op"])
    write_atomic(head_path(house.stream), canonical_json(record))


def written_anew_by_a_stranger(house: House) -> None:
    forged(house, PrivateKey.generate())


def written_anew_by_the_operator(house: House) -> None:
    forged(house, house.board.keys["op"])


def head_taken_away(house: House) -> None:
    head_path(house.stream).unlink()


def taken_away(house: House) -> None:
    house.stream.unlink()


FAULTS = {
    edited: "was edited",
    cut_from_the_middle: "was cut out",
    cut_at_the_end: "its end was cut",
    cut_with_a_new_head: "its end was cut or an old copy was put back",
    written_anew_by_a_stranger: "is signed by key",
    written_anew_by_the_operator: "is signed by op, the operator; only the member may",
    head_taken_away: "is missing",
    taken_away: "is missing",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda spoil: spoil.__name__)
def test_a_damaged_stream_changes_nothing_that_runs_and_starts_nothing(
    house: House, caplog, spoil
) -> None:
    house.promote(house.first)
    assert house.served() == house.first.name
    held = house.kept()
    with caplog.at_level(logging.ERROR):
        spoil(house)
        assert house.served() == house.first.name
        assert FAULTS[spoil] in house.approvals.fault
        assert FAULTS[spoil] in caplog.text
    assert house.client.get("/v2/health/ready").json()["board"] == house.approvals.fault
    house.restart()
    answer = house.client.get(URL)
    assert (answer.status_code, "are not believed" in answer.json()["detail"]) == (503, True)
    assert str(house.home) not in answer.text
    house.put_back(held)
    assert house.served() == house.first.name
    assert house.approvals.fault == ""


def test_what_stays_in_force_under_a_damaged_stream_still_expires(house, monkeypatch) -> None:
    house.promote(house.first, expires="2030-06-01")
    assert house.served() == house.first.name
    cut_at_the_end(house)
    assert house.served() == house.first.name
    at(monkeypatch, "2030-06-02")
    assert house.client.get(URL).status_code == 503


def test_an_old_copy_put_back_shows_also_after_a_restart(house: House) -> None:
    house.promote(house.first)
    house.promote(house.second)
    held = house.kept()
    of = terms_of(house.home, house.second)
    house.board.register("a").alarm(of.dataset, of.release, of.manifest_sha256, "misses floods")
    alarmed = house.kept()
    assert house.served() == house.first.name
    house.put_back(held)
    assert house.served() == house.first.name
    house.restart()
    assert "old copy was put back" in house.client.get(URL).json()["detail"]
    elsewhere = Approvals(house.home, house.charter, Store(house.home / "other.db"))
    assert elsewhere.choices()["tiny"].allowed[0].folder == house.second  # it never saw the alarm
    house.put_back(alarmed)
    assert house.served() == house.first.name


def test_a_store_that_cannot_be_asked_is_a_fault_and_no_excuse(house, monkeypatch) -> None:
    house.promote(house.first)
    assert house.served() == house.first.name
    with house.store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE heads")
    house.promote(house.second)
    assert house.served() == house.first.name
    assert "the store does not say" in house.approvals.fault
