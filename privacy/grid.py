"""Rounds over Flower's Grid, and a Grid that is this process: the same apps, without a network."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial

import httpx
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity
from flwr.superlink.grid import http_grid

from privacy.guard import Reply
from privacy.messages import END, TRAIN, ending, instruction, reply_of
from privacy.strategy import Arrays

log = logging.getLogger(__name__)
_PULLS = "pull_objects"
"""What of Flower's waits for an upload; a test looks that it still does."""
_POLL_S = 0.5
_AFTER_S = 60.0
"""How long messages outlive the deadline, for replies that waited behind a half uploaded one."""


class GridPartners:
    """Carries a model to nodes and back.

    Each reply is pulled by itself, so that one that cannot be read is its partner's fault alone.
    One that is half uploaded is waited for until the deadline; whoever answered in time meanwhile
    is then not late, since all are asked for once more.

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
        return [partner for partner, message in answers if message and message.has_content()]

    def _sent(
        self, content: RecordDict, kind: str, group: str, asked: Mapping[int, str]
    ) -> Iterator[tuple[str, Message | None]]:
        ends, lives = time.monotonic() + self.deadline_s, self.deadline_s + _AFTER_S
        sent = [Message(content, node, kind, ttl=lives, group_id=group) for node in asked]
        pending = dict(zip(self.grid.push_messages(sent), asked.values(), strict=True))
        last = False
        while pending and not last:
            before, last = len(pending), time.monotonic() >= ends
            for number, partner in list(pending.items()):
                for message in self._pulled(number, ends):
                    pending.pop(number, None)
                    yield partner, message
            if pending and len(pending) == before:
                time.sleep(_POLL_S)

    def _pulled(self, number: str, ends: float) -> list[Message | None]:
        """The reply to a message, None if it cannot be read, nothing if it is not there."""
        plain = getattr(http_grid, _PULLS)
        left = max(0.0, ends - time.monotonic())
        setattr(http_grid, _PULLS, partial(plain, max_time=left))  # Flower's own are two hours
        try:
            return list(self.grid.pull_messages([number]))
        except (OSError, httpx.HTTPError):  # the SuperLink's, and no partner's
            raise
        except Exception as error:  # of whatever kind: it is theirs, and so may be its text
            log.warning("a reply cannot be read (%s)", type(error).__name__)
            return [None]
        finally:
            setattr(http_grid, _PULLS, plain)


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
