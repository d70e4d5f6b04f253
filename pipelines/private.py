"""The stage from a dataset and a privacy ledger to a trained folder, by private training.

A trained folder like any other, with what would need private rows left out: no conformal offsets
and no template of joint members, for nothing of these rows but the noisy steps may go into a
release. Quality flags and forecasts stay in the folder, with the data. The backtest is exact, and
its report says which figures no epsilon covers (``pipelines.train.not_covered``).

The run that the ledger charges is named by the trained folder and by the noise that was drawn: a
second call goes on and pays for no step twice, while a home that was lost draws other noise and
pays for it.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np

from models.contracts import FelsinaError
from models.forecaster import Forecaster
from models.joint import TAIL, Ranks
from models.record import canonical_json, sha256_bytes, sha256_file
from models.toml_file import merge
from pipelines.train import PRIVATE, RUN, Trained, made_by, made_of, work_key
from privacy.accounting import BudgetReached, SampledGaussian
from privacy.dp import PrivateFit, PrivateSettings, fit_private, planned, private_run
from privacy.entries import Stop, Unit
from privacy.ledger import BudgetExceededError, Ledger
from privacy.population import BudgetKey
from training.dataset import CityDataset
from training.fit import Fitted
from training.loop import Listener
from training.settings import TrainSettings, generic_settings, resolve_settings

SERIES = "series.parquet"
_DECIDING = ("dp", "draws", "gradients", "private_network", "unit_gradients", "units")
"""Modules of ``privacy`` that decide what a model becomes."""
_NO_MEMBERS = "they would be made of private rows"


def private_settings(
    dataset: CityDataset, file: Path | None = None, assignments: list[str] | None = None
) -> PrivateSettings:
    """Settings from a TOML file and ``key=value`` texts, later ones winning.

    What they leave out takes the defaults of ``PrivateSettings``; lags and terms of the week and
    the year follow from the length of the train span, which is public.

    Raises:
        FelsinaError: for an unknown or missing key, or a value that does not fit.
    """
    shape = PrivateSettings.model_fields["architecture"].default.model_dump()
    generic = generic_settings(dataset.spec, dataset.splits.train_end)
    defaults = merge({"architecture": shape}, generic)
    # It asks for LoopSettings by its types, and for no more than a pydantic model by what it does.
    return resolve_settings(cast(Any, PrivateSettings), defaults, file, assignments=assignments)


def train_private(
    dataset: CityDataset,
    settings: PrivateSettings,
    ledger: Ledger,
    partner: str,
    home: Path,
    listener: Listener,
    public: CityDataset | None = None,
) -> Trained:
    """Train privately, every step charged to a partner's budget, or find what was trained so.

    Args:
        dataset: of the partner, registered in the ledger under the name in its spec.
        settings: public ones.
        ledger: that pays.
        partner: who holds the data.
        home: where trained folders lie.
        listener: told of progress, never of losses.
        public: a dataset for the backbone whose series are public.

    Raises:
        FelsinaError: before anything runs, if the settings would break the claim, the ledger does
            not know these data or the plan exceeds the budget; later, if no step could be paid.
    """
    mechanism = planned(settings)
    key = BudgetKey(partner, dataset.spec.dataset, cast(Unit, settings.unit))
    _check_known(ledger, key, dataset, public)
    shape = settings.model_dump(include={"seed", "steps", "lags", "learning_rate", "architecture"})
    plain = resolve_settings(TrainSettings, shape)
    signed = ledger.receipt()
    about = {
        "settings": settings.model_dump(mode="json", exclude={"checkpoint_every"}),
        "noise_multiplier": mechanism.noise_multiplier,
        "partner": partner,
        "ledger": {"stream": signed["stream"], "key": signed["key"]},
        "public": public.digests if public else {},
        "code": private_code(),
    }
    made_from = made_of(dataset, plain) | {PRIVATE: about}
    name = work_key(dataset, made_from)
    if not (home / "trained" / name / RUN).is_file():
        state = private_run(dataset, settings, home / "work" / name / "checkpoints", public)
        begun = state.recorded()
        if begun is None or not begun.finished:
            ledger.require(key, mechanism, f"{name}-{begun.name}" if begun else None)
    making = _Making(settings, ledger, key, name, about, public)
    return made_by(making.fit, dataset, plain, home, listener, made_from, making.finish)


class _Making:
    """What stands in place of ``training.fit.fit`` and of the template of joint members.

    Args:
        settings: of the private training.
        ledger: that pays.
        key: whose budget.
        name: of the trained folder.
        about: what ``run.json`` says of the plan.
        public: for the backbone.
    """

    def __init__(
        self,
        settings: PrivateSettings,
        ledger: Ledger,
        key: BudgetKey,
        name: str,
        about: dict[str, Any],
        public: CityDataset | None,
    ) -> None:
        self.settings, self.ledger, self.key = settings, ledger, key
        self.name, self.about, self.public = name, about, public
        self.record: dict[str, Any] = {}

    def fit(
        self, dataset: CityDataset, settings: TrainSettings, work: Path, listener: Listener
    ) -> Fitted:
        """Train, and leave Opacus' hooks behind, which no export may trace."""
        done = fit_private(dataset, self.settings, work, listener, self._charge, self.public)
        self._note(done, work)
        forecaster = Forecaster(done.spec, dataset.graph, settings.architecture)
        forecaster.load_state_dict(done.forecaster.state_dict())
        steps = done.mechanism.steps if done.mechanism else 0
        return Fitted(forecaster.eval(), done.spec, settings, done.seconds, steps)

    def finish(self, dataset: CityDataset, fitted: Fitted) -> tuple[Ranks, dict[str, Any]]:
        """An empty template, and what was spent."""
        members = {"method": "none", "count": 0, "tail": TAIL, "left_out": _NO_MEMBERS}
        template = np.zeros((0, fitted.spec.horizon, dataset.graph.nodes), np.uint8)
        return template, {"members": members, PRIVATE: self.about | self.record}

    def _charge(self, mechanism: SampledGaussian, run: str, first_step: int) -> None:
        try:
            self.ledger.charge(self.key, mechanism, f"{self.name}-{run}", first_step)
        except BudgetExceededError as error:
            raise BudgetReached(str(error)) from error

    def _note(self, done: PrivateFit, work: Path) -> None:
        """Keep what was spent; tell the ledger of a run that ended before its plan, once."""
        if done.mechanism is None:
            shutil.rmtree(work)
            raise FelsinaError(
                f"{self.key}: the budget was used up elsewhere before the first step, and nothing "
                "was trained; plan fewer steps or more noise, or agree on more"
            )
        run, steps = f"{self.name}-{done.run}", done.mechanism.steps
        self.record = {
            "run": run,
            "steps": steps,
            "whole": done.whole,
            "epsilon": done.epsilon.pld,
        }
        if done.whole:
            return
        planned = self.settings.steps
        stop = Stop(run=run, reason=f"the budget was reached after {steps} of {planned} steps")
        with self.ledger.held():
            if self.ledger.find(stop) is None:
                self.ledger.record(stop)


def _check_known(
    ledger: Ledger, key: BudgetKey, dataset: CityDataset, public: CityDataset | None
) -> None:
    """Refuse series that the ledger does not know as these data, and public ones that it does."""
    with ledger.held() as accounts:
        population = accounts.population(key)
        digest = dataset.digests[SERIES]
        if accounts.holder(digest) not in [(key.partner, name) for name in population.names]:
            raise FelsinaError(
                f"{dataset.folder / SERIES}: sha256 {digest[:12]} is not what the ledger knows as "
                f"{key}; record the dataset with the digests of its files as they are now"
            )
        if public and (holder := accounts.holder(public.digests[SERIES])):
            raise FelsinaError(
                f"--public {public.folder}: its series are dataset {holder[1]} of partner "
                f"{holder[0]} in the ledger, so they are not public; give others"
            )


def private_code(modules: tuple[str, ...] = _DECIDING) -> str:
    """Digest of the sources of ``privacy`` that decide what a model becomes, or of others."""
    root = Path(__file__).parents[1] / "privacy"
    return sha256_bytes(canonical_json({m: sha256_file(root / f"{m}.py") for m in modules}))
