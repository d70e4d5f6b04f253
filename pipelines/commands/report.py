"""``felsina report``: write an ethics board's report, or check one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from models.contracts import FelsinaError
from models.record import sha256_file
from pipelines.commands.terminal import Stages, answer, out
from pipelines.present import RECORD, about_file, find_release, reports, served_now
from pipelines.report import Inputs, build, is_surrogate, read_report, verify
from pipelines.settings import home, store_place
from pipelines.train import open_registered
from serving.cases import published
from serving.store import Store
from serving.surrogate import load_surrogate


@dataclass(frozen=True)
class Asked:
    """What both commands are given.

    Attributes:
        release: its name or folder.
        dataset: folder, of a forecaster.
        areas: TOML file.
        about: TOML file.
        champion: a release's name or folder.
        left_out: file of ``felsina audit left-out``.
    """

    release: str
    dataset: Path | None = None
    areas: Path | None = None
    about: Path | None = None
    champion: str | None = None
    left_out: Path | None = None


def build_one(asked: Asked, pdf: bool, again: bool, json: bool) -> None:
    """Audit, gather and render; say what is missing and what the board is told first."""
    inputs = _inputs(asked)
    if asked.champion is None and inputs.dataset is not None:
        served = served_now(home(), inputs.dataset.spec.dataset, inputs.release.name)
        inputs = replace(inputs, champion=served)
    with Stages() as stages:
        stages.begin(inputs.release.name, "report for the ethics board")
        folder, record = build(
            inputs, home(), pdf, lambda share: stages.progress("replay", share), again
        )
    digest = sha256_file(folder / RECORD)
    if json:
        answer(
            {
                "release": record["release"],
                "folder": str(folder),
                "report_sha256": digest,
                "missing": record["missing"],
                "verdict": record["verdict"],
            }
        )
        return
    out.print(f"{folder}/report.it.html, report.en.html")
    out.print(f"report.json sha256 {digest}")
    out.print(f"verdict: {record['verdict']['state']}")
    if record["missing"]:
        out.print(f"missing, so that it cannot be promoted: {', '.join(record['missing'])}")


def verify_one(asked: Asked, json: bool) -> None:
    """Regenerate and compare; exit 2 names the sections and files that differ."""
    inputs = _inputs(asked)
    kept = read_report(reports(home(), inputs.release.name))
    if asked.champion is None and kept.get("champion"):
        named = find_release(home(), str(kept["champion"]["release"]))
        inputs = replace(inputs, champion=named)
    with Stages() as stages:
        stages.begin(inputs.release.name, "regenerate the report")
        folder, faults = verify(inputs, home(), lambda share: stages.progress("replay", share))
    if faults:
        raise FelsinaError(
            f"{folder}: {', '.join(faults)}: not what the release, the data and the other inputs "
            "give; the report was changed, or made of other inputs: build it anew"
        )
    if json:
        answer({"release": inputs.release.name, "verified": True})
    else:
        out.print(f"{folder} is what its inputs give, to the byte")


def _inputs(asked: Asked) -> Inputs:
    release = find_release(home(), asked.release)
    if is_surrogate(release):
        return _of_surrogate(release, asked)
    if asked.dataset is None:
        raise FelsinaError(f"{release.name} is a forecaster: name its data with --dataset")
    opened = open_registered(asked.dataset)
    name, domain = opened.spec.dataset, opened.spec.domain
    return Inputs(
        release=release,
        dataset=opened,
        areas=asked.areas,
        about=asked.about or about_file(domain, name, opened.folder),
        champion=None if asked.champion is None else find_release(home(), asked.champion),
        left_out=asked.left_out,
        cases=tuple(published(Store(store_place()), name)),
    )


def _of_surrogate(release: Path, asked: Asked) -> Inputs:
    """What a surrogate's report is made of; nothing else that is named would be in it."""
    unused = [
        f"--{name.replace('_', '-')}"
        for name in ("dataset", "areas", "champion", "left_out")
        if getattr(asked, name) is not None
    ]
    if unused:
        raise FelsinaError(
            f"{release.name} is a surrogate: its report is made of its sealed folder and --about "
            f"alone; leave out {', '.join(unused)}"
        )
    spec = load_surrogate(release).spec
    return Inputs(release=release, about=asked.about or about_file(spec.domain, spec.name))
