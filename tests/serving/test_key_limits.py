"""What a key of some datasets, of no role, or of a busy database may see, at the gate."""

import asyncio
import time

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from serving.catalogue import Catalogue
from serving.events.log import EventLog
from serving.gate.keys import Keys
from serving.gate.metrics import Metrics
from serving.store import Store
from tests.fixtures.alarmed import City
from tests.fixtures.guarded import bearer, guarded, problem, write
from tests.fixtures.tiny import Tiny


@pytest.fixture
def keys(store: Store) -> Keys:
    return Keys(store.engine)


@pytest.fixture
def client(tiny: Tiny, store: Store, keys: Keys) -> TestClient:
    return guarded(tiny, store)


def test_a_key_of_some_datasets_opens_no_other(client: TestClient, keys: Keys) -> None:
    tiny, other = (keys.create(name, "write", datasets=(name,)) for name in ("tiny", "other"))
    assert write(client, tiny).status_code == 200
    assert "for other" in problem(write(client, other), 403)
    assert client.get("/v1/forecasts/tiny", headers=bearer(tiny)).status_code == 200
    problem(client.get("/v1/forecasts/tiny", headers=bearer(other)), 403)
    assert client.get("/v1/datasets", headers=bearer(other)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/forecasts/{}",
        "/v1/datasets/{}",
        "/v1/observations/{}?last=3",
        "/v1/alerts?dataset={}",
        "/v1/alerts/rules?dataset={}",
        "/v2/models/{}",
    ],
)
def test_a_key_of_some_datasets_reads_them_alone(client: TestClient, keys: Keys, path: str) -> None:
    tiny, other, none = (
        bearer(keys.create(name, "read", datasets=only))
        for name, only in (("tiny", ("tiny",)), ("other", ("other", "x")), ("none", ()))
    )
    assert client.get(path.format("tiny"), headers=tiny).status_code == 200
    assert client.get(path.format("tiny")).status_code == 200
    problem(client.get(path.format("tiny"), headers=other), 403)
    problem(client.get(path.format("tiny"), headers=none), 403)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/alerts",
        "/v1/alerts?datasets=tiny",
        "/v1/alerts?dataset=tiny&dataset=other",
        "/v1/alerts/rules",
        "/v1/alerts.cap",
        "/v1/alerts/some.cap",
        "/v1/events",
        "/v1/events?datasets=tiny,other",
        "/v1/scenarios",
        "/v1/scenarios/other-0123456789ab",
    ],
)
def test_what_is_about_all_datasets_needs_a_key_of_all(
    client: TestClient, keys: Keys, path: str
) -> None:
    head = bearer(keys.create("tiny", "read", datasets=("tiny",)))
    whole = bearer(keys.create("whole", "read"))
    assert "ask for one of these by name" in problem(client.get(path, headers=head), 403)
    if "events" not in path:
        assert client.get(path, headers=whole).status_code in (200, 404)


def test_a_key_whose_row_names_no_dataset_opens_none(
    client: TestClient, keys: Keys, store: Store
) -> None:
    secret = keys.create("feed", "write", datasets=("tiny",))
    assert write(client, secret).status_code == 200
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE keys SET datasets = ''"))
    time.sleep(1.1)
    problem(write(client, secret), 403)


def test_a_quota_that_cannot_be_counted_now_is_no_error_of_ours(
    client: TestClient, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = keys.create("metered", "read", quota=1000)
    assert client.get("/v1/datasets", headers=bearer(secret)).status_code == 200

    def locked(*_: object) -> int:
        raise OperationalError("UPDATE quotas", {}, Exception("database is locked"))

    monkeypatch.setattr(Keys, "take", locked)
    answers = [client.get("/v1/datasets", headers=bearer(secret)) for _ in range(11)]
    assert answers[0].status_code == 200  # of what was taken before
    assert "again" in problem(answers[-1], 503)
    assert answers[-1].headers["retry-after"] == "5"


def test_metrics_are_made_once_a_second_however_many_ask(
    tiny: Tiny, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, made = Metrics((), Catalogue(tiny.home, store)), []
    text = metrics.text
    monkeypatch.setattr(metrics, "text", lambda: made.append(1) or text())

    async def story() -> None:
        (found,) = set(await asyncio.gather(*(metrics.latest() for _ in range(20))))
        assert b"felsina_release_loaded" in found
        assert len(made) == 1
        await asyncio.sleep(1.05)
        await metrics.latest()
        assert len(made) == 2

    asyncio.run(story())


def test_who_is_at_work_on_an_alert_is_for_operators(
    changeable: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = changeable.store
    client, keys = guarded(changeable.tiny, store), Keys(store.engine)
    operator, reader = (bearer(keys.create(name, name, rate=1e6)) for name in ("operate", "read"))
    alert = changeable.alerts()[0]["id"]
    body = {"by": "Anna Bianchi", "note": "at the pumps"}
    path = f"/v1/alerts/{alert}/acknowledge"
    answer = client.post(path, json=body, headers=operator)
    assert answer.json()["acknowledged"]["note"] == body["note"]

    def told(headers: dict[str, str]) -> str:
        return client.get("/v1/alerts", params={"state": "all"}, headers=headers).text

    assert "Anna Bianchi for operate" in told(operator)
    for headers in (reader, {}):
        assert "Anna" not in told(headers)
        assert "pumps" not in told(headers)
        assert f'"acknowledged":{{"by":null,"at":"{answer.json()["acknowledged"]["at"]}"' in told(
            headers
        )
    (event,) = EventLog(store.engine).after(0, 1000)[-1:]
    assert b'"change":"acknowledged"' in event.data
    assert b"Anna" not in event.data
