"""A real SuperLink on loopback, and what it is told of partners."""

from __future__ import annotations

import pytest

from models.errors import FelsinaError
from privacy.deployment import service
from privacy.deployment.superlink import SuperLink
from tests.privacy.deployment.conftest import AGREEMENT, Newcomer, invitation_of, make_terms

pytestmark = pytest.mark.slow


def test_a_key_is_let_in_once_whatever_was_killed_or_lost(city, tmp_path):
    newcomer = Newcomer(invitation_of(city, "hera", tmp_path), tmp_path / "hera")
    city.enrol("hera", newcomer.sent())
    link = SuperLink(city.folder, {})
    link.start()
    try:
        service._place(city, link, city.members())
        node = city.member("hera").node
        assert link.nodes() == {city.member("hera").key: node}
        with pytest.raises(FelsinaError, match="already in use"):
            link.register(city.folder / "partners" / "hera.pub", "hera")
        city._keep(city.member("hera").model_copy(update={"node": None}))  # killed before it
        service._place(city, link, city.members())
        assert city.member("hera").node == node
        city.withdraw("hera", None)
        (tmp_path / "hera.invitation").unlink()
        path = tmp_path / "hera.invitation"
        path.write_bytes(city.invite("hera", AGREEMENT, make_terms()))
        again = Newcomer(path, tmp_path / "again")
        again.key = newcomer.key  # the same house
        city.enrol("hera", again.sent())
        service._place(city, link, city.members())
        assert city.member("hera").node == node
    finally:
        link.stop()
    (link.state / "state.db").unlink()  # lost
    link.start()
    try:
        service._place(city, link, city.members())
        assert link.nodes() == {city.member("hera").key: city.member("hera").node}
    finally:
        link.stop()
