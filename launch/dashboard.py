"""python -m launch.dashboard DIR [--entity E] [--project P] [--save]: a study in W&B.

DIR is the folder of a study whose stages ran with `tracker=wandb group=STUDY`. Its runs get a
workspace view and a report. Without `--save` nothing is sent: both are printed, and their
specification, in the form that wandb-workspaces sends, is written to `DIR/dashboard.json`. With
`--save` they go to the server of W&B's key; **that has not been tried yet**. Offline runs are sent
by

    wandb sync DIR/*/wandb/offline-run-*
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from eval.report import arm_label, percent, write
from launch.workspace import Dashboard
from ratiocine import cli
from ratiocine.errors import BadInput, Failure
from ratiocine.records import JsonObject
from ratiocine.runs import CONFIG, EvalFacts, check_finished, group_keys, tracking, verb_and_hash
from ratiocine.scores import ScoreTable, Summary, read_scores
from ratiocine.stores import read_object

FILE = "dashboard.json"
# What the library's filters hold unharmed: quotes, = and < have a meaning in them.
PLAIN = re.compile(r"[\w .,:+@/-]+")


@dataclass(frozen=True)
class FinishedStage:
    """A finished run of the study."""

    folder: Path
    verb: str
    config: JsonObject
    """By key, as stored."""

    @property
    def tracked(self) -> bool:
        """Whether W&B has it as a run of a study."""
        return self.config.get("tracker") == "wandb" and self.config.get("group") is not None


@dataclass(frozen=True)
class TrackedEvaluation:
    """A finished evaluation that W&B has."""

    by: tracking.GroupKeys
    study: str | None
    hash: str
    facts: EvalFacts
    scores: ScoreTable
    benchmarks: str
    """With the token limit, in words."""


def finished_stages(folder: Path) -> list[FinishedStage]:
    """The finished runs of a study, of each stage the newest. Raises BadInput where none is an
    evaluation."""
    newest: dict[str, Path] = {}
    for done in sorted(folder.glob("*/DONE"), key=lambda file: file.stat().st_mtime):
        if match := re.fullmatch(r"(.+)-[0-9a-f]{8}", done.parent.name):
            newest[match[1]] = done.parent
    found = []
    for run in newest.values():
        if head := verb_and_hash(run):
            found.append(FinishedStage(run, head[0], read_object(run / CONFIG)))
    if not any(stage.verb == "eval" for stage in found):
        raise BadInput(f"{folder} is no folder of a study with a finished evaluation")
    return found


def tracked_evaluation(stage: FinishedStage) -> TrackedEvaluation:
    """Raises BadInput where the run is damaged."""
    manifest, config = check_finished(stage.folder), stage.config
    facts, model = manifest.evaluation, config["model"]
    names = ", ".join(Path(name).name for name in config["benchmarks"])
    return TrackedEvaluation(
        by=group_keys("eval", model["name"], model.get("path"), facts.student),
        study=config.get("group"),
        hash=manifest.hash,
        facts=facts,
        scores=read_scores(stage.folder),
        benchmarks=f"{names}, {facts.max_new_tokens} tokens",
    )


def findings(found: Sequence[TrackedEvaluation], categories: Sequence[str]) -> str:
    """Accuracy by arm and category as a Markdown table: of one run with its 95 % interval, of
    several their mean with the lowest and the highest."""
    groups: dict[tuple[str, str, str], list[TrackedEvaluation]] = {}
    for one in sorted(
        found, key=lambda one: (one.by.model_name, one.by.ratio is not None, one.by.ratio or 0.0)
    ):
        key = (one.by.model_name, arm_label(one.facts), one.benchmarks)
        groups.setdefault(key, []).append(one)
    rows = []
    for (model, arm, benchmarks), runs in groups.items():
        by_category = {
            name: _accuracy([one.scores.categories.get(name) for one in runs])
            for name in categories
        }
        head = {"model": model, "arm": arm, "benchmarks": benchmarks, "runs": len(runs)}
        rows.append({**head, **by_category, "all": _accuracy([one.scores.all for one in runs])})
    return tracking.markdown(rows)


def _accuracy(summaries: Sequence[Summary | None]) -> str:
    known = [one for one in summaries if one is not None and one.accuracy is not None]
    if not known:
        return "–"
    values = [one.accuracy or 0.0 for one in known]
    low, high = known[0].ci95 if len(known) == 1 else (min(values), max(values))
    return f"{percent(fmean(values))} ({100 * low:.1f} – {100 * high:.1f})"


def dashboard(found: Sequence[FinishedStage], entity: str, project: str | None) -> Dashboard:
    """The dashboard of a study's runs. Raises BadInput where W&B has none of its evaluations, or
    has them in several projects."""
    tracked = [stage for stage in found if stage.tracked]
    evaluations = [tracked_evaluation(stage) for stage in tracked if stage.verb == "eval"]
    if not evaluations:
        raise BadInput(
            "W&B has no evaluation of this study: run it with tracker=wandb (finished stages are "
            "not run again)"
        )
    projects = sorted({stage.config["project"] for stage in tracked})
    if project is None and len(projects) > 1:
        raise BadInput(
            f"these runs are in the projects {' and '.join(projects)}; choose one, such as "
            f"--project {projects[0]}"
        )
    table = [one.scores.categories for one in evaluations]
    categories = tuple(sorted({name for of_one in table for name in of_one}))
    return Dashboard(
        entity=entity,
        project=project or projects[0],
        studies=tuple(sorted({str(stage.config["group"]) for stage in tracked})),
        categories=categories,
        run_sets=run_sets(evaluations),
        findings=findings(evaluations, categories),
        n=len(evaluations),
    )


def run_sets(evaluations: Sequence[TrackedEvaluation]) -> dict[str, dict[str, list[str]]]:
    """A set for each study, model and scenario, so that averages are over seeds alone.

    A starting model has no scenario to filter by: its runs are named. Raises BadInput for a value
    that W&B cannot filter by.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for one in evaluations:
        study, by = str(one.study), one.by
        values = found.setdefault(
            f"{study}: {by.model_name}, {by.scenario or 'untrained'}",
            {"study": [study], "model_name": [by.model_name]},
        )
        if by.scenario:
            values["scenario"] = [by.scenario]
        else:
            values.setdefault("id", []).append(one.hash)
    for value in {v for values in found.values() for of_key in values.values() for v in of_key}:
        if not PLAIN.fullmatch(value):
            raise BadInput(
                f"{value!r} cannot be a filter in W&B; use a name of letters, digits and "
                ". , : + @ / - _"
            )
    return found


def main() -> None:
    options = parser().parse_args()
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise BadInput("python -m launch.dashboard needs an extra: pip install -e '.[dashboard]'")
    found = finished_stages(options.folder)
    entity = _default_entity() if options.save else ""
    built = dashboard(found, options.entity or entity, options.project)
    workspace, report = built.workspace(), built.report()
    print("\n".join(built.lines()))
    file = options.folder / FILE
    write(file, json.dumps(specification(workspace, report), indent=2) + "\n")
    trackable = [stage for stage in found if "tracker" in stage.config]
    n = sum(stage.tracked for stage in trackable)
    print(f"\nW&B has {n} of {len(trackable)} runs; written: {file}")
    if any(options.folder.glob("*/wandb/offline-run-*")):
        folder = shlex.quote(str(options.folder))
        print(f"send the offline runs with: wandb sync {folder}/*/wandb/offline-run-*")
    if options.save:
        _save(workspace, report)
    else:
        print("nothing was sent; --save sends it")


def parser() -> argparse.ArgumentParser:
    found = cli.argument_parser("launch.dashboard", __doc__)
    add = found.add_argument
    add("folder", type=Path, metavar="DIR", help="the folder of a study, such as runs/demo")
    add("--entity", default="", help="user or team of the project (default: that of W&B's key)")
    add("--project", help="(default: that of the runs)")
    add("--save", action="store_true", help="send it")
    return found


def specification(workspace: Any, report: Any) -> JsonObject:
    """Both as the library would send them."""
    models = {
        name: built._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, built in (("workspace", workspace), ("report", report))
    }
    return {"schema_version": 1, **models}


@contextmanager
def _one_line_failures() -> Iterator[None]:
    """Exceptions of W&B as `Failure` of one line."""
    try:
        yield
    except Exception as error:
        message = (str(error).splitlines() or [""])[0]
        raise Failure(f"--save: {type(error).__name__}: {message}") from None


def _default_entity() -> str:
    """Of W&B's key. Raises BadInput where it has none."""
    with _one_line_failures():
        known = tracking.has_wandb_key()
    if not known:
        raise BadInput("--save needs a key of W&B: set WANDB_API_KEY, or run `wandb login` first")
    import wandb

    with _one_line_failures():
        return wandb.Api().default_entity or ""


def _save(workspace: Any, report: Any) -> None:
    """The report first: it creates a missing project."""
    with _one_line_failures():
        report.save()
        workspace.save()
        print(f"report: {report.url}\nworkspace: {workspace.url}")


if __name__ == "__main__":
    cli.leave("dashboard", main)
