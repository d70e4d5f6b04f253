"""What the store holds of a release's dataset, kept in memory in blocks of rows.

A window is put together from blocks; only those that it reads are fetched, and of those only the
rows that a later revision changed are read again. A block is never written to once it is kept: a
changed one is replaced, so that a window under construction in another thread stays whole.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np

from models.contracts import FloatArray
from models.windows import WindowBuilder
from serving import tables
from serving.runtime import Runtime
from serving.store import FORCED, OBSERVED, Store

MOST_NUMBERS = 32_000_000
"""Float32 numbers kept of one release; the blocks that were not read for the longest go first."""
_LEAST_ROWS = 16


class HeldWindows:
    """Observations and forcings of one release's dataset.

    Args:
        runtime: of the release.
        store: holds them.
    """

    def __init__(self, runtime: Runtime, store: Store) -> None:
        self.runtime, self.store = runtime, store
        spec, manifest = runtime.release.spec, runtime.release.manifest
        self._step, self._rows = spec.seconds, max(_LEAST_ROWS, spec.steps_per_day)
        start = np.datetime64(manifest["data"]["start"].rstrip("Z"), "s")
        self._off = int(start.astype(np.int64)) % self._step
        self._lock = threading.Lock()
        self._revision = 0
        self._blocks: OrderedDict[tuple[str, int], FloatArray] = OrderedDict()
        self._columns = {OBSERVED: list(runtime.release.graph.ids), FORCED: []}

    def builder(self, init: np.datetime64, more: int = 0) -> WindowBuilder:
        """For windows of ``init``, the last row but for forcings, and of the ``more`` before it."""
        spec = self.runtime.release.spec
        steps = spec.reach + more
        start = init - np.timedelta64((steps - 1) * self._step, "s")
        values = np.full((steps, self.runtime.release.graph.nodes), np.nan, np.float32)
        with self._lock:
            self._refresh()
            row = self._row(tables.seconds(start))
            for near, far in _merged([(near, far + more) for near, far in spec.spans]):
                first, stop = max(0, steps - far), steps - near
                values[first:stop] = self._read(OBSERVED, row + first, stop - first)
            forced = self._read(FORCED, row, steps + spec.horizon)
            columns = self._columns[FORCED]
            self._let_go()
        return WindowBuilder(spec, start, values, self._forcings(forced, columns))

    def _refresh(self) -> None:
        """Bring what is kept to the revision that the store has now."""
        dataset = self.runtime.release.spec.dataset
        revision, _ = self.store.state(dataset)
        if revision == self._revision:
            return
        changes = self.store.changes(dataset, self._revision, revision)
        columns = self._known_forcings()
        if changes is None or columns != self._columns[FORCED]:
            self._blocks.clear()
            self._columns[FORCED] = columns
        else:
            self._renew(changes)
        self._revision = revision

    def _renew(self, changes: list[tuple[str, int, int]]) -> None:
        """Read the rows again that changed, in the blocks that are kept."""
        parts: dict[tuple[str, int], tuple[int, int]] = {}
        for kind, first_second, last_second in changes:
            first, last = self._row(first_second), self._row(last_second)
            for kept, block in self._blocks:
                begin = block * self._rows
                low, high = max(first, begin), min(last, begin + self._rows - 1)
                if kept == kind and low <= high:
                    least, most = parts.get((kind, block), (low, high))
                    parts[kind, block] = min(least, low), max(most, high)
        for (kind, block), (low, high) in parts.items():
            renewed = self._blocks[kind, block].copy()
            part = slice(low - block * self._rows, high + 1 - block * self._rows)
            renewed[part] = self._fetch(kind, low, high + 1 - low)
            self._blocks[kind, block] = renewed

    def _read(self, kind: str, first: int, count: int) -> FloatArray:
        """Rows [count, columns] of a kind; blocks that lack are fetched, runs of them at once."""
        begin, end = first // self._rows, (first + count - 1) // self._rows + 1
        lacking = [b for b in range(begin, end) if (kind, b) not in self._blocks]
        while lacking:
            run = [b for i, b in enumerate(lacking) if b == lacking[0] + i]
            table = self._fetch(kind, run[0] * self._rows, len(run) * self._rows)
            for i, block in enumerate(run):
                self._blocks[kind, block] = table[i * self._rows : (i + 1) * self._rows]
            lacking = lacking[len(run) :]
        for block in range(begin, end):
            self._blocks.move_to_end((kind, block))
        whole = np.concatenate([self._blocks[kind, block] for block in range(begin, end)])
        skipped = first - begin * self._rows
        return whole[skipped : skipped + count]

    def _fetch(self, kind: str, first: int, count: int) -> FloatArray:
        """Rows [count, columns] from the store."""
        start = np.datetime64(first * self._step + self._off, "s")
        dataset, names = self.runtime.release.spec.dataset, self._columns[kind]
        table = self.store.read(dataset, kind, names, start, count, self._step)
        return table.astype(np.float32)

    def _let_go(self) -> None:
        """Drop the blocks that were not read for the longest, over the limit."""
        kept = sum(block.size for block in self._blocks.values())
        while kept > MOST_NUMBERS:
            _, block = self._blocks.popitem(last=False)
            kept -= block.size

    def _row(self, second: int) -> int:
        """The number of a time's row, counted from 1970."""
        return (second - self._off) // self._step

    def _known_forcings(self) -> list[str]:
        """Columns of forcings that are held, of those that the model may read."""
        release = self.runtime.release
        names = [forcing.name for forcing in release.spec.forcings]
        held = set(self.store.held(release.spec.dataset, FORCED)) if names else set()
        wanted = [c for n in names for c in (n, *(f"{n}@{i}" for i in release.graph.ids))]
        return [column for column in wanted if column in held]

    def _forcings(self, table: FloatArray, columns: list[str]) -> FloatArray:
        """[steps + H, M, F] from columns; a value at a node comes before the city's."""
        spec, places = self.runtime.release.spec, self.runtime.forcing_places
        at = {node: n for n, node in enumerate(self.runtime.release.graph.ids)}
        names = {forcing.name: f for f, forcing in enumerate(spec.forcings)}
        out = np.full((len(table), places, len(names)), np.nan, np.float32)
        for column, given in zip(columns, table.T, strict=True):  # the city's stands first
            name, local, node = column.partition("@")
            if not local:
                out[:, :, names[name]] = given[:, None]
            elif places > 1:
                place = out[:, at[node], names[name]]
                out[:, at[node], names[name]] = np.where(np.isnan(given), place, given)
        return out


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Half-open ranges that cover the same, each number once."""
    out: list[tuple[int, int]] = []
    for near, far in sorted(spans):
        if out and near <= out[-1][1]:
            out[-1] = out[-1][0], max(out[-1][1], far)
        else:
            out.append((near, far))
    return out
