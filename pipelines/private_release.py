"""What a privately trained model's release says of privacy, and its entry in the ledger.

The claim is what the ledger comes to when the release is sealed. It is kept in the trained folder,
so that whoever builds again, after a kill or a year later, gets the same manifest and writes no
second entry. The entry is on disk before the release folder has its name: no private release
stands anywhere that the ledger does not know.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from models.contracts import CityGraph, FelsinaError
from models.record import canonical_json, sha256_bytes, write_atomic
from pipelines.evidence_folder import audit_figures
from pipelines.train import PRIVATE, Trained
from privacy.accounts import Accounts
from privacy.claim import coverage, statement
from privacy.entries import Claim, Release
from privacy.ledger import Ledger
from privacy.population import BudgetKey
from privacy.units import NODE_UNITS
from serving.release import EVIDENCE_FILES, release_id

CLAIM = "claim.json"
"""What a sealed release's manifest says that depends on the ledger, in its trained folder."""
NOT_COVERED = ("metrics", "interval", "calibration.adaptive", "export", "report.json", "graph.json")
"""Members of a manifest and files of a release that hold more of private rows than noisy steps."""
WITHHELD = {"left_out": "of private rows"}
"""Stands where an ordinary manifest has counts or digests of rows."""
UNCALIBRATED = "the network's own quantiles, trained with noise; not calibrated on private rows"


def entered(
    trained: Trained, ledger: Ledger | None, manifest: dict[str, Any], evidence: dict[str, Any]
) -> bytes:
    """The manifest of a private release, once the ledger holds its entry.

    Args:
        trained: a backtested private folder.
        ledger: that paid for it.
        manifest: of an ordinary release, without what is said of privacy.
        evidence: that goes with it, found fit.

    Raises:
        FelsinaError: if the ledger is left out, or is not the one that paid.
    """
    if ledger is None:
        raise FelsinaError(
            f"{trained.folder} was trained privately: name the ledger that paid for it with "
            "--ledger, and the city's key with --key"
        )
    with ledger.held() as accounts:
        key = _payer(trained, ledger, accounts)

        def said() -> dict[str, Any]:
            return {"privacy": _block(trained, ledger, accounts, key, evidence)}

        return entered_once(trained, ledger, _amended(trained, manifest), said, _claims)


def entered_once(
    trained: Trained,
    ledger: Ledger,
    manifest: dict[str, Any],
    said: Callable[[], dict[str, Any]],
    claims: Callable[[dict[str, Any]], tuple[Claim, ...]],
) -> bytes:
    """A manifest with what is said of privacy, kept so that a second call gives the same.

    Args:
        trained: whose folder keeps it.
        ledger: held by the caller.
        manifest: all of it that does not depend on the ledger.
        said: makes the rest, from the ledger as it is now.
        claims: of that rest, for the ledger's entry; where there are none, none is written.
    """
    path = trained.folder / CLAIM

    def sealed(rest: dict[str, Any]) -> tuple[bytes, Release | None]:
        content = canonical_json(manifest | rest)
        name, claimed = release_id(trained.dataset.spec.dataset, content), claims(rest)
        if not claimed:
            return content, None
        return content, Release(release=name, manifest_sha256=sha256_bytes(content), claim=claimed)

    if path.is_file():
        content, entry = sealed(json.loads(path.read_bytes()))
        if entry is None or ledger.find(entry) is not None:
            return content
    rest = said()
    write_atomic(path, canonical_json(rest))
    content, entry = sealed(rest)
    if entry is not None:
        ledger.record(entry)
    return content


def released_graph(trained: Trained) -> CityGraph:
    """The graph of a release: of nodes that are protected units, no more than their identifiers."""
    graph = trained.dataset.graph
    if trained.run[PRIVATE]["settings"]["unit"] not in NODE_UNITS:
        return graph
    unknown = np.full(graph.nodes, np.nan)
    return CityGraph(
        ids=graph.ids,
        lon=unknown,
        lat=unknown,
        names=graph.ids,
        areas=("",) * graph.nodes,
        thresholds=np.full((graph.nodes, 3), np.nan),
    )


def _amended(trained: Trained, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest without what was never fitted, and without counts and digests of rows."""
    private = trained.run[PRIVATE]
    return manifest | {
        "interval": manifest["interval"] | {"method": UNCALIBRATED},
        "calibration": manifest["calibration"] | {"method": "none", "span": "none"},
        "data": manifest["data"] | {"digests": WITHHELD, "quality": WITHHELD},
        "training": manifest["training"]
        | {"settings": private["settings"], "privacy_code": private["code"]},
    }


def _claims(said: dict[str, Any]) -> tuple[Claim, ...]:
    block = said["privacy"]["differential_privacy"]
    return (Claim(**{name: block[name] for name in Claim.model_fields}),)


def accountant() -> str:
    """How epsilons are counted."""
    return (
        f"privacy loss distribution (dp-accounting {version('dp-accounting')}), held to numerical "
        f"composition (Opacus {version('opacus')}) within 2 %"
    )


def place_of(ledger: Ledger) -> dict[str, Any]:
    """The ledger's last entry, after which a claim is made."""
    head = ledger.receipt()
    return {
        "stream": head["stream"],
        "key": head["key"],
        "entry": head["n"],
        "head_sha256": head["sha256"],
    }


def _payer(trained: Trained, ledger: Ledger, accounts: Accounts) -> BudgetKey:
    """Whose budget paid; refuse a ledger that holds other charges, or none."""
    private = trained.run[PRIVATE]
    unit = private["settings"]["unit"]
    key = BudgetKey(private["partner"], trained.dataset.spec.dataset, unit)
    signed = ledger.receipt()
    theirs = {"stream": signed["stream"], "key": signed["key"]}
    charges = []
    if theirs == private["ledger"]:
        made = accounts.population(key).charges
        charges = [m.charge for m in made if m.charge.run == private["run"]]
    if sum(charge.steps for charge in charges) < private["steps"]:
        raise FelsinaError(
            f"the ledger {signed['stream']} holds no charges for all {private['steps']} steps of "
            f"run {private['run']}; name the ledger {private['ledger']['stream']} that paid for it"
        )
    return key


def _block(
    trained: Trained,
    ledger: Ledger,
    accounts: Accounts,
    key: BudgetKey,
    evidence: dict[str, Any],
) -> dict[str, Any]:
    """The ``privacy`` member of the manifest."""
    private = trained.run[PRIVATE]
    settings = private["settings"]
    claim = ledger.claim(key)
    words = statement([claim], coverage(accounts, [claim]), new=True)
    return {
        "differential_privacy": {
            **claim.model_dump(),
            "noise_multiplier": private["noise_multiplier"],
            "sampling_rate": settings["sampling_rate"],
            "steps": private["steps"],
            "clip_norm": settings["clip_norm"],
            "accountant": accountant(),
            "run": private["run"],
            "ledger": place_of(ledger),
            "not_covered": [*NOT_COVERED, *(EVIDENCE_FILES if evidence["errors"] else ())],
        },
        "audit": audit_figures(evidence),
        "statement": words.en,
        "statement_it": words.it,
        "not_protected": list(words.not_protected_en),
        "not_protected_it": list(words.not_protected_it),
    }
