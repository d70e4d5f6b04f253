"""Joint members of a forecast, and the sums over nodes that they tell, as JSON bytes."""

from __future__ import annotations

import numpy as np
import orjson

from models.contracts import FelsinaError
from models.joint import check_additive, sum_quantiles
from serving.catalogue import Answer
from serving.formats import by_level, envelope
from serving.runtime import Runtime
from serving.schemas import MOST_VALUES
from serving.selection import Selection


def check_members(runtime: Runtime, chosen: Selection) -> None:
    """Refuse members that would hold too many values."""
    size = len(runtime.template) * len(chosen.leads) * len(chosen.nodes)
    if size > MOST_VALUES:
        raise FelsinaError(
            f"members of {len(chosen.nodes)} nodes are {size} values, over {MOST_VALUES}; "
            "ask for fewer nodes"
        )


def members_json(runtime: Runtime, answer: Answer, chosen: Selection) -> bytes:
    """The answer of ``schemas.MembersAnswer``; the quantile levels chosen do not matter."""
    release, record = runtime.release, runtime.release.manifest["members"]
    joint = runtime.members(answer.forecast)
    body = envelope(release, answer, chosen.leads) | {
        "members": len(joint),
        "method": record["method"],
        "tail": record["tail"],
        "features": [
            {"id": release.graph.ids[n], "values": np.ascontiguousarray(joint[:, chosen.leads, n])}
            for n in chosen.nodes.tolist()
        ],
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def areas_json(runtime: Runtime, answer: Answer) -> bytes:
    """The answer of ``schemas.AreasAnswer``; a target that does not add up is refused."""
    spec, graph = runtime.release.spec, runtime.release.graph
    check_additive(spec.unit, spec.target)
    joint = runtime.members(answer.forecast)
    names = sorted(set(graph.areas) - {""})
    areas = np.array(graph.areas)
    groups = np.stack([np.ones(graph.nodes, bool), *(areas == name for name in names)])
    quantiles = sum_quantiles(joint, groups, spec.quantiles)
    total, *sums = (
        {
            "area": name,
            "nodes": int(group.sum()),
            "quantiles": by_level(quantiles[:, g], spec.quantiles),
        }
        for g, (name, group) in enumerate(zip(["", *names], groups, strict=True))
    )
    body = envelope(runtime.release, answer) | {
        "members": len(joint),
        "method": runtime.release.manifest["members"]["method"],
        "total": total,
        "areas": sums,
    }
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
