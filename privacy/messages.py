"""What city and partners say to each other, as Flower's records, and what bad answers become."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from models.errors import FelsinaError
from privacy.guard import Reply
from privacy.strategy import Arrays

Keep = Callable[[str, int, Arrays, str], None]
log = logging.getLogger(__name__)
TRAIN, END = "train", "evaluate"
"""Flower's names of the two kinds of messages."""
_MODEL, _ASKED, _ANSWERED = "model", "asked", "answered"
_FAILED = 1
"""The one code of Flower's errors that a partner sends; its text stays at home."""


class Trainer(Protocol):
    """A partner's part in a round."""

    @property
    def observed(self) -> float:
        """What its reply may weigh."""
        ...

    def update(self, round: int, arrays: Arrays) -> Arrays:
        """What a round changes of the city's model; the same again if asked again."""
        ...


TrainerOf = Callable[[str], Trainer]
"""A partner's trainer in a run of that name."""


def instruction(arrays: Arrays, round: int, run: str = "") -> RecordDict:
    """The city's model, and the round and run that it is of."""
    return RecordDict({_MODEL: _record(arrays), _ASKED: ConfigRecord({"round": round, "run": run})})


def ending(arrays: Arrays, round: int, run: str, receipt: str) -> RecordDict:
    """The last model of a run, and the ledger's signed head as JSON."""
    asked = ConfigRecord({"round": round, "run": run, "receipt": receipt})
    return RecordDict({_MODEL: _record(arrays), _ASKED: asked})


def client_app(
    trainer_of: TrainerOf,
    keep: Keep | None = None,
    told: Callable[[str], None] = lambda text: None,
) -> ClientApp:
    """A partner's app.

    Args:
        trainer_of: the partner's trainer in a run; called for each message.
        keep: takes the last model of a run: run, rounds, arrays, receipt.
        told: why nothing was answered, in one line; the city is told that it was not, no more.
    """
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        # A partner's exceptions may hold rows: they are its own log's, never the city's.
        try:
            round, run, arrays = _asked(message.content)
            trainer = trainer_of(run)
            step = trainer.update(round, arrays)
            answered = ConfigRecord({"round": round, "weight": float(trainer.observed)})
            content = RecordDict({_MODEL: _record(step), _ANSWERED: answered})
            return Message(content, reply_to=message)
        except Exception as error:
            log.exception("the round failed here")
            told(f"a round was not answered: {_why(error)}")
            return Message(Error(_FAILED), reply_to=message)

    @app.evaluate()
    def end(message: Message, context: Context) -> Message:
        try:
            round, run, arrays = _asked(message.content)
            receipt = message.content.config_records[_ASKED].get("receipt", "")
            if keep is not None:
                keep(run, round, arrays, str(receipt))
            content = RecordDict({_ANSWERED: ConfigRecord({"round": round})})
            return Message(content, reply_to=message)
        except Exception as error:
            log.exception("the last model was not kept")
            told(f"the last model was not kept: {_why(error)}")
            return Message(Error(_FAILED), reply_to=message)

    return app


def reply_of(message: Message | None, partner: str, round: int) -> Reply:
    """A partner's answer; what cannot be read is a failure.

    Args:
        message: that came back; None for one that was not even a message.
        partner: whose it is by the connection.
        round: that it was asked in.
    """
    failed = Reply(partner, round, failed=True)
    try:
        if message is None or not message.has_content():
            return failed
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


def _asked(content: RecordDict) -> tuple[int, str, Arrays]:
    asked = content.config_records[_ASKED]
    round, run = asked["round"], asked["run"]
    assert isinstance(round, int)
    assert isinstance(run, str)
    found = content.array_records[_MODEL]
    return round, run, {name: array.numpy() for name, array in found.items()}


def _why(error: Exception) -> str:
    known = isinstance(error, FelsinaError)
    return str(error) if known else f"{type(error).__name__}, the log has the rest"


def _record(arrays: Arrays) -> ArrayRecord:
    return ArrayRecord({name: Array(np.ascontiguousarray(one)) for name, one in arrays.items()})
