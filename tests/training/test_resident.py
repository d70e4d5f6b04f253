"""Resident windows are the builder's, bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contracts import Forcing
from models.windows import WindowBuilder
from tests.factories import make_series, make_spec
from training.resident import ResidentWindows
from training.ridge import tensors

CITY = (Forcing("temp_c", "degC", True), Forcing("rain_mm", "mm", False))


@st.composite
def builders(draw) -> WindowBuilder:
    """Series round the spring change, with gaps, and forcings for the city, a node, or none."""
    forcings = draw(st.sampled_from([CITY, CITY[1:], ()]))
    spec = make_spec(
        forcings=forcings,
        lookback=draw(st.integers(1, 60)),
        horizon=draw(st.integers(1, 60)),
        lags=tuple(draw(st.sets(st.sampled_from([1, 5, 24, 168, 336, 2000])))),
    )
    table, forced = make_series(days=60, seed=draw(st.integers(0, 9)))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    values = table.to_numpy(np.float32, copy=True)
    values[rng.random(values.shape) < 0.1] = np.nan
    columns = [forced[f.name].to_numpy(np.float32) for f in forcings]
    per_node = draw(st.integers(1, 4))
    known = len(values) - draw(st.integers(0, 40))
    array = np.zeros((len(values), per_node, len(forcings)), np.float32)
    for f, column in enumerate(columns):
        array[:, :, f] = column[:, None]
    array[rng.random(array.shape) < 0.2] = np.nan
    start = np.datetime64(table.index[0].tz_convert(None), "s")
    return WindowBuilder(spec, start, values, array[:known])


@settings(max_examples=60, deadline=None)
@given(builders(), st.data())
def test_a_batch_equals_the_builders(builder, data):
    last = len(builder.values) - 1
    origin = st.integers(builder.spec.lookback - 1, last)
    origins = np.array(data.draw(st.lists(origin, min_size=0, max_size=9)), np.int64)
    origins = np.concatenate([origins, [last]])
    expected = tensors(builder.batch(origins, with_target=True))
    found = ResidentWindows(builder).batch(origins)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        np.testing.assert_array_equal(found[name].numpy(), tensor.numpy(), err_msg=name)


@pytest.mark.parametrize("origins", [[], [47]])
def test_a_share_may_be_small(dataset, origins):
    windows = ResidentWindows(dataset.builder())
    batch = windows.batch(np.array(origins, np.int64))
    assert {len(tensor) for tensor in batch.values()} == {len(origins)}
