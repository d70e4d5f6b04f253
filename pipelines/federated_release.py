"""What a federation's release says of the partners that trained it, and its entry in their ledger.

With noise it claims of each partner what the ledger comes to when it is sealed, and the claim that
promises least stands at the top, where services and gates read one. Without noise it says why, and
nothing is claimed or entered: the ledger is of budgets. Either is kept in the trained folder, so
that a second call, after a kill or a year later, gives the same bytes and enters nothing twice.
"""

from __future__ import annotations

from typing import Any, cast

from models.contracts import FelsinaError
from pipelines.evidence_folder import audit_figures
from pipelines.private_release import accountant, entered_once, place_of
from pipelines.train import FEDERATION, Trained
from privacy.accounts import Accounts
from privacy.claim import coverage, statement
from privacy.entries import Claim, Unit
from privacy.ledger import Ledger
from privacy.population import BudgetKey

NOT_COVERED = (
    "metrics",
    "interval",
    "calibration",
    "weather",
    "members.npy",
    "thresholds",
    "data",
    "export",
    "report.json",
    "graph.json",
)
"""Members of a manifest and files of a release that are made of the city's own rows, exactly."""
_TOLD = (
    "federation",
    "plan_sha256",
    "run",
    "rounds",
    "planned_rounds",
    "stopped",
    "partners",
    "reason",
    "model_sha256",
)
"""What of a federation stands in a manifest."""
_WITHOUT_EN = (
    "Trained in {rounds} rounds by {partners} together, each on its own data, without differential "
    "privacy: whoever has the model may learn of single rows. The agreed plan says why nobody "
    'needs protection: "{reason}".'
)
_WITHOUT_IT = (
    "Addestrato in {rounds} cicli da {partners} insieme, ciascuno sui propri dati, senza privacy "
    "differenziale: chi ha il modello può ricavarne singole righe. Il piano concordato dice perché "
    "nessuno ha bisogno di protezione: «{reason}»."
)


def entered(
    trained: Trained,
    ledger: Ledger | None,
    manifest: dict[str, Any],
    evidence: dict[str, Any] | None,
) -> bytes:
    """The manifest of a federation's release, once the ledger holds its entry.

    Args:
        trained: a backtested folder of ``pipelines.federated``.
        ledger: the city's, that its partners' budgets are in.
        manifest: of an ordinary release, without what is said of privacy.
        evidence: that goes with it, found fit; None where there was no noise.

    Raises:
        FelsinaError: if the ledger is left out or is another, or a partner has withdrawn and the
            release is not entered yet.
    """
    about = trained.run[FEDERATION]
    stream = about["ledger"]["stream"]
    if ledger is None:
        raise FelsinaError(
            f"{trained.folder} was trained by partners: name their ledger {stream} with --ledger, "
            "and the city's key with --key"
        )
    training = manifest["training"] | {"settings": about["settings"], "privacy_code": about["code"]}
    with ledger.held() as accounts:
        keys = _keys(about, ledger, accounts)

        def said() -> dict[str, Any]:
            check_there(trained, ledger)
            told = {name: about[name] for name in _TOLD} | {"ledger": place_of(ledger)}
            if evidence is None:
                return {FEDERATION: told, "privacy": _without(about)}
            block = _block(trained, ledger, accounts, keys, evidence)
            return {FEDERATION: told, "privacy": block}

        return entered_once(trained, ledger, manifest | {"training": training}, said, _claims)


def _keys(about: dict[str, Any], ledger: Ledger, accounts: Accounts) -> list[BudgetKey]:
    """Whose budgets paid; refuse a ledger that is another, or holds fewer charges."""
    receipt = ledger.receipt()
    keys = []
    for seen in about["partners"]:
        key = BudgetKey(seen["partner"], seen["dataset"], cast(Unit, seen["unit"]))
        same = about["ledger"] == {name: receipt[name] for name in ("stream", "key")}
        made = [one.charge for one in accounts.population(key).charges] if same else []
        for run in {one["run"] for one in seen["charged"]}:
            wanted = sum(one["steps"] for one in seen["charged"] if one["run"] == run)
            same &= sum(charge.steps for charge in made if charge.run == run) >= wanted
        if not same:
            raise FelsinaError(
                f"the ledger {receipt['stream']} does not hold what {key} was charged for run "
                f"{about['run']}; name the ledger {about['ledger']['stream']} as it was then, or "
                "later"
            )
        keys.append(key)
    return keys


def check_there(trained: Trained, ledger: Ledger) -> None:
    """Refuse to let out anew what partners taught that have left since.

    Raises:
        FelsinaError: naming them.
    """
    about = trained.run[FEDERATION]
    names = dict.fromkeys(seen["partner"] for seen in about["partners"])
    if left := [name for name in names if ledger.withdrew(name)]:
        raise FelsinaError(
            f"run {about['run']}: its model has seen {', '.join(left)}, who withdrew before it was "
            f"released; train one that has not: felsina city run NEW --after {about['run']}"
        )


def _claims(said: dict[str, Any]) -> tuple[Claim, ...]:
    block = said["privacy"]["differential_privacy"] or {"partners": []}
    return tuple(Claim(**{n: one[n] for n in Claim.model_fields}) for one in block["partners"])


def _block(
    trained: Trained,
    ledger: Ledger,
    accounts: Accounts,
    keys: list[BudgetKey],
    evidence: dict[str, Any],
) -> dict[str, Any]:
    """The ``privacy`` member of the manifest, where partners trained with noise."""
    about = trained.run[FEDERATION]
    claims = [ledger.claim(key) for key in keys]
    weakest = max(claims, key=lambda claim: (claim.epsilon, claim.delta, claim.partner))
    own = trained.dataset.spec.dataset
    words = statement(claims, coverage(accounts, claims), new=True, own=own)
    seen = zip(claims, about["partners"], strict=True)
    return {
        "differential_privacy": {
            **weakest.model_dump(),
            "partners": [claim.model_dump() | {"charged": of["charged"]} for claim, of in seen],
            "clip_norm": about["settings"]["clip_norm"],
            "accountant": accountant(),
            "run": about["run"],
            "ledger": place_of(ledger),
            "not_covered": list(NOT_COVERED),
            "not_covered_of": own,
        },
        "audit": audit_figures(evidence) | {"partner": about["noise"]["partner"]},
        "statement": words.en,
        "statement_it": words.it,
        "not_protected": list(words.not_protected_en),
        "not_protected_it": list(words.not_protected_it),
    }


def _without(about: dict[str, Any]) -> dict[str, Any]:
    """The same where they trained without."""
    names = ", ".join(dict.fromkeys(seen["partner"] for seen in about["partners"]))
    said = {"rounds": about["rounds"], "partners": names, "reason": about["reason"]}
    return {
        "differential_privacy": None,
        "statement": _WITHOUT_EN.format(**said),
        "statement_it": _WITHOUT_IT.format(**said),
    }
