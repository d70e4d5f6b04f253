"""The evidence of a privately trained folder: made once, and asked for before a release.

The audit runs with the settings and the noise of the folder's own run, on units that nobody has to
protect. The noiseless twin is trained on the private rows, in memory alone: only its errors by
group are kept, where the partner agreed.

Evidence against a folder stays: no other seed and no fewer canaries put better in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from pipelines.evidence_folder import FOLDER, intact, subject_of, write_evidence
from pipelines.private import SERIES, private_code
from pipelines.settings import held
from pipelines.train import FEDERATION, Trained, code_digest
from privacy.accounting import SampledGaussian, epsilon_of
from privacy.audit_run import audit_private
from privacy.canary import LEAST_CANARIES
from privacy.claim import Coverage, Statement, statement
from privacy.dp import PrivateSettings, planned
from privacy.entries import Claim
from privacy.evidence import audited, evidence
from privacy.noise_cost import PrivateErrors, groups_of, noiseless_twin, private_errors
from privacy.population import key_of
from privacy.stand_in import stand_ins_like
from training.dataset import CityDataset
from training.loop import Listener

MOST_STAND_INS = 10_000
"""Synthetic households that are made at most; more change nothing that is guessed."""
_AUDITING = (
    "audit_run",
    "canary",
    "canary_units",
    "evidence",
    "evidence_text",
    "evidence_words",
    "noise_cost",
    "stand_in",
    "witness",
)
"""Modules of ``privacy`` that decide what evidence becomes."""
_SHAPE = ("step", "lookback", "horizon", "forcings", "quantiles")
"""What stand-ins share with the release, so that the network is the same."""


def make_evidence(
    trained: Trained,
    home: Path,
    listener: Listener,
    stand_in: CityDataset | None = None,
    public: CityDataset | None = None,
    canaries: int = LEAST_CANARIES,
    seed: int = 0,
    attribute: str | None = "area",
) -> dict[str, Any]:
    """Audit a private folder's settings, weigh its noise, and keep both; or find what was kept.

    Args:
        trained: a private folder.
        home: where locks lie.
        listener: told of progress.
        stand_in: public or synthetic units; synthetic households when None.
        public: the dataset of the folder's backbone.
        canaries: coins to flip.
        seed: of coins, canaries, sampling and noise of the audit.
        attribute: by which errors of private rows are grouped; None where they are not shown.

    Returns:
        The record. Where ``audit.contradicts`` is true the folder cannot be released.

    Raises:
        FelsinaError: before anything runs, where the folder was not trained privately or not by
            this code, or the other datasets do not fit.
    """
    if canaries < LEAST_CANARIES:
        raise FelsinaError(f"--canaries {canaries}: an audit needs {LEAST_CANARIES} at least")
    of = subject_of(trained)
    settings, mechanism = _plan(trained)
    _check_code(trained)
    _check_public(trained, public)
    if attribute is not None and FEDERATION in trained.run:
        raise FelsinaError(
            f"{trained.folder} was trained by partners, whose rows are not here to weigh the noise "
            "on; say --no-errors"
        )
    if attribute is not None:
        groups_of(trained.dataset, attribute)
    if stand_in is not None:
        _check_stand_in(trained.dataset, stand_in)
    made_with = {
        "canaries": canaries,
        "seed": seed,
        "stand_in": stand_in.digests if stand_in else {},
        "errors_by": attribute,
        "code": private_code(_AUDITING),
    }
    folder = trained.folder / FOLDER
    with held(home / "work" / f"{trained.folder.name}.lock"):
        kept = intact(folder)
        if (
            kept
            and kept["of"] == of
            and (kept["made_with"] == made_with or kept["audit"]["contradicts"])
        ):
            return kept
        units = stand_in or stand_ins_like(
            trained.dataset, min(settings.nominal_units, MOST_STAND_INS), seed
        )
        found = audit_private(audited(settings), units, listener, canaries, None, seed, public)
        errors = None
        if attribute is not None and not found.contradicts:
            errors = _errors(trained, settings, listener, public, attribute)
        epsilon = epsilon_of([mechanism], settings.delta)
        told = _statement(trained, epsilon.pld)
        record = evidence(settings, mechanism, epsilon, found, told, errors)
        return write_evidence(folder, record | {"of": of, "made_with": made_with})


def _noise(trained: Trained) -> dict[str, Any]:
    assert trained.noise is not None, "evidence is of a folder with noise"
    return trained.noise


def _plan(trained: Trained) -> tuple[PrivateSettings, SampledGaussian]:
    """Settings of a run, and the steps that its weights hold."""
    private = _noise(trained)
    settings = PrivateSettings(**private["settings"])
    plan = planned(settings)
    if plan.noise_multiplier != private["noise_multiplier"]:
        raise FelsinaError(
            f"{trained.folder}: it ran with noise {private['noise_multiplier']:g}, while its "
            f"settings now ask for {plan.noise_multiplier:g}; audit it with the packages that "
            "trained it"
        )
    taken = SampledGaussian(plan.sampling_rate, plan.noise_multiplier, private["steps"])
    return settings, taken


def _check_code(trained: Trained) -> None:
    """Refuse a folder of other code: an audit speaks of the code that it runs."""
    if (_noise(trained)["code"], trained.run["code"]) != (private_code(), code_digest()):
        raise FelsinaError(
            f"{trained.folder} was trained by other code, and an audit speaks of the code that it "
            "runs; make its evidence with the code that trained it"
        )


def _check_public(trained: Trained, public: CityDataset | None) -> None:
    """Refuse another backbone than the run's."""
    named = _noise(trained)["public"]
    if named != (public.digests if public else {}):
        raise FelsinaError(
            f"{trained.folder} was trained "
            + (
                "with a backbone of public series: name the same folder, unchanged, with --public"
                if named
                else "without public series; leave out --public"
            )
        )


def _check_stand_in(dataset: CityDataset, stand_in: CityDataset) -> None:
    """Refuse private series, and a network of another shape."""
    if stand_in.digests[SERIES] == dataset.digests[SERIES]:
        raise FelsinaError(
            f"--stand-in {stand_in.folder} holds the private series; give public or synthetic ones"
        )
    for name in _SHAPE:
        if getattr(stand_in.spec, name) != getattr(dataset.spec, name):
            raise FelsinaError(
                f"--stand-in {stand_in.folder}: its {name} is {getattr(stand_in.spec, name)}, that "
                f"of the release {getattr(dataset.spec, name)}; give units with the same, or leave "
                "--stand-in out for synthetic households"
            )


def _errors(
    trained: Trained,
    settings: PrivateSettings,
    listener: Listener,
    public: CityDataset | None,
    attribute: str,
) -> PrivateErrors:
    """Of the released weights and of a twin that is gone when this returns."""
    dataset, steps = trained.dataset, _noise(trained)["steps"]
    twin = noiseless_twin(dataset, settings, listener, public, steps)

    def progress(share: float) -> None:
        listener.progress("errors", share)

    return private_errors(dataset, trained.fitted.forecaster, twin, attribute, progress)


def _statement(trained: Trained, epsilon: float) -> Statement:
    """What the run's own steps promise; the manifest's statement counts everything together."""
    private = _noise(trained)
    settings = private["settings"]
    claim = Claim(
        partner=private["partner"],
        dataset=subject_of(trained)["dataset"],
        unit=settings["unit"],
        epsilon=epsilon,
        delta=settings["delta"],
    )
    covered = Coverage(settings["nominal_units"], (claim.dataset,), (private["run"],))
    own = trained.dataset.spec.dataset if FEDERATION in trained.run else ""
    return statement([claim], {key_of(claim): covered}, alone=True, own=own)
