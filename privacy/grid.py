"""Rounds over Flower's Grid, and a Grid that is this process: the same apps, without a network."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from privacy.guard import Reply
from privacy.messages import END, TRAIN, ending, instruction, reply_of
from privacy.strategy import Arrays

_POLL_S = 0.5


class GridPartners:
    """Carries a model to nodes and back.

    Each reply is pulled by itself: one that is half uploaded then delays nobody else's, and the
    deadline holds.

    Args:
        grid: Flower's.
        nodes: node to the partner whose key it has.
        deadline_s: of a round.
        run: name of the federation's run, which partners know theirs by.
    """

    def __init__(
        self, grid: Grid, nodes: Mapping[int, str], deadline_s: float, run: str = ""
    ) -> None:
        self.grid, self.nodes, self.deadline_s, self.run = grid, dict(nodes), deadline_s, run

    def ask(
        self, round: int, attempt: int, arrays: Arrays, among: Collection[str] | None = None
    ) -> Iterator[Reply]:
        """Replies as they come, until all are there or the deadline has passed.

        Args:
            round: its number.
            attempt: which asking of the round this is.
            arrays: the model.
            among: partners that are asked; all, when None.
        """
        asked = {n: p for n, p in self.nodes.items() if among is None or p in among}
        content = instruction(arrays, round, self.run)
        for partner, message in self._sent(content, TRAIN, f"{round}.{attempt}", asked):
            yield reply_of(message, partner, round)

    def end(self, round: int, arrays: Arrays, receipt: str) -> list[str]:
        """Give everybody the last model; who has it."""
        content = ending(arrays, round, self.run, receipt)
        answers = self._sent(content, END, "end", self.nodes)
        return [partner for partner, message in answers if message.has_content()]

    def _sent(
        self, content: RecordDict, kind: str, group: str, asked: Mapping[int, str]
    ) -> Iterator[tuple[str, Message]]:
        ends = time.monotonic() + self.deadline_s
        sent = [Message(content, node, kind, ttl=self.deadline_s, group_id=group) for node in asked]
        pending = dict(zip(self.grid.push_messages(sent), asked.values(), strict=True))
        while pending and time.monotonic() < ends:
            before = len(pending)
            for number, partner in list(pending.items()):
                for message in self.grid.pull_messages([number]):
                    pending.pop(number, None)
                    yield partner, message
            if pending and len(pending) == before:
                time.sleep(_POLL_S)


class InProcessGrid(Grid):
    """Calls apps one after another, when their replies are asked for.

    Args:
        apps: node to its app.
    """

    def __init__(self, apps: Mapping[int, ClientApp]) -> None:
        TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1
        self.apps = dict(apps)
        self.contexts = {node: Context(1, node, {}, RecordDict(), {}) for node in self.apps}
        self.waiting: dict[str, Message] = {}
        self.sent = 0

    def set_run(self, run: object) -> None:
        """There is one."""

    @property
    def run(self) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
        """There is none to tell of."""
        return None

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """As ``Message`` does it."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> Iterable[int]:
        """Nodes that have an app."""
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Keep them until they are asked for."""
        numbers = []
        for message in messages:
            self.sent += 1
            number = str(self.sent)
            message.metadata.__dict__["_message_id"] = number
            self.waiting[number] = message
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> Iterator[Message]:
        """Let the apps answer."""
        for number in message_ids:
            message = self.waiting.pop(number, None)
            if message is not None:
                node = message.metadata.dst_node_id
                yield self.apps[node](message, self.contexts[node])

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterator[Message]:
        """Both."""
        return self.pull_messages(self.push_messages(messages))
