"""The same apps through Flower's messages: what the city makes of answers, good and bad."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.clientapp import ClientApp
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.message_pb2 import PullObjectRequest, PullObjectResponse
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid.http_grid import HttpGrid

from privacy import drop_codes as guard
from privacy.grid import GridPartners, InProcessGrid
from privacy.messages import client_app, instruction, reply_of
from privacy.rounds import RoundSettings, digest, run_rounds
from privacy.strategy import Arrays

NAMES = {11: "bus", 12: "grid", 13: "tram", 14: "water"}
INITIAL: Arrays = {"w": np.zeros((2, 3), np.float32)}
AGREED = dict.fromkeys(NAMES.values(), 100.0)
SECRET = "Via Zamboni 33, 412 kWh"


class Pull:
    """A trainer that pulls the model towards its own number."""

    observed = 10

    def __init__(self, goal: float) -> None:
        self.goal = goal

    def update(self, round: int, arrays: Arrays) -> Arrays:
        return {name: (0.5 * (self.goal - one)).astype(np.float32) for name, one in arrays.items()}


class Failing(Pull):
    def update(self, round: int, arrays: Arrays) -> Arrays:
        raise ValueError(f"row of {SECRET}")


def app_of(trainer: Pull) -> ClientApp:
    return client_app(lambda context: trainer)  # type: ignore[arg-type, return-value]


def answering(content: Callable[[], RecordDict]) -> ClientApp:
    app = ClientApp()

    @app.train()
    def train(message: Message, context: object) -> Message:
        return Message(content(), reply_to=message)

    return app


def ran(work: Path, **others: ClientApp) -> tuple[Arrays, list[dict]]:
    apps = {node: app_of(Pull(goal)) for goal, node in enumerate(NAMES)}
    apps |= {node: others[name] for node, name in NAMES.items() if name in others}
    told: list[dict] = []
    partners = GridPartners(InProcessGrid(apps), NAMES, deadline_s=20)
    settings = RoundSettings(rounds=5, most_norm=50.0)
    ended = run_rounds(
        "r", INITIAL, partners, AGREED, settings, work, lambda n, body: told.append(body)
    )
    assert (ended.rounds, ended.reason) == (5, "")
    return ended.arrays, told


def test_rounds_over_messages_are_rounds(tmp_path: Path) -> None:
    arrays, told = ran(tmp_path)
    np.testing.assert_allclose(arrays["w"], 1.5 * (1 - 0.5**5), rtol=1e-6)
    assert all(len(body["accepted"]) == 4 for body in told)


def spoilt(model: dict[str, np.ndarray], answered: dict) -> Callable[[], RecordDict]:
    record = ArrayRecord({name: Array(values) for name, values in model.items()})
    return lambda: RecordDict({"model": record, "answered": ConfigRecord(answered)})


GOOD = {"w": np.ones((2, 3), np.float32)}
BAD: dict[str, tuple[Callable[[], RecordDict], str]] = {
    "nothing": (lambda: RecordDict({}), guard.ERROR),
    "no model": (
        lambda: RecordDict({"answered": ConfigRecord({"round": 1, "weight": 1.0})}),
        guard.ERROR,
    ),
    "no weight": (spoilt(GOOD, {"round": 1}), guard.ERROR),
    "a weight that is a text": (spoilt(GOOD, {"round": 1, "weight": "all"}), guard.ERROR),
    "a negative weight": (spoilt(GOOD, {"round": 1, "weight": -500.0}), guard.WEIGHT),
    "a weight of not a number": (spoilt(GOOD, {"round": 1, "weight": float("nan")}), guard.WEIGHT),
    "another array": (spoilt({"v": GOOD["w"]}, {"round": 1, "weight": 1.0}), guard.MISSING_KEY),
    "texts": (spoilt({"w": np.full((2, 3), "x")}, {"round": 1, "weight": 1.0}), guard.DTYPE),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_drops_the_partner(tmp_path: Path, name: str) -> None:
    content, code = BAD[name]
    arrays, told = ran(tmp_path / "bad", grid=answering(content))
    first = told[0]["dropped"]
    assert first == [{"partner": "grid", "code": code, "attempt": "1"}]
    assert all("grid" not in body["accepted"] for body in told)
    assert np.isfinite(arrays["w"]).all()


def test_bytes_that_are_no_array_are_a_failure(tmp_path: Path) -> None:
    def content() -> RecordDict:
        broken = Array(GOOD["w"])
        broken.data = b"\x80\x04cos\nsystem\n"  # a pickle
        model = ArrayRecord({"w": broken})
        return RecordDict({"model": model, "answered": ConfigRecord({"round": 1, "weight": 1.0})})

    _, told = ran(tmp_path, grid=answering(content))
    assert told[0]["dropped"][0]["code"] == guard.ERROR


def test_a_partners_exception_stays_at_home(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing = app_of(Failing(0))
    with caplog.at_level(logging.ERROR):
        arrays, told = ran(tmp_path, grid=failing)
    assert SECRET in caplog.text  # in the partner's own log
    assert SECRET not in str(told)
    assert {one["code"] for body in told for one in body["dropped"]} == {guard.ERROR}
    grid = InProcessGrid({12: failing})
    (message,) = grid.send_and_receive([Message(instruction(INITIAL, 1), 12, "train")])
    assert message.has_error()
    assert message.error.reason is None
    alone, _ = ran(tmp_path / "other", grid=answering(lambda: RecordDict({})))
    assert digest(alone) == digest(arrays)


def test_an_error_of_flowers_own_is_a_failure_too() -> None:
    grid = InProcessGrid({})
    asked = Message(instruction(INITIAL, 3), 12, "train")
    grid.push_messages([asked])
    reply = reply_of(Message(Error(7, SECRET), reply_to=asked), "grid", 3)
    assert (reply.failed, reply.round, reply.partner) == (True, 3, "grid")
    assert SECRET not in str(reply)


class Runtime:
    """A SuperLink's side of the real Grid: nodes that answer, and bytes that come back."""

    def __init__(self, answers: dict[int, Callable[[Message], dict[str, bytes]]]) -> None:
        self.answers, self.asked, self.objects = answers, {}, {}
        self.pulls = 0

    def PushMessages(self, request: PushAppMessagesRequest) -> PushAppMessagesResponse:
        for message in request.messages_list:
            self.asked[message.metadata.message_id] = message
        return PushAppMessagesResponse(message_ids=list(self.asked)[-len(request.messages_list) :])

    def PullMessages(self, request: PullAppMessagesRequest) -> PullAppMessagesResponse:
        (number,) = request.message_ids
        asked = message_from_proto(self.asked[number])
        replied = Message(spoilt(GOOD, {"round": 1, "weight": 1.0})(), reply_to=asked)
        tree, objects = get_object_tree(replied), get_all_nested_objects(replied)
        self.objects |= {name: one.deflate() for name, one in objects.items()}
        self.objects |= self.answers[asked.metadata.dst_node_id](replied)
        proto = message_to_proto(remove_content_from_message(replied))
        proto.metadata.message_id = tree.object_id
        return PullAppMessagesResponse(messages_list=[proto], message_object_trees=[tree])

    def PullObject(self, request: PullObjectRequest) -> PullObjectResponse:
        content = self.objects[request.object_id]
        return PullObjectResponse(
            object_found=True, object_available=content != b"", object_content=content
        )

    def PushObject(self, request: object) -> None: ...

    def ConfirmMessageReceived(self, request: object) -> None: ...


def over_http(answers: dict[int, Callable[[Message], dict[str, bytes]]]) -> HttpGrid:
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
    grid = HttpGrid(token="none")
    grid._run = SimpleNamespace(run_id=1)  # type: ignore[assignment]
    grid._client = Runtime(answers)  # type: ignore[assignment]
    return grid


@pytest.mark.parametrize(
    "content",
    [b"", b"no head", b"Message  3\x00\xff\xff\xff", b"ConfigRecord  2\x00{}", b"Nonsense  0\x00"],
)
def test_a_reply_that_is_no_message_or_never_comes_is_its_partners_fault(content: bytes) -> None:
    fine = lambda reply: {}  # noqa: E731
    bad = lambda reply: {reply.object_id: content}  # noqa: E731
    grid = over_http({11: fine, 12: bad, 13: fine, 14: fine})
    began = time.monotonic()
    replies = list(
        GridPartners(grid, dict(sorted(NAMES.items())), deadline_s=1.5).ask(1, 1, INITIAL)
    )
    assert time.monotonic() - began < 10  # Flower waits for two hours
    assert {one.partner: one.failed for one in replies} == {
        "bus": False,
        "grid": True,
        "tram": False,
        "water": False,
    }


def test_a_superlink_that_is_gone_is_nobodys_fault(tmp_path: Path) -> None:
    grid = over_http(dict.fromkeys(NAMES, lambda reply: {}))

    def gone(request: object) -> None:
        raise httpx.ConnectError("refused")

    grid._client.PullObject = gone  # type: ignore[union-attr]
    with pytest.raises(httpx.ConnectError):
        list(GridPartners(grid, NAMES, deadline_s=5).ask(1, 1, INITIAL))


def test_who_does_not_answer_is_late(tmp_path: Path) -> None:
    class Silent(InProcessGrid):
        def pull_messages(self, message_ids):
            wanted = [n for n in message_ids if self.waiting[n].metadata.dst_node_id != 12]
            return super().pull_messages(wanted)

    apps = {node: app_of(Pull(goal)) for goal, node in enumerate(NAMES)}
    partners = GridPartners(Silent(apps), NAMES, deadline_s=1.2)
    told: list[dict] = []
    settings = RoundSettings(rounds=2)
    run_rounds("r", INITIAL, partners, AGREED, settings, tmp_path, lambda n, b: told.append(b))
    expected = [{"partner": "grid", "code": guard.LATE, "attempt": "1"}]
    assert [body["dropped"] for body in told] == [expected, expected]
