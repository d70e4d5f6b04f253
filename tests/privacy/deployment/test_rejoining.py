"""The city's round loop over a grid that is this process."""

import json

import pytest

from privacy.deployment.city_app import conduct
from privacy.deployment.results import ENDED, load_arrays
from privacy.grid import InProcessGrid
from privacy.messages import client_app
from tests.privacy.deployment.conftest import Newcomer, invitation_of, make_city

NAMES = ("hera", "iren", "tper")


class Same:
    """Moves each array by as much each round."""

    observed = 10.0

    def update(self, round, arrays):
        return {name: values * 0 + 0.01 * round for name, values in arrays.items()}


class Killed(Exception):
    """In place of a kill."""


@pytest.fixture
def joined(parts, tmp_path):
    """A city of a plan without noise, and who joined it."""
    city = make_city(tmp_path / "city", parts[0], private=False)
    newcomers = {}
    for node, name in enumerate(NAMES, 1):
        invitation = invitation_of(city, name, tmp_path, epsilon=0.0)
        newcomers[name] = Newcomer(invitation, tmp_path / name)
        city.enrol(name, sent(newcomers[name], str(node)))
        city.place(name, node)
    return city, newcomers


def sent(newcomer, digit, **changes):
    plain = {"sampling_rate": None, "noise_multiplier": None, "weight": 10.0}
    digests = {"series.parquet": digit * 64}
    return newcomer.sent(**(plain | {"digests": digests} | changes))


def grid_of(*trainers):
    apps = {n: client_app(lambda run, own=own: own) for n, own in enumerate(trainers, 1)}
    return InProcessGrid(apps)


def test_whoever_joins_again_while_a_run_is_under_way_does_not_end_it(joined):
    city, newcomers = joined
    grid, calls = grid_of(Same(), Same(), Same()), []
    plain = grid.push_messages

    def dying(messages):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return plain(messages)

    grid.push_messages = dying
    with pytest.raises(Killed):
        conduct(grid, city, "first", 0.0)
    city.enrol("hera", sent(newcomers["hera"], "1", weight=11.0))  # its data has grown
    city.withdraw("tper", None)
    (city.folder.parent / "tper.invitation").unlink()
    invitation_of(city, "tper", city.folder.parent, epsilon=0.0)
    conduct(grid_of(Same(), Same(), Same()), city, "first", 0.0)
    ended = json.loads((city.folder / "runs" / "first" / ENDED).read_bytes())
    # tper withdrew and is asked no more, so that two are left; the run goes on until it says so.
    assert (ended["rounds"], "2 partners may take part" in ended["reason"]) == (1, True)
    assert load_arrays(city.folder / "runs" / "first" / "model.npz")
