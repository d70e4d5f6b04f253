"""SLURM: what a job asks for, and the batch script that runs a training there.

A training is killed without loss: its checkpoint is replaced whole at every look, and a resumed run
draws what an unbroken one would (``training.fit``). So the script alone deals with the queue. It is
signalled before its time is up and asks for its job to be queued again, whereupon SLURM ends the
processes; a job that SLURM pre-empts, SLURM itself queues again.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from models.contracts import FelsinaError

NOTICE_SECONDS = 120
"""How long before the end of its time a job is queued again."""
_NUMBER, _NAME = (r"[1-9]\d{0,4}", "a whole number from 1 on"), (r"[\w.-]+", "a name")
_FORMS = {
    "nodes": _NUMBER,
    "gpus": _NUMBER,
    "time": (r"(\d+-)?\d{1,3}:\d{2}:\d{2}", "HH:MM:SS or D-HH:MM:SS"),
    "partition": _NAME,
    "account": _NAME,
    "array": _NUMBER,
}


@dataclass(frozen=True)
class SlurmJob:
    """What a job asks for.

    Attributes:
        nodes: machines.
        gpus: GPUs of each machine; each has a process of its own.
        time: limit of one run; the site's own when empty.
        partition: where to queue; the site's own when empty.
        account: whose budget it is; the user's own when empty.
        array: how many such jobs share a search.
    """

    nodes: int = 1
    gpus: int = 1
    time: str = ""
    partition: str = ""
    account: str = ""
    array: int = 1

    @classmethod
    def parse(cls, text: str) -> SlurmJob:
        """Read a text like ``nodes=2,gpus=4,time=02:00:00``.

        Raises:
            FelsinaError: for an unknown or repeated key, or a value that does not fit.
        """
        values: dict[str, str] = {}
        for part in text.split(","):
            key, _, value = (word.strip() for word in part.partition("="))
            if key not in _FORMS or key in values:
                fault = "stands twice" if key in values else "is not known"
                known = ", ".join(_FORMS)
                raise FelsinaError(f"--slurm {text!r}: {key!r} {fault}; write key=value of {known}")
            form, remedy = _FORMS[key]
            if not re.fullmatch(form, value):
                raise FelsinaError(f"--slurm {text!r}: {key} = {value!r}; write {remedy}")
            values[key] = value
        numbers = {key: int(v) for key, v in values.items() if _FORMS[key] is _NUMBER}
        return cls(**(values | numbers))  # pyright: ignore[reportArgumentType]

    @property
    def processes(self) -> int:
        """How many processes train together."""
        return self.nodes * self.gpus

    def script(self, name: str, command: list[str], root: Path, home: Path) -> str:
        """The batch script.

        Args:
            name: of the job, its log and its offline bundle.
            command: what each process runs.
            root: where the packages lie.
            home: the ``mlruns`` folder, the same one on every node.
        """
        log = home / "slurm" / f"{name}-{'%A_%a' if self.array > 1 else '%j'}.log"
        options = {
            "job-name": name,
            "nodes": self.nodes,
            "ntasks-per-node": self.gpus,
            "gpus-per-node": self.gpus,
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "array": f"0-{self.array - 1}" if self.array > 1 else "",
            "chdir": root,
            "output": log,
            "open-mode": "append",
            "signal": f"B:USR1@{NOTICE_SECONDS}",
        }
        asked = [f"#SBATCH --{k}={shlex.quote(str(v))}" for k, v in options.items() if v]
        store = shlex.quote(f"sqlite:///{bundle(home, name) / 'mlflow.db'}")
        return "\n".join(
            [
                "#!/bin/bash",
                *asked,
                "#SBATCH --requeue",
                "",
                f"export FELSINA_HOME={shlex.quote(str(home))}",
                "# Compute nodes reach no server: felsina tracking sync brings the run to one.",
                f"export MLFLOW_TRACKING_URI={store}",
                "",
                f"srun --kill-on-bad-exit=1 {shlex.join(command)} &",
                "trap 'scontrol requeue \"$SLURM_JOB_ID\"; wait' USR1",
                'wait "$!"',
                "",
            ]
        )


def bundle(home: Path, name: str) -> Path:
    """Folder of a run that is tracked offline: a store of its own."""
    return home / "offline" / name
