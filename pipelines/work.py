"""What the stages of a chain do. Each leaves what it made whole, and says in few words what."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from fairness.areas import area_files
from fairness.gate import failed
from models.board import BOARD, CHARTER
from models.charter import read_charter
from models.record import canonical_json, sha256_bytes, sha256_file
from pipelines.adopt import adopt, refuse_training
from pipelines.board import demo_decide
from pipelines.chain import Done, Made, Values, outputs_of
from pipelines.domains.registry import Domain
from pipelines.gate import Replays, gate_of
from pipelines.prepare import counted, open_registered, quality_of
from pipelines.present import RECORD, about_file, reports
from pipelines.release import build_release, point_at
from pipelines.report import Inputs, gather, ruled_on, write
from pipelines.run import embedded_folder, hold_observations
from pipelines.settings import store_place
from pipelines.stages import (
    AUDIT,
    BACKTEST,
    EVALUATE,
    PROPOSE,
    RELEASE,
    TRAIN,
    VALIDATE,
    Chain,
)
from pipelines.tracked import TrackedChain
from pipelines.train import REPORT, Trained, open_trained, score, settings_for, train
from serving.cases import published
from serving.release import load_release
from serving.store import Store
from training.dataset import CityDataset
from training.settings import TrainSettings


class Work:
    """The stages' work on one dataset, and what they share.

    Args:
        chain: whose stages they are.

    Attributes:
        figures: numbers that a stage found beside its outputs, for the tracking store.
    """

    def __init__(self, chain: Chain) -> None:
        self.chain, self.home, self.listener = chain, chain.home, chain.listener
        self.figures: dict[str, dict[str, float | None]] = {}

    @cached_property
    def tracked(self) -> TrackedChain:
        """The chain's run in the tracking store."""
        return TrackedChain(self.home, self.chain.name, self.chain.records)

    def track(self, done: Done) -> None:
        """Keep a stage that was done in the tracking store."""
        if done.stage == TRAIN:
            self.tracked.adopt(self.home / "trained" / done.outputs["trained"])
        else:
            self.tracked.add(done, self.figures.get(done.stage, {}))

    @cached_property
    def dataset(self) -> CityDataset:
        """The dataset, opened and valid."""
        return open_registered(self.chain.folder)

    @cached_property
    def settings(self) -> TrainSettings:
        """Settings of the training."""
        asked = self.chain.asked
        return settings_for(
            self.dataset, asked.profile, asked.seed, asked.file, list(asked.assignments)
        )

    def trained(self, made: Made) -> Trained:
        """The trained folder, read."""
        return open_trained(self.home / "trained" / made[TRAIN]["trained"], self.dataset)

    def ingest(self, made: Made) -> Values:
        """Synthesise a part of the embedded city; a city's own data come by ``data ingest``."""
        if isinstance(self.chain.source, Domain):
            embedded_folder(self.chain.source, self.home)
        return {}

    def validate(self, made: Made) -> Values:
        """Open the dataset, which refuses what is wrong with it, and count what looks odd."""
        self.listener.progress(VALIDATE, 0.0)
        flags = counted(quality_of(self.dataset)["summary"]["kinds"])
        self.listener.progress(VALIDATE, 1.0)
        return {
            "nodes": self.dataset.graph.nodes,
            "steps": len(self.dataset.values),
            "flags": flags,
        }

    def prepare(self, made: Made) -> Values:
        """Settle how it is trained, from the data, the domain and what was asked."""
        asked = self.chain.asked
        if asked.like is not None:
            refuse_training(asked.profile, asked.seed, asked.file, list(asked.assignments))
            return {"settings": None, "areas": {}}
        areas = self.settings.fairness.areas
        files = [] if areas is None else area_files(areas)
        return {
            "settings": self.settings.model_dump(mode="json"),
            "areas": {str(path.resolve()): sha256_file(path) for path in files},
        }

    def train(self, made: Made) -> Values:
        """Fit and export a forecaster, or find what was made of the same; a killed fit goes on."""
        like = self.chain.asked.like
        if like is not None:
            trained = adopt(self.dataset, like, self.home, self.listener)
        else:
            trained = train(self.dataset, self.settings, self.home, self.listener)
        return {"trained": trained.folder.name}

    def backtest(self, made: Made) -> Values:
        """Score the exported forecaster beside the baselines."""
        trained = self.trained(made)
        score(trained, self.home, lambda share: self.listener.progress(BACKTEST, share))
        return {"trained": trained.folder.name, "report": sha256_file(trained.folder / REPORT)}

    def release(self, made: Made) -> Values:
        """Seal the release and hold the observations that it reads."""
        self.listener.progress(RELEASE, 0.0)
        trained = self.trained(made)
        release = build_release(trained, self.home)
        self.listener.progress(RELEASE, 0.6)
        hold_observations(self.dataset, trained.fitted.spec.reach, Store(store_place()))
        self.listener.progress(RELEASE, 1.0)
        return {"release": release.name, "manifest": load_release(release).sha256}

    def evaluate(self, made: Made) -> Values:
        """Replay the release and the champion over the same days, and ask the gate."""
        name, champion = made[RELEASE]["release"], self.chain.of_gate(made)["champion"]
        folders, kept = self.home / "releases", self.chain.records / "replays"
        for path in kept.glob("*.npy"):
            if not path.name.startswith((name, champion or name)):
                path.unlink()
        gate = gate_of(
            load_release(folders / name),
            None if champion is None else load_release(folders / champion),
            None,
            Replays(self.dataset, kept),
            lambda share: self.listener.progress(EVALUATE, share),
        )
        self.figures[EVALUATE] = {"gate.latency_s": gate.latency_s} | {
            f"gate.{one['rule']}": one["value"] for one in gate.record["rules"] if "value" in one
        }
        return {
            "release": name,
            "champion": champion,
            "against": gate.record["against"],
            "failed": failed(gate.record),
        }

    def audit(self, made: Made) -> Values:
        """Audit the release and write the board's report, unless people have made it their own."""
        chain, name, champion = self.chain, made[RELEASE]["release"], made[EVALUATE]["champion"]
        inputs = Inputs(
            release=self.home / "releases" / name,
            dataset=self.dataset,
            about=about_file(chain.domain, chain.name, chain.folder),
            champion=None if champion is None else self.home / "releases" / champion,
            cases=tuple(published(Store(store_place()), chain.name)),
        )
        record = gather(
            inputs,
            lambda share: self.listener.progress("report", share),
            chain.records / "replays",
        )
        path = reports(self.home, name) / RECORD
        ours = outputs_of(chain.records, AUDIT).get("report"), sha256_bytes(canonical_json(record))
        if path.is_file() and (sha256_file(path) not in ours or ruled_on(self.home, record)):
            self.listener.say(f"{path} stays as it is: people built it, or the board ruled on it")
        else:
            write(record, self.home)
            if record["missing"]:
                self.listener.say(
                    f"the board's report lacks what people must write ({len(record['missing'])} "
                    "parts; docs/report.md); without it the release cannot be promoted"
                )
        return {"release": name, "report": sha256_file(path)}

    def propose(self, made: Made) -> Values:
        """Let a demo board decide; point at the release, where the gate lets it pass."""
        name, gate = made[RELEASE]["release"], made[EVALUATE]
        charter = self.home / BOARD / CHARTER
        demo = charter.is_file() and read_charter(charter).demo
        self.listener.progress(PROPOSE, 0.0)
        if demo:
            demo_decide(self.home, [name])
        held_back = bool(gate["failed"]) and gate["champion"] is not None and not demo
        if held_back:
            self.listener.say(
                f"the gate holds {name} back ({', '.join(gate['failed'])}): {gate['champion']} "
                "stays the one pointed at"
            )
        else:
            self.point(self.home / "releases" / name)
        self.listener.progress(PROPOSE, 1.0)
        return {"release": name, "held_back": held_back}

    def point(self, release: Path) -> None:
        """Make a release the one that is served where no board decides."""
        point_at(self.home, release)
