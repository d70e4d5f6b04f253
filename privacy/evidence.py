"""What goes with a private release: how hard it was tried, and what privacy cost in error.

The audit is of stand-ins and costs nothing. The errors (``privacy.noise_cost``) are of private
rows, and the document says so.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from models.contracts import FelsinaError
from models.record import canonical_json
from privacy.accounting import Epsilon, SampledGaussian
from privacy.audit_run import PrivateAudit
from privacy.canary import right_to_refute
from privacy.claim import Statement
from privacy.dp import PrivateSettings
from privacy.noise_cost import LEAST_GROUP, PrivateErrors
from privacy.units import NODE_UNITS


def evidence(
    settings: PrivateSettings,
    mechanism: SampledGaussian,
    epsilon: Epsilon,
    audit: PrivateAudit,
    statement: Statement,
    errors: PrivateErrors | None = None,
) -> dict[str, Any]:
    """What goes with a release, JSON-ready and the same bytes wherever it is encoded.

    Canaries are nodes. Settings whose unit is none are audited with a unit that is one: sampling,
    clipping, noise and network are the same.

    Args:
        settings: of the release.
        mechanism: the steps that its weights hold.
        epsilon: what these spend, by each accountant.
        audit: of the same settings.
        statement: of what the release's steps promise, for lay readers.
        errors: where the partner agrees that they are shown.

    Raises:
        FelsinaError: where the audit is of other settings.
    """
    changed = [
        name
        for name in PrivateSettings.model_fields
        if getattr(audit.settings, name) != getattr(audited(settings), name)
    ]
    if changed:
        raise FelsinaError(
            f"the audit is of other settings ({', '.join(changed)}); audit those of the release"
        )
    if audit.noise_multiplier != mechanism.noise_multiplier:
        raise FelsinaError(
            f"the audit ran with noise {audit.noise_multiplier:g}, the release with "
            f"{mechanism.noise_multiplier:g}; audit what was released"
        )
    record = {
        "settings": settings.model_dump(mode="json"),
        "mechanism": asdict(mechanism),
        "epsilon": asdict(epsilon),
        "audit": audit.to_dict() | {"right_to_refute": right_to_refute(audit.white_box)},
        "membership_auc": {"white_box": audit.white_box.auc, "black_box": audit.black_box.auc},
        "statement": statement.to_dict(),
        "errors": None if errors is None else _shown(errors),
    }
    canonical_json(record)  # refuses what is no number
    return record


def audited(settings: PrivateSettings) -> PrivateSettings:
    """The settings that an audit of ``settings`` runs with."""
    if settings.unit in NODE_UNITS:
        return settings
    return settings.model_copy(update={"unit": NODE_UNITS[0]})


def _shown(errors: PrivateErrors) -> dict[str, Any]:
    return {**asdict(errors), "least_group": LEAST_GROUP, "covered_by_epsilon": False}
