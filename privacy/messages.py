"""What city and partners say to each other, as Flower's records, and what bad answers become."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from privacy.guard import Reply
from privacy.strategy import Arrays

log = logging.getLogger(__name__)
TRAIN = "train"
_MODEL, _ASKED, _ANSWERED = "model", "asked", "answered"
_FAILED = 1
"""The one code of Flower's errors that a partner sends; its text stays at home."""


def instruction(arrays: Arrays, round: int) -> RecordDict:
    """The city's model and the round that it is of."""
    return RecordDict({_MODEL: _record(arrays), _ASKED: ConfigRecord({"round": round})})


class Trainer(Protocol):
    """What answers a round at a partner, with noise or without."""

    @property
    def observed(self) -> float:
        """What the partner weighs by."""
        ...

    def update(self, round: int, arrays: Arrays) -> Arrays:
        """What a round of its steps changes of the city's model."""
        ...


def client_app(trainer_of: Callable[[Context], Trainer]) -> ClientApp:
    """A partner's app.

    Args:
        trainer_of: the partner's trainer; called for each message.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        # A partner's exceptions may hold rows: they are its own log's, never the city's.
        try:
            round, arrays = _asked(message.content)
            trainer = trainer_of(context)
            step = trainer.update(round, arrays)
            answered = ConfigRecord({"round": round, "weight": float(trainer.observed)})
            content = RecordDict({_MODEL: _record(step), _ANSWERED: answered})
            return Message(content, reply_to=message)
        except Exception:
            log.exception("the round failed here")
            return Message(Error(_FAILED), reply_to=message)

    return app


def reply_of(message: Message, partner: str, round: int) -> Reply:
    """A partner's answer; what cannot be read is a failure.

    Args:
        message: that came back.
        partner: whose it is by the connection.
        round: that it was asked in.
    """
    failed = Reply(partner, round, failed=True)
    if not message.has_content():
        return failed
    try:
        answered = message.content.config_records[_ANSWERED]
        arrays = {
            name: array.numpy() for name, array in message.content.array_records[_MODEL].items()
        }
        said, weight = answered["round"], answered["weight"]
    except Exception:  # of whatever kind: it is theirs
        return failed
    if not isinstance(said, int) or not isinstance(weight, (int, float)):
        return failed
    return Reply(partner, said, arrays, weight)


def _asked(content: RecordDict) -> tuple[int, Arrays]:
    round = content.config_records[_ASKED]["round"]
    assert isinstance(round, int)
    found = content.array_records[_MODEL]
    return round, {name: array.numpy() for name, array in found.items()}


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(one)) for name, one in arrays.items()})
