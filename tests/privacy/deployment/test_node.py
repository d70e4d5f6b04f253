"""A partner's node before a line that sends it anything."""

from __future__ import annotations

import pytest
from flwr.app import Message
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects, get_object_tree

from privacy.deployment import certificates
from privacy.deployment.node import Identity, Node, RefusedError
from privacy.grid import InProcessGrid
from privacy.messages import client_app, instruction

NUMBER = 7


class Line:
    """In place of Flower's connection: gives out messages, takes answers."""

    def __init__(self, *kinds, spoilt=None):
        InProcessGrid({})  # names the run that messages are of
        self.asked = [Message(instruction({}, 1, "first"), NUMBER, kind) for kind in kinds]
        self.objects, self.spoilt = {}, spoilt or {}
        self.answers, self.seconds = [], []

    def receive(self):
        if not self.asked:
            return None
        message = self.asked.pop(0)
        message.metadata.__dict__["_message_id"] = message.object_id
        own = {name: one.deflate() for name, one in get_all_nested_objects(message).items()}
        self.objects |= own | {
            message.object_id: self.spoilt.get(len(self.asked), own[message.object_id])
        }
        return message, get_object_tree(message)

    def send(self, reply, tree, seconds):
        self.answers.append(reply)
        self.seconds.append(seconds)
        return set(), ""

    def parts(self):
        nothing = lambda *given: None  # noqa: E731
        pull = lambda run, name: self.objects[name]  # noqa: E731
        return NUMBER, self.receive, self.send, nothing, nothing, pull, nothing, nothing


class Still:
    observed = 1.0

    def update(self, round, arrays):
        return arrays


@pytest.fixture
def identity(tmp_path):
    certificates.create_authority(tmp_path, "bologna")
    key, shown = tmp_path / "node.key", tmp_path / "node.pem"
    certificates.create_node_key(key)
    return Identity("localhost:1", tmp_path / "ca.crt", key, shown)


def answered(identity, line):
    said = []
    node = Node(identity, "0" * 64, client_app(lambda run: Still()), said.append, poll_s=0.0)
    node._agreed = lambda *given: True
    node._answer(line.parts(), lambda: not line.asked)
    return said


def test_what_is_no_message_or_of_no_known_kind_does_not_end_the_node(identity):
    line = Line("query", "train.other", "train", "train", spoilt={1: b"no message"})
    said = answered(identity, line)
    assert [reply.has_content() for reply in line.answers] == [True]
    assert sum("was not answered" in text for text in said) == 3


def test_how_long_it_took_is_not_told(identity):
    line = Line("train")
    answered(identity, line)
    assert line.seconds == [0.0]


def test_a_certificate_that_has_ended_ends_the_node_with_what_to_do(identity, monkeypatch):
    folder = identity.key.parent
    request = certificates.request_of(certificates.load_node_key(identity.key), "hera")
    monkeypatch.setattr(certificates, "PARTNER_DAYS", 0)
    identity.certificate.write_bytes(certificates.certify(folder, request, "hera"))
    node = Node(identity, "0" * 64, client_app(lambda run: Still()), lambda text: None)
    with pytest.raises(RefusedError, match=r"node\.pem ended on .* gets a new one"):
        node.serve(lambda: False)
