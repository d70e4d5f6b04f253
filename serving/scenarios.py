"""The scenario routes: what if, answered by sealed surrogates."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse, Response

from models.contracts import FelsinaError, IntArray
from models.scenario import ScenarioSpec
from serving import scenario_schemas as schemas
from serving.catalogue import Catalogue, now
from serving.formats import MEDIA, by_level
from serving.scenario_inputs import listed, refuse_outside, scenario_arrays
from serving.schemas import MOST_VALUES, iso
from serving.served import NotFound, Served
from serving.surrogate import SurrogateRelease, load_surrogate

Extrapolate = Annotated[
    bool, Query(description="Answer outside the trained ranges too, and flag it.")
]


def add_scenarios(app: FastAPI, catalogue: Catalogue) -> None:
    """Add the routes over the surrogates under the catalogue's home."""
    served = Served(catalogue.home, _opened, True, catalogue.approvals)

    def found(name: str) -> SurrogateRelease:
        try:
            return served.get(name)
        except NotFound as error:
            if (release := served.release(name)) is not None:
                return release
            raise NotFound(
                f"{error}; name one or its release, or build one with felsina scenario sample and "
                "felsina release build"
            ) from error

    @app.get("/v1/scenarios", response_model=schemas.SurrogateList, tags=["scenarios"])
    def surrogates() -> Any:
        """Every surrogate that is served."""
        entries = [_entry(one) for one in served.champions().values()]
        return JSONResponse({"surrogates": entries, "withheld": served.not_served()})

    @app.get("/v1/scenarios/{release}", response_model=schemas.SurrogateDetail, tags=["scenarios"])
    def surrogate_detail(release: str) -> Any:
        """What a surrogate, or one release of it, may be asked and how far it errs."""
        surrogate = found(release)
        spec = surrogate.spec
        told = spec.to_dict()
        kept = ("axis", "places", "scalars", "fields", "answered", "outputs", "quantiles", "facts")
        return JSONResponse(
            _entry(surrogate)
            | {key: told[key] for key in kept}
            | {"presets": list(spec.presets), "errors": _errors(surrogate, spec.answered)}
        )

    @app.post("/v1/scenarios/{release}", response_model=schemas.ScenariosAnswer, tags=["scenarios"])
    def ask(release: str, body: schemas.ScenariosBody, extrapolate: Extrapolate = False) -> Any:
        """Quantiles of what the simulator would answer to each scenario."""
        surrogate = found(release)
        content = _answer(surrogate, body, extrapolate)
        headers = {"felsina-release": surrogate.id}
        return Response(content, media_type=MEDIA["json"], headers=headers)


@lru_cache(maxsize=32)
def _opened(folder: Path) -> SurrogateRelease:
    """A verified surrogate with its graph opened; what is sealed stays as it is."""
    surrogate = load_surrogate(folder)
    _ = surrogate.session
    return surrogate


def _name(surrogate: SurrogateRelease) -> dict[str, Any]:
    spec = surrogate.spec
    return {
        "name": spec.name,
        "release": surrogate.id,
        "domain": spec.domain,
        "simulator": spec.simulator,
        "manifest_sha256": surrogate.sha256,
        "approval": surrogate.approval.state,
        "decision": surrogate.approval.decision,
    }


def _entry(surrogate: SurrogateRelease) -> dict[str, Any]:
    spec = surrogate.spec
    return _name(surrogate) | {"inputs": len(spec.scalars) + len(spec.fields)}


def _errors(surrogate: SurrogateRelease, places: tuple[str, ...]) -> dict[str, Any]:
    """The report's figures by test set and output, for these places."""
    figures, floors = ("mae", "cvrmse", "coverage_80"), ("floor", "mae_over_floor")

    def of(errors: dict[str, Any]) -> dict[str, Any]:
        by_place = errors.get("places", {})
        shown = {p: {key: by_place[p][key] for key in figures} for p in places if p in by_place}
        return {key: errors.get(key) for key in (*figures, *floors)} | {"places": shown}

    return {
        name: {
            "runs": scores["runs"],
            "outputs": {output: of(errors) for output, errors in scores["outputs"].items()},
        }
        for name, scores in surrogate.report["tests"].items()
    }


def _answer(surrogate: SurrogateRelease, body: schemas.ScenariosBody, extrapolate: bool) -> bytes:
    spec, count = surrogate.spec, len(body.scenarios)
    chosen = _chosen(spec, body.places)
    each = max(
        len(spec.places) * len(spec.fields),
        len(chosen) * len(spec.outputs) * len(spec.quantiles),
    )
    if count * each > MOST_VALUES:
        raise FelsinaError(
            f"{count} scenarios of {each} values are over {MOST_VALUES}; ask at most "
            f"{MOST_VALUES // each} at once, or fewer places"
        )
    scalars, fields = scenario_arrays(spec, body)
    outside = spec.outside(scalars, fields)
    if not extrapolate:
        refuse_outside(outside)
    quantiles = surrogate.answer(scalars, fields)[:, chosen]
    if not np.isfinite(quantiles).all():
        rows = np.flatnonzero(~np.isfinite(quantiles).reshape(count, -1).all(axis=1))
        raise FelsinaError(
            f"scenario {rows[0]}: its inputs lie so far outside the trained ranges that the "
            "surrogate has no number for it; bring them nearer"
        )
    places = [spec.answered[a] for a in chosen]
    flagged: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for one in outside:
        flagged[one.scenario].append(
            {
                "input": one.input,
                "place": one.place or None,
                "value": one.value,
                "low": one.low,
                "high": one.high,
            }
        )
    answer = _name(surrogate) | {
        "issued_at": iso(now()),
        "engine": "surrogate",
        "axis": spec.axis,
        "places": places,
        "quantiles": spec.quantiles,
        "scenarios": [
            {
                "outputs": {
                    output.name: {
                        "unit": output.unit,
                        "median": dict(zip(places, values[:, o, spec.median], strict=True)),
                        "quantiles": by_level(values[:, o], spec.quantiles),
                    }
                    for o, output in enumerate(spec.outputs)
                },
                "range_check": {"inside": not found, "outside": found},
            }
            for values, found in zip(quantiles, flagged, strict=True)
        ],
        "error": _errors(surrogate, tuple(places)),
    }
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _chosen(spec: ScenarioSpec, places: list[str] | None) -> IntArray:
    """Indices of the places to answer."""
    if places is None:
        return np.arange(len(spec.answered))
    at = {place: a for a, place in enumerate(spec.answered)}
    for place in places:
        if place not in at:
            raise FelsinaError(f"{spec.axis} {place!r} is not answered; answered: {listed(at)}")
    return np.array([at[place] for place in dict.fromkeys(places)])
