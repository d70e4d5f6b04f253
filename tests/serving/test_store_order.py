"""Late, disordered and repeated data: any order of the same batches gives the same table."""

from uuid import uuid4

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.store import FORCED, OBSERVED, Store

HOUR, SPAN, NODES = 3600, 8, ("a", "b", "c")
START = np.datetime64("2024-05-01T00:00:00", "s")
TRUTH = np.arange(SPAN * len(NODES)).reshape(SPAN, len(NODES)) + 0.25
"""What each sensor measured at each hour; a batch is some of its rows and columns."""

Batch = tuple[list[int], list[int]]
hours = st.lists(st.integers(0, SPAN - 1), min_size=1, max_size=5)
nodes = st.lists(st.integers(0, len(NODES) - 1), min_size=1, max_size=3, unique=True)
fitting = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def sent(draw, batches):
    """Batches, and an order in which each of them comes once or more often."""
    made = draw(st.lists(batches, min_size=1, max_size=5))
    again = draw(st.lists(st.sampled_from(made), max_size=3))
    return made, draw(st.permutations(made + again))


def write(store: Store, dataset: str, kind: str, batch: Batch, plus: float = 0, issued=None):
    rows, columns = batch
    times = START + np.array(rows) * np.timedelta64(HOUR, "s")
    names = [NODES[n] for n in columns]
    store.write(dataset, kind, times, names, TRUTH[np.ix_(rows, columns)] + plus, issued)


def held(store: Store, dataset: str, kind: str) -> np.ndarray:
    return store.read(dataset, kind, list(NODES), START, SPAN, HOUR)


@fitting
@given(sent(st.tuples(hours, nodes)))
def test_observations_in_any_order_and_again_are_the_same_table(store_place, made_and_order):
    made, order = made_and_order
    store, dataset = Store(store_place), uuid4().hex
    changes, cells = 0, set()
    for rows, columns in order:
        write(store, dataset, OBSERVED, (rows, columns))
        sent = {(row, column) for row in rows for column in columns}
        changes += not sent <= cells  # what is held already changes nothing
        cells |= sent
    expected = np.full_like(TRUTH, np.nan)
    for rows, columns in made:
        expected[np.ix_(rows, columns)] = TRUTH[np.ix_(rows, columns)]
    np.testing.assert_array_equal(held(store, dataset, OBSERVED), expected)
    last = max(max(rows) for rows, _ in made)
    assert store.state(dataset) == (changes, START + np.timedelta64(last * HOUR, "s"))
    store.engine.dispose()


@fitting
@given(sent(st.tuples(hours, nodes, st.integers(0, 3))))
def test_forcings_in_any_order_are_those_of_the_newest_issue(store_place, made_and_order):
    made, order = made_and_order
    store, dataset = Store(store_place), uuid4().hex
    for rows, columns, issue in order:
        issued = START + np.timedelta64(issue * HOUR, "s")
        write(store, dataset, FORCED, (rows, columns), 100 * issue, issued)
    newest = np.full(TRUTH.shape, np.nan)
    for rows, columns, issue in made:
        newest[np.ix_(rows, columns)] = np.fmax(newest[np.ix_(rows, columns)], issue)
    np.testing.assert_array_equal(held(store, dataset, FORCED), TRUTH + 100 * newest)
    assert store.state(dataset)[1] is None
    store.engine.dispose()


@fitting
@given(
    st.lists(st.tuples(st.integers(0, SPAN - 1), st.sampled_from(NODES)), min_size=1, max_size=5),
    st.data(),
)
def test_what_is_held_already_stays_when_a_dataset_is_loaded(store_place, cells, data):
    """``replace=False`` fills gaps and nothing else, before and after what was posted."""
    store, dataset = Store(store_place), uuid4().hex
    times = START + np.arange(SPAN) * np.timedelta64(HOUR, "s")
    posted = np.full_like(TRUTH, np.nan)
    for row, node in cells:
        posted[row, NODES.index(node)] = -1.0
        value = np.array([[-1.0]])
        store.write(dataset, OBSERVED, times[row : row + 1], [node], value)
        if data.draw(st.booleans()):
            store.write(dataset, OBSERVED, times, list(NODES), TRUTH, replace=False)
    store.write(dataset, OBSERVED, times, list(NODES), TRUTH, replace=False)
    expected = np.where(np.isnan(posted), TRUTH, posted)
    np.testing.assert_array_equal(held(store, dataset, OBSERVED), expected)
    store.engine.dispose()
