"""Keys, roles, quotas and what is told of requests, at the gate before the whole API."""

import asyncio
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from models.contracts import FelsinaError
from serving.catalogue import Catalogue
from serving.gate import MOST_BYTES
from serving.gate import gate as gates
from serving.gate.keys import Key, Keys, digest, expiry
from serving.gate.metrics import log
from serving.gate.problems import Refusal
from serving.gate.rates import Quotas
from serving.store import Store
from tests.fixtures.guarded import bearer, guarded, problem, write
from tests.fixtures.tiny import Tiny, felsina


@pytest.fixture
def keys(store: Store) -> Keys:
    return Keys(store.engine)


@pytest.fixture
def client(tiny: Tiny, store: Store, keys: Keys) -> TestClient:
    return guarded(tiny, store)


def test_reading_is_open_and_writing_needs_a_key(client: TestClient, keys: Keys) -> None:
    assert client.get("/v1/forecasts/tiny").status_code == 200
    detail = problem(write(client, None), 401)
    assert "Bearer fel_" in detail
    assert write(client, None).headers["www-authenticate"] == 'Bearer realm="felsina"'
    secret = keys.create("feed", "write")
    assert write(client, secret).status_code == 200
    assert secret not in detail


def test_a_role_does_what_those_before_it_do_and_no_more(client: TestClient, keys: Keys) -> None:
    secrets = {role: keys.create(f"a-{role}", role) for role in ("read", "write", "operate")}
    for role, allowed in (("read", False), ("write", True), ("operate", True)):
        head = bearer(secrets[role])
        assert client.get("/v1/datasets", headers=head).status_code == 200
        answer = write(client, secrets[role])
        if allowed:
            assert answer.status_code == 200
        else:
            assert "role write" in problem(answer, 403)
            assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]
        answer = client.delete("/v1/observations/tiny", headers=head)
        problem(answer, 405 if role == "operate" else 403)


def test_what_is_no_key_opens_nothing(client: TestClient, keys: Keys) -> None:
    secret = keys.create("feed", "write")
    assert write(client, secret).status_code == 200
    for wrong in ("", "x", secret[:-1], secret + "A", secret.upper(), digest(secret), "fel_"):
        problem(write(client, wrong), 401)
        problem(client.get("/v1/datasets", headers=bearer(wrong)), 401)
    for header in (secret, f"Basic {secret}", f"Bearer{secret}", f"Bearer {secret} {secret}"):
        problem(client.get("/v1/datasets", headers={"authorization": header}), 401)
    twice = [("authorization", f"Bearer {secret}")] * 2
    problem(client.get("/v1/datasets", headers=twice), 401)


def test_revoked_and_expired_keys_stop(
    tiny: Tiny, store: Store, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gate.ring._FRESH_SECONDS", 0.0)
    client = guarded(tiny, store)
    soon = datetime.now(UTC) + timedelta(seconds=2)
    stays, goes, ends = (
        keys.create(n, "write", expires=soon if n == "ends" else None)
        for n in ("stays", "goes", "ends")
    )
    assert [write(client, s).status_code for s in (stays, goes, ends)] == [200, 200, 200]
    keys.revoke("goes")
    assert "revoked" in problem(write(client, goes), 401)
    time.sleep(2.1)
    assert "expired" in problem(write(client, ends), 401)
    problem(client.get("/v1/datasets", headers=bearer(goes)), 401)  # nor is it anonymous
    assert write(client, stays).status_code == 200


def test_a_worker_sees_a_revocation_within_seconds(client: TestClient, keys: Keys) -> None:
    secret = keys.create("feed", "write")
    assert write(client, secret).status_code == 200
    keys.revoke("feed")
    time.sleep(1.1)
    problem(write(client, secret), 401)


def test_secrets_are_held_nowhere(keys: Keys, store: Store, tmp_path: Path) -> None:
    secret = keys.create("feed", "write")
    assert len(secret) == 47
    assert keys.create("other", "write") != secret
    with store.engine.connect() as connection:
        connection.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    held = b"".join(file.read_bytes() for file in tmp_path.glob("filled.db*"))
    assert digest(secret).encode() in held
    assert secret.removeprefix("fel_").encode() not in held


def test_keys_that_make_no_sense_are_refused(keys: Keys) -> None:
    keys.create("taken", "read")
    for match, choices in (
        ("exists", {"name": "taken"}),
        ("name", {"name": "A b"}),
        ("name", {"name": ""}),
        ("role", {"role": "root"}),
        ("rate", {"rate": 0.0}),
        ("rate", {"rate": float("nan")}),
        ("quota", {"quota": 0}),
        ("past", {"expires": expiry("2020-01-01")}),
        ("operating", {"role": "operate", "datasets": ("a",)}),
        ("empty name", {"datasets": ("",)}),
        ("empty name", {"datasets": ("tiny", " ")}),
    ):
        with pytest.raises(FelsinaError, match=match):
            keys.create(**{"name": "new", "role": "read"} | choices)
    with pytest.raises(FelsinaError, match="2027-12-31"):
        expiry("tomorrow")
    keys.revoke("taken")
    with pytest.raises(FelsinaError, match="no key 'taken'"):
        keys.revoke("taken")


def test_a_private_server_lets_nobody_read_without_a_key(
    tiny: Tiny, store: Store, keys: Keys
) -> None:
    client = guarded(tiny, store, anonymous=False)
    problem(client.get("/v1/datasets"), 401)
    assert client.get("/v1/datasets", headers=bearer(keys.create("a", "read"))).status_code == 200
    assert client.get("/").status_code == 200


def test_rates_are_told_and_kept(
    client: TestClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = keys.create("slow", "read", rate=1.0)
    answers = [client.get("/v1/datasets", headers=bearer(secret)) for _ in range(7)]
    assert [a.status_code for a in answers[:5]] == [200] * 5
    assert answers[0].headers["ratelimit-policy"] == '"rate";q=5;w=5'
    assert answers[0].headers["ratelimit"] == '"rate";r=4;t=1'
    assert "come back" in problem(answers[-1], 429)
    assert answers[-1].headers["retry-after"] == "1"
    assert client.get("/v1/datasets").status_code == 200  # others go on
    monkeypatch.setattr(gates, "ANONYMOUS_BURST", 2.0)
    monkeypatch.setattr(gates, "ANONYMOUS_RATE", 0.01)
    assert [client.get("/v1/datasets").status_code for _ in range(4)][-1] == 429
    assert client.get("/").status_code == 200  # the page is never refused
    assert client.get("/metrics").status_code == 200


def test_guessing_keys_costs_the_guesser(
    client: TestClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = bearer(keys.create("feed", "read"))
    monkeypatch.setattr(gates, "ANONYMOUS_BURST", 5.0)
    monkeypatch.setattr(gates, "ANONYMOUS_RATE", 0.01)
    guesses = [client.get("/", headers=bearer(f"fel_{n}")).status_code for n in range(8)]
    assert guesses == [401] * 5 + [429] * 3
    assert client.get("/v1/datasets", headers=good).status_code == 200


def spend(quotas: Quotas, key: Key, times: int) -> int:
    """How many of so many requests pass."""

    async def all_of_them() -> int:
        passed = 0
        for _ in range(times):
            try:
                await quotas.spend(key)
            except Refusal:
                continue
            passed += 1
        return passed

    return asyncio.run(all_of_them())


def test_workers_share_a_quota_and_never_pass_it(keys: Keys) -> None:
    key, day = Key("a", "", quota=250), [10 * 86_400.0]
    workers = [Quotas(keys, clock=lambda: day[0]) for _ in range(3)]
    passed = sum(spend(worker, key, 10) for _ in range(12) for worker in workers)
    # a worker may die with its lease, or sit on one that the others want
    assert 250 - 2 * len(workers) <= passed <= 250
    day[0] += 86_400
    assert spend(workers[0], key, 300) == 250


def test_a_quota_survives_a_restart_to_the_last_request(keys: Keys) -> None:
    key = Key("a", "", quota=1000)
    first = Quotas(keys, clock=lambda: 0.0)
    assert spend(first, key, 123) == 123
    first.give_back()
    assert keys.spent("a", 0) == 123
    assert spend(Quotas(keys, clock=lambda: 0.0), key, 1000) == 877


def test_a_quota_is_seldom_written(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    take = keys.take
    monkeypatch.setattr(keys, "take", lambda *given: taken.append(given) or take(*given))
    assert spend(Quotas(keys), Key("a", "", quota=1000), 1000) == 1000
    assert len(taken) == 100


def test_requests_are_counted_and_logged_without_what_was_sent(
    client: TestClient, keys: Keys, caplog: pytest.LogCaptureFixture
) -> None:
    secret = keys.create("planner", "read")
    log.propagate = True
    with caplog.at_level(logging.INFO, log.name):
        client.get("/v1/forecasts/tiny?nodes=a", headers=bearer(secret))
        client.get("/v1/forecasts/secret-name?nodes=hidden", headers=bearer(secret))
        client.get("/secret/path")
        write(client, None)
    lines = [json.loads(record.message) for record in caplog.records if record.name == log.name]
    told = [(one["caller"], one["route"], one["status"]) for one in lines]
    assert told == [
        ("planner", "/v1/forecasts/{dataset}", 200),
        ("planner", "/v1/forecasts/{dataset}", 404),
        ("anonymous", "other", 404),
        ("anonymous", "/v1/observations/{dataset}", 401),
    ]
    assert lines[3]["refused"] == "key"
    for kept_out in ("secret", "hidden", "testclient", "nodes", secret):
        assert kept_out not in caplog.text
    oversized = client.post("/v1/forecasts/tiny", content=b" " * (MOST_BYTES + 1))
    assert oversized.status_code == 413
    text = client.get("/metrics").text
    forecasts = [x for x in text.splitlines() if 'route="/v1/forecasts/{dataset}"' in x]
    assert any('dataset="tiny",method="GET",outcome="200"' in line for line in forecasts)
    assert 'felsina_refused_total{reason="too_large"} 1.0' in text
    assert 'felsina_refused_total{reason="key"} 1.0' in text
    assert 'felsina_data_age_seconds{dataset="tiny"}' in text
    assert 'felsina_release_loaded{dataset="tiny"' in text
    assert "secret" not in text


def test_labels_stay_few_however_many_paths_are_tried(
    client: TestClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.gate.metrics._FRESH_SECONDS", 0.0)
    head = bearer(keys.create("prober", "operate", rate=1e6))

    def series() -> int:
        return len(client.get("/metrics", headers=head).text.splitlines())

    def probe(number: int) -> None:
        client.get(f"/v1/datasets/{number}", headers=head)
        client.request(f"BREW{number}", f"/{number}", headers=head)

    probe(0)
    series()
    before = series()
    for number in range(60):
        probe(number)
    assert series() == before
    client.get("/v1/datasets", headers=head)
    assert series() > before


def test_errors_of_ours_are_said_plainly(
    tiny: Tiny, store: Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = guarded(tiny, store)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("what a caller sent")

    monkeypatch.setattr(Catalogue, "runtimes", broken)
    log.propagate = True
    with caplog.at_level(logging.INFO, log.name):
        answer = client.get("/v1/datasets")
    assert "in the log" in problem(answer, 500)
    assert '"error":"ZeroDivisionError at test_keys.py' in caplog.text
    assert "what a caller sent" not in caplog.text + answer.text


def test_head_is_get_without_the_body(client: TestClient) -> None:
    whole = client.get("/v1/datasets")
    head = client.head("/v1/datasets")
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-length"] == str(len(whole.content))


def test_the_commands_create_list_and_revoke(tmp_path: Path) -> None:
    made = felsina(tmp_path, "keys", "create", "planner", "--role", "write", "--quota", "9")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("fel_")
    keys = Keys(Store(tmp_path / "observations.db").engine)
    (key,) = keys.all()
    assert (key.name, key.role, key.quota, key.digest) == ("planner", "write", 9, digest(secret))
    listed = felsina(tmp_path, "keys", "list", "--json")
    assert json.loads(listed.stdout)[0]["state"] == "open"
    assert secret not in listed.stdout
    assert felsina(tmp_path, "keys", "revoke", "planner").returncode == 0
    assert keys.all()[0].stopped(time.time()) == "revoked"
    wrong = felsina(tmp_path, "keys", "create", "planner")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
