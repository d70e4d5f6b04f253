"""What the readers of public benchmarks share: which files they are given, and how they refuse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.contracts import FelsinaError


@dataclass(frozen=True)
class Published:
    """A public benchmark as it was downloaded.

    Attributes:
        path: its file or folder.
        graph: CSV of distances (from, to, cost), where it has one.
        nodes: text of node ids, one a line, where the distances use ids that the file lacks.
        horizon: steps to forecast; None for the usual one.
    """

    path: Path
    graph: Path | None = None
    nodes: Path | None = None
    horizon: int | None = None

    def refuse_graph(self, name: str) -> None:
        """Raise where a graph was given for a benchmark that has none."""
        for option, given in (("--graph", self.graph), ("--nodes", self.nodes)):
            if given is not None:
                raise FelsinaError(f"{option} {given}: {name} has no graph; leave it out")


def unreadable(what: Path | str, error: Exception, expected: str) -> FelsinaError:
    """The one-line error of a file that is not of the expected format."""
    return FelsinaError(f"{what}: {' '.join(str(error).split())}; expected {expected}")
