"""The stage from a federation's last model to a trained folder of the city's own nodes.

The network is what the partners made; nothing of it is trained any more. Around it goes what a
partner puts there for itself: with noise the constant backbone that the network corrects, without
noise one that is fitted on the city's own rows. Bands and joint members are the city's: its rows
are its own, or public, and no partner's (a dataset that the ledger knows is refused where a promise
would be broken). So the folder is one like any other, and is backtested, released and replayed so.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

from models.contracts import FelsinaError
from models.forecaster import Forecaster
from pipelines.adopt import calibrate_here
from pipelines.private import SERIES, private_code
from pipelines.train import FEDERATION, Trained, made_by, made_of
from privacy.checkpoints import digest
from privacy.deployment.city import City
from privacy.deployment.outcome import Outcome, Share, outcome_of
from privacy.deployment.plan import Plan
from privacy.dp import PrivateSettings, planned
from privacy.local import federated, load_shared
from privacy.population import Mechanisms
from privacy.private_network import private_forecaster
from privacy.replay import composed
from training.dataset import CityDataset
from training.fit import Fitted
from training.loop import Listener
from training.ridge import fit_backbone
from training.settings import Fairness, TrainSettings, resolve_settings

_SHAPE = {"seed", "steps", "lags", "learning_rate", "architecture"}
"""Of private settings, what ordinary ones have too."""


def train_federated(
    city: City, run: str, dataset: CityDataset, home: Path, listener: Listener
) -> Trained:
    """Make, or find, the trained folder of a run's last model for nodes of the city's own.

    Args:
        city: whose partners trained it.
        run: that has ended.
        dataset: of the city's nodes, of the federation's task.
        home: where trained folders lie.
        listener: told of progress.

    Raises:
        FelsinaError: if the run has not ended or has no round, the dataset is of another task or
            holds a protected partner's rows, or the model knows nodes by name or is of other code.
    """
    plan, outcome = city.plan, outcome_of(city, run)
    plan.check(dataset)
    settings = _settings(plan)
    if not settings.architecture.inductive:
        raise FelsinaError(
            f"run {run}: federation {plan.federation} has architecture.inductive = false, and what "
            "was learned of each node by name stayed with its partner; begin a city whose plan has "
            "architecture.inductive = true"
        )
    if plan.private is not None:
        _check_rows(city, dataset)

    def fitting(
        dataset: CityDataset, settings: TrainSettings, work: Path, listener: Listener
    ) -> Fitted:
        began = time.perf_counter()
        spec = dataset.spec.with_lags(settings.lags)
        builder, splits = dataset.builder(spec), dataset.splits
        if plan.private is not None:
            forecaster = private_forecaster(dataset, builder, settings.architecture)
        else:
            forecaster = Forecaster(spec, dataset.graph, settings.architecture)
            fit_backbone(
                forecaster.backbone,
                builder,
                splits.train_end,
                splits.train(spec),
                lambda share: listener.progress("backbone", share),
            )
        load_shared(forecaster, outcome.arrays)
        steps = settings.steps // plan.rounds.rounds * outcome.rounds
        fitted = Fitted(forecaster.eval(), spec, settings, 0.0, steps)
        calibrate_here(fitted, dataset)
        return Fitted(forecaster, spec, settings, time.perf_counter() - began, steps)

    made_from = made_of(dataset, settings) | {FEDERATION: _about(plan, outcome)}
    return made_by(fitting, dataset, settings, home, listener, made_from)


def _settings(plan: Plan) -> TrainSettings:
    """The plan's settings as those of an ordinary training, for no groups of nodes."""
    if plan.private is not None:
        return resolve_settings(TrainSettings, plan.private.model_dump(include=_SHAPE))
    assert plan.training is not None, "a plan has one of the two"
    nobody = Fairness.model_validate({})
    return federated(plan.training).model_copy(update={"fairness": nobody})


def _check_rows(city: City, dataset: CityDataset) -> None:
    """Refuse rows on which noise was promised: bands and scores are made of them without any."""
    with city.ledger().held() as accounts:
        holder = accounts.holder(dataset.digests[SERIES])
    if holder:
        raise FelsinaError(
            f"{dataset.folder / SERIES} is dataset {holder[1]} of partner {holder[0]}, who was "
            "promised noise, and bands would be calibrated on it without any; give nodes of the "
            "city's own"
        )


def _about(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    """All of a federation that a trained folder, a manifest and a board are told."""
    code = private_code() if plan.private else private_code(("local",))
    settings = plan.private or plan.training
    assert settings is not None, "a plan has one of the two"
    return {
        "federation": plan.federation,
        "plan_sha256": plan.digest,
        "run": outcome.run,
        "rounds": outcome.rounds,
        "planned_rounds": plan.rounds.rounds,
        "stopped": outcome.stopped,
        "partners": [_seen(share) for share in outcome.shares],
        "reason": plan.reason,
        "ledger": outcome.ledger,
        "model_sha256": digest(outcome.arrays),
        "settings": settings.model_dump(mode="json"),
        "code": code,
        "noise": None if plan.private is None else _weakest(plan.private, outcome, code),
    }


def _seen(share: Share) -> dict[str, Any]:
    """A partner's dataset, and its noisy steps that the model holds."""
    steps: Counter[tuple[str, float, float]] = Counter()
    for charge in share.charges:
        steps[charge.run, charge.sampling_rate, charge.noise_multiplier] += charge.steps
    names = ("run", "sampling_rate", "noise_multiplier", "steps")
    charged = [dict(zip(names, (*one, steps[one]), strict=True)) for one in sorted(steps)]
    return share.key._asdict() | {"charged": charged}


def _weakest(private: PrivateSettings, outcome: Outcome, code: str) -> dict[str, Any]:
    """What is audited: settings, and steps that the model holds, of who is protected least."""
    found: list[tuple[float, Share, PrivateSettings, int]] = []
    for share in outcome.shares:
        settings, held = _own(private, share), Mechanisms()
        for charge in share.charges:
            held[charge.sampling_rate, charge.noise_multiplier] += charge.steps
        plan = planned(settings)
        steps = held[plan.sampling_rate, plan.noise_multiplier]
        found.append((composed(held, settings.delta).pld, share, settings, steps))
    _, share, settings, steps = max(found, key=lambda one: (one[0], one[1].key))
    return {
        "partner": share.key.partner,
        "dataset": share.key.dataset,
        "run": outcome.run,
        "settings": settings.model_copy(update={"steps": steps}).model_dump(mode="json"),
        "noise_multiplier": settings.noise_multiplier,
        "steps": steps,
        "public": {},
        "code": code,
    }


def _own(private: PrivateSettings, share: Share) -> PrivateSettings:
    """The plan's settings as a partner ran them."""
    sent = share.enrolled
    own = {
        "nominal_units": sent.terms.units,
        "delta": sent.terms.delta,
        "epsilon": min(private.epsilon, sent.terms.epsilon),
        "sampling_rate": sent.sampling_rate,
        "noise_multiplier": sent.noise_multiplier,
    }
    return PrivateSettings.model_validate(private.model_dump() | own)
