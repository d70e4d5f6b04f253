"""A portal that has nothing until a test says what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fixtures.portal import Portal, serving


@pytest.fixture
def portal() -> Iterator[Portal]:
    with serving(lambda path, query: None) as found:
        yield found
