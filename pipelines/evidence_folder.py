"""The folder of evidence in a privately trained one: written whole, and checked before a release.

Record and page get their name together, by one rename. The record names settings, weights and code
that it is of, and holds digests of itself and of the page. Whoever edits it has to seal it anew;
then bound, claim and verdict still have to follow from the guesses.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from models.record import canonical_json, sha256_bytes, sha256_file
from pipelines.release import sync_folder
from pipelines.train import FEDERATION, GRAPH, STATE, Trained
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.canary import least_epsilon
from privacy.dp import PrivateSettings, planned
from privacy.evidence_text import rendered
from serving.release import EVIDENCE, EVIDENCE_PAGE

FOLDER = "evidence"
"""In a trained folder, record and page."""
_SEAL, _PAGE = "sha256", "page_sha256"


def checked_evidence(trained: Trained) -> dict[str, Any]:
    """The evidence of a private folder, once it was found fit for a release.

    Raises:
        FelsinaError: where it is missing, was edited, is of other settings or weights, or speaks
            against the folder's claim.
    """
    remedy = f"felsina privacy evidence --trained {trained.folder} --dataset "
    remedy += str(trained.dataset.folder) + (" --no-errors" if FEDERATION in trained.run else "")
    folder = trained.folder / FOLDER
    if not folder.is_dir():
        raise FelsinaError(f"{trained.folder} has no evidence of what it promises; run {remedy}")
    record = intact(folder)
    if record is None or not _consistent(record):
        raise FelsinaError(f"{folder} was edited or is incomplete; remove it and run {remedy}")
    of = subject_of(trained)
    if other := [name for name in of if record["of"].get(name) != of[name]]:
        raise FelsinaError(f"{folder} is evidence of other {', '.join(other)}; run {remedy}")
    if record["audit"]["contradicts"]:
        guessed = record["audit"]["white_box"]
        raise FelsinaError(
            f"{folder}: canaries refute epsilon {guessed['claim']:.4g}, it is "
            f"{guessed['epsilon']:.4g} at least; release nothing of this, find what took the "
            "noise off and train again"
        )
    return record


def audit_figures(record: dict[str, Any]) -> dict[str, Any]:
    """What a release's manifest says of the audit."""
    white, auc = record["audit"]["white_box"], record["membership_auc"]
    return {
        "epsilon_at_least": white["epsilon"],
        "epsilon_claimed": white["claim"],
        "delta": white["delta"],
        "confidence": white["confidence"],
        "canaries": white["canaries"],
        "guesses": white["guesses"],
        "right": white["right"],
        "could_contradict": record["audit"]["could_contradict"],
        "auc": auc["white_box"],
        "auc_by_loss_alone": auc["black_box"],
    }


def subject_of(trained: Trained) -> dict[str, Any]:
    """What evidence is of: settings, weights, exported graph, code.

    Raises:
        FelsinaError: where the folder was not trained privately.
    """
    private = trained.noise
    if private is None:
        raise FelsinaError(
            f"{trained.folder} was not trained privately, so it promises nothing that could be "
            "tested; felsina privacy train trains with noise"
        )
    audited = {"partner": private["partner"]} if FEDERATION in trained.run else {}
    return audited | {
        "dataset": private.get("dataset", trained.dataset.spec.dataset),
        **{name: private[name] for name in ("run", "settings", "noise_multiplier", "steps")},
        "state_sha256": sha256_file(trained.folder / STATE),
        "model_sha256": sha256_file(trained.folder / GRAPH),
        "code": {"privacy": private["code"], "training": trained.run["code"]},
    }


def write_evidence(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
    """Put record and page in place by one rename; the record as it is read again."""
    page = rendered(record).encode()
    record = record | {_PAGE: sha256_bytes(page)}
    record |= {_SEAL: sha256_bytes(canonical_json(record))}
    part, old = (folder.with_name(f".{FOLDER}.{name}") for name in ("part", "old"))
    for rest in (part, old):
        shutil.rmtree(rest, ignore_errors=True)
    part.mkdir()
    content = canonical_json(record)
    (part / EVIDENCE).write_bytes(content)
    (part / EVIDENCE_PAGE).write_bytes(page)
    sync_folder(part)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return json.loads(content)


def intact(folder: Path) -> dict[str, Any] | None:
    """The record of a folder whose digests fit; None where there is none, or it was edited."""
    try:
        content, page = ((folder / name).read_bytes() for name in (EVIDENCE, EVIDENCE_PAGE))
        record = json.loads(content)
        bare = {name: value for name, value in record.items() if name != _SEAL}
        sealed = record[_SEAL] == sha256_bytes(canonical_json(bare))
        whole = sealed and record[_PAGE] == sha256_bytes(page) and content == canonical_json(record)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


def _consistent(record: dict[str, Any]) -> bool:
    """Whether bound, claim and verdict follow from settings and guesses, whoever sealed them."""
    try:
        of, settings = record["of"], PrivateSettings(**record["of"]["settings"])
        white = record["audit"]["white_box"]
        plan = planned(settings)
        taken = SampledGaussian(plan.sampling_rate, of["noise_multiplier"], of["steps"])
        given = (white["canaries"], white["guesses"], white["right"], white["delta"])
        bound = least_epsilon(*given, white["confidence"])
        pairs = (
            (white["epsilon"], bound),
            (white["claim"], epsilon_of([plan], settings.delta).pld),
            (record["epsilon"]["pld"], epsilon_of([taken], settings.delta).pld),
            (white["delta"], settings.delta),
        )
        same = all(math.isclose(told, now, rel_tol=1e-4, abs_tol=1e-6) for told, now in pairs)
        return same and record["audit"]["contradicts"] == (white["epsilon"] > white["claim"])
    except (KeyError, TypeError, ValueError, FelsinaError):
        return False
