"""Arrow streams without pandas, which ``pa.array`` and ``Array.to_numpy`` would import."""

from __future__ import annotations

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from serving.catalogue import Answer
from serving.formats import envelope
from serving.release import Release
from serving.selection import Selection

ENVELOPE = b"felsina"
"""Key of the schema's metadata under which a forecast's envelope stands, as JSON."""


def as_arrow(release: Release, answer: Answer, chosen: Selection) -> bytes:
    """An IPC stream of one row a node and lead, as in CSV; the envelope is in the metadata."""
    forecast, leads, nodes = answer.forecast, chosen.leads, chosen.nodes
    table = forecast.quantiles[np.ix_(leads, nodes, chosen.levels)].transpose(2, 1, 0)
    valid = forecast.valid_times[leads].astype("datetime64[s]").astype(np.int64)
    columns: dict[str, pa.Array] = {
        "node": texts([release.graph.ids[n] for n in nodes for _ in leads]),
        "lead": numbers(np.tile(leads + 1, len(nodes)).astype(np.int32), pa.int32()),
        "valid_time": numbers(np.tile(valid, len(nodes)), pa.timestamp("s", tz="UTC")),
    }
    for level, values in zip(chosen.levels, table, strict=True):
        name = f"q{forecast.levels[level]:g}"
        columns[name] = numbers(values.astype(np.float32).ravel(), pa.float32())
    metadata = {ENVELOPE: orjson.dumps(envelope(release, answer, leads))}
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return stream(batch.replace_schema_metadata(metadata))


def stream(batch: pa.RecordBatch) -> bytes:
    """One batch as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def numbers(values: NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    """A flat array of numbers, none missing, without a copy."""
    whole = np.ascontiguousarray(values)
    return pa.Array.from_buffers(kind, len(whole), [None, pa.py_buffer(whole)])


def texts(values: list[str]) -> pa.Array:
    """An array of strings."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *(len(one) for one in encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.utf8(), len(values), buffers)
