"""A federation's plan from a TOML file and a dataset that shows what every partner's is like."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from models.contracts import FelsinaError
from models.toml_file import first_fault, merge, read_toml
from pipelines.train import settings_for
from privacy.deployment.plan import Plan
from privacy.dp import planned
from training.dataset import CityDataset


def read_plan(path: Path, like: CityDataset) -> Plan:
    """Read a plan.

    Args:
        path: TOML with ``federation``, ``[rounds]`` and either ``[private]`` (settings of private
            training) or ``reason`` and ``[training]`` (changes of the dataset's own settings).
        like: a dataset of the same task; public or made up, none of its rows are used.

    Raises:
        FelsinaError: naming the file and the member that is wrong.
    """
    given = read_toml(path)
    private = given.get("private")
    if private is None:
        base = settings_for(like).model_dump()
        given["training"] = merge(base, given.get("training", {}))
        lags = given["training"]["lags"]
    else:
        lags = private.get("lags", ())
    try:
        plan = Plan(spec=like.spec.with_lags(tuple(lags)).to_dict(), **given)
    except ValidationError as error:
        raise FelsinaError(f"{path}: {first_fault(error)}") from error
    except TypeError as error:
        raise FelsinaError(f"{path}: {error}; leave it out") from error
    if plan.private is not None:
        planned(plan.private)
    return plan
