"""python -m launch.dashboard DIR [--entity E] [--project P] [--save]: a study's runs in W&B, as a workspace view and a report.

DIR is the folder of a study whose stages were run with `tracker=wandb group=STUDY`. Without `--save` nothing is sent: what
would be made is printed, and its specification, in the form that wandb-workspaces sends, is written to `DIR/dashboard.json`.
With `--save` it goes to the server that W&B has a key for; **that has not been tried yet**. Runs that were made offline are
sent by

    wandb sync DIR/*/wandb/offline-run-*
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import yaml

from eval.report import arm_label, percent, write
from ratiocine import cli
from ratiocine.errors import BadInput, Failure
from ratiocine.runs import CONFIG, Manifest, check_finished, compared, tracking
from ratiocine.scores import ScoreTable, Summary, read_scores

FILE = "dashboard.json"
KEYS = (
    "study",
    "ratio",
    "scenario",
    "model_name",
    "size",
    "seed",
)  # what runs are grouped by, the outermost first
PLAIN = re.compile(
    r"[\w .,:+@/-]+"
)  # what the library's filters hold unharmed: quotes, = and < mean something in them
MOST = 100  # runs that a panel shows; W&B's own default is 10
Kind = Literal["bars", "points", "lines"]


@dataclass(frozen=True)
class Shown:
    """A panel: bars of metrics by ratio, lines of metrics by step, or a point for each run, its metric over another."""

    kind: Kind
    title: str
    metrics: tuple[str, ...]
    over: str | None = None

    def __str__(self) -> str:
        over = f" over {self.over}" if self.over else ""
        return f"{self.title}: {self.kind} of {', '.join(self.metrics)}{over}"


@dataclass(frozen=True)
class Stage:
    """A finished run of the study."""

    folder: Path
    verb: str
    config: Mapping[str, Any]

    @property
    def told(self) -> bool:
        """Whether W&B was told of it as one of a study."""
        return self.config.get("tracker") == "wandb" and self.config.get("group") is not None


@dataclass(frozen=True)
class Evaluated:
    """A finished evaluation: what it is grouped by, its manifest, its `scores.json`, and what was asked."""

    by: tracking.Compared
    study: str | None
    manifest: Manifest
    scores: ScoreTable
    asked: str


def sections(categories: Sequence[str]) -> dict[str, list[Shown]]:
    """All panels by the section that they are in."""
    every = (*categories, "all")

    def bars(title: str, *metrics: str) -> Shown:
        return Shown("bars", title, metrics)

    def points(over: str, called: str, name: str) -> Shown:
        return Shown("points", f"Accuracy against {called}, {name}", (f"accuracy/{name}",), over)

    return {
        "Accuracy by category": [
            *(bars(f"Accuracy, {name}", f"accuracy/{name}") for name in every),
            bars(
                "Accuracy, all, with its 95 % interval",
                "accuracy_low/all",
                "accuracy/all",
                "accuracy_high/all",
            ),
        ],
        "Cost": [
            *(points("train_flops", "training FLOPs", name) for name in every),
            *(points(f"tokens/{name}", "tokens", name) for name in every),
            bars("FLOPs of an answer", "flops/all"),
        ],
        "Lengths": [
            *(bars(f"Tokens of an answer, {name}", f"tokens/{name}") for name in every),
            bars("Share that thought", "thought/all"),
            bars("Share that the budget cut", "truncated/all"),
        ],
        "Training": [
            Shown("lines", "Loss of direct and of reasoning rows", ("loss_ift", "loss_reasoning")),
            Shown("lines", "Learning rate", ("lr",)),
            Shown("lines", "Tokens a second", ("tokens_per_second",)),
        ],
    }


def named(categories: Sequence[str]) -> tuple[list[str], list[str]]:
    """Every metric and every key of a run's configuration that the dashboard names."""
    panels = [panel for section in sections(categories).values() for panel in section]
    return sorted(
        {name for panel in panels for name in (*panel.metrics, panel.over) if name}
    ), list(KEYS)


def stages(folder: Path) -> list[Stage]:
    """The finished runs of a study, of each stage the newest. Raises BadInput where there are none."""
    newest: dict[str, Path] = {}
    for done in sorted(folder.glob("*/DONE"), key=lambda file: file.stat().st_mtime):
        if match := re.fullmatch(r"(.+)-[0-9a-f]{8}", done.parent.name):
            newest[match[1]] = done.parent
    found = []
    for run in newest.values():
        text = (run / CONFIG).read_text(encoding="utf-8") if (run / CONFIG).is_file() else ""
        if match := re.match(r"# (\w+) [0-9a-f]{16}\n", text):
            found.append(Stage(run, match[1], yaml.safe_load(text)))
    if not any(stage.verb == "eval" for stage in found):
        raise BadInput(f"{folder} is no folder of a study with a finished evaluation")
    return found


def evaluated(stage: Stage) -> Evaluated:
    """Raises BadInput where the run is corrupt."""
    manifest, config = check_finished(stage.folder, "eval"), stage.config
    facts, scores = manifest.evaluation, read_scores(stage.folder)
    by = compared("eval", config["model"]["name"], config["model"].get("path"), facts.student)
    asked = f"{', '.join(Path(name).name for name in config['benchmarks'])}, {facts.max_new_tokens} tokens"
    return Evaluated(by, config.get("group"), manifest, scores, asked)


def findings(found: Sequence[Evaluated], categories: Sequence[str]) -> str:
    """Accuracy by arm of teaching and category as a Markdown table: of one run with its 95 % interval, of several their mean
    with the least and the most of them."""
    grouped: dict[tuple[str, str, str], list[Evaluated]] = {}
    for one in sorted(
        found, key=lambda one: (one.by.model_name, one.by.ratio is not None, one.by.ratio or 0.0)
    ):
        grouped.setdefault((one.by.model_name, arm_label(one.manifest), one.asked), []).append(one)
    return tracking.markdown(
        [
            {
                "model": model,
                "taught": taught,
                "asked": asked,
                "runs": len(runs),
                **{
                    name: _cell([one.scores.categories.get(name) for one in runs])
                    for name in categories
                },
                "all": _cell([one.scores.all for one in runs]),
            }
            for (model, taught, asked), runs in grouped.items()
        ]
    )


def _cell(summaries: Sequence[Summary | None]) -> str:
    found = [(one.accuracy, one.ci95) for one in summaries if one and one.accuracy is not None]
    if not found:
        return "–"
    values = [accuracy for accuracy, _ in found]
    low, high = found[0][1] if len(found) == 1 else (min(values), max(values))
    return f"{percent(fmean(values))} ({100 * low:.1f} – {100 * high:.1f})"


@dataclass(frozen=True)
class Dashboard:
    """What W&B shall show of a study; `run_sets` holds, for each set that the report compares by ratio, its name and which
    values of which keys it keeps (`id`: of the run itself)."""

    entity: str
    project: str
    studies: tuple[str, ...]
    categories: tuple[str, ...]
    run_sets: Mapping[str, Mapping[str, Sequence[str]]]
    findings: str
    n: int

    @property
    def title(self) -> str:
        return f"Reasoning ratios: {', '.join(self.studies)}"[:128]

    def workspace(self) -> Any:
        """The view, as an object of wandb-workspaces."""
        from wandb_workspaces import expr, workspaces

        return workspaces.Workspace(
            entity=self.entity,
            project=self.project,
            name=self.title,
            sections=[
                workspaces.Section(
                    name=name, panels=[_drawn(panel) for panel in panels], is_open=True
                )
                for name, panels in sections(self.categories).items()
            ],
            settings=workspaces.WorkspaceSettings(max_runs=MOST),
            runset_settings=workspaces.RunsetSettings(
                filters=[expr.Config("study").isin(list(self.studies))],
                groupby=[expr.Config(key) for key in KEYS],
            ),
        )

    def report(self) -> Any:
        """The report, as an object of wandb-workspaces. Its run sets are of its own project, which they do not name: the
        library would ask the server for it."""
        from wandb_workspaces.reports import v2

        blocks = [v2.H2("Accuracy"), v2.P(self.said), v2.MarkdownBlock(self.findings)]
        for name, panels in sections(self.categories).items():
            sets = [
                v2.Runset(name=called, filters=_kept(kept))
                for called, kept in self.run_sets.items()
            ]
            blocks += [
                v2.H2(name),
                v2.PanelGrid(runsets=sets, panels=[_drawn(panel) for panel in panels]),
            ]
        return v2.Report(entity=self.entity, project=self.project, title=self.title, blocks=blocks)

    @property
    def said(self) -> str:
        return (
            f"{self.n} evaluations. Of one run accuracy stands with its 95 % interval, of several runs their mean with the "
            "least and the most of them. In the panels runs of one ratio are one bar or line, within each run set."
        )

    def described(self) -> Iterator[str]:
        """Line by line what would be made."""
        yield f"workspace '{self.title}' in project {self.project}: runs of {', '.join(self.studies)}, by {', '.join(KEYS)}"
        for name, panels in sections(self.categories).items():
            yield f"  {name}"
            yield from (f"    {panel}" for panel in panels)
        yield f"report '{self.title}': the table below, and the same panels over the run sets {'; '.join(self.run_sets)}"
        yield self.findings


def _kept(kept: Mapping[str, Sequence[str]]) -> list[Any]:
    from wandb_workspaces import expr

    return [
        (expr.Metric("ID") if key == "id" else expr.Config(key)).isin(list(values))
        for key, values in kept.items()
    ]


def _drawn(panel: Shown) -> Any:
    """The panel as an object of wandb-workspaces."""
    from wandb_workspaces.reports import v2

    if panel.kind == "points":
        x, y = v2.SummaryMetric(panel.over), v2.SummaryMetric(panel.metrics[0])
        return v2.ScatterPlot(
            title=panel.title, x=x, y=y, z=v2.Config("ratio"), log_x=panel.over == "train_flops"
        )
    by_ratio = {
        "groupby": v2.Config("ratio"),
        "groupby_aggfunc": "mean",
        "groupby_rangefunc": "minmax",
        "max_runs_to_show": MOST,
    }
    if panel.kind == "lines":
        return v2.LinePlot(title=panel.title, x="Step", y=list(panel.metrics), **by_ratio)
    return v2.BarPlot(
        title=panel.title,
        metrics=list(panel.metrics),
        orientation="v",
        max_bars_to_show=MOST,
        **by_ratio,
    )


def dashboard(found: Sequence[Stage], entity: str, project: str | None) -> Dashboard:
    """What is made of a study's runs. Raises BadInput where W&B knows of none of its evaluations, or of several projects."""
    told = [stage for stage in found if stage.told]
    shown = [evaluated(stage) for stage in told if stage.verb == "eval"]
    if not shown:
        raise BadInput(
            "W&B was told of no evaluation here: run the study with tracker=wandb (what is finished is not run again)"
        )
    projects = sorted({stage.config["project"] for stage in told})
    if project is None and len(projects) > 1:
        raise BadInput(
            f"these runs are in the projects {' and '.join(projects)}; give one of them, such as --project {projects[0]}"
        )
    run_sets: dict[str, dict[str, list[str]]] = {}
    for one in shown:
        _add(run_sets, one)
    for value in {
        value for kept in run_sets.values() for values in kept.values() for value in values
    }:
        if not PLAIN.fullmatch(value):
            raise BadInput(
                f"{value!r} cannot be filtered by in W&B; take a name of letters, digits and . , : + @ / - _"
            )
    categories = tuple(sorted({name for one in shown for name in one.scores.categories}))
    studies = tuple(sorted({str(stage.config["group"]) for stage in told}))
    table = findings(shown, categories)
    return Dashboard(
        entity, project or projects[0], studies, categories, run_sets, table, len(shown)
    )


def _add(run_sets: dict[str, dict[str, list[str]]], one: Evaluated) -> None:
    """One set for each study, model and scenario: what is averaged over in them differs in seeds alone. What was not trained
    has no scenario that could be asked for."""
    study, by = str(one.study), one.by
    kept = run_sets.setdefault(
        f"{study}: {by.model_name}, {by.scenario or 'untrained'}",
        {"study": [study], "model_name": [by.model_name]},
    )
    if by.scenario:
        kept["scenario"] = [by.scenario]
    else:
        kept.setdefault("id", []).append(one.manifest.hash)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m launch.dashboard", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="the folder of a study, such as runs/demo"
    )
    parser.add_argument(
        "--entity", default="", help="the user or team whose project it is (default: yours)"
    )
    parser.add_argument("--project", help="default: the one that the runs were told to")
    parser.add_argument(
        "--save", action="store_true", help="send it; without this it is only shown"
    )
    options = parser.parse_args()
    if importlib.util.find_spec("wandb_workspaces") is None:
        raise BadInput(
            "python -m launch.dashboard needs an extra: pip install 'ratiocine[dashboard]'"
        )
    found = stages(options.folder)
    own = _own_entity() if options.save else ""
    made = dashboard(found, options.entity or own, options.project)
    workspace, report = made.workspace(), made.report()
    print("\n".join(made.described()))
    write(options.folder / FILE, json.dumps(specification(workspace, report), indent=2) + "\n")
    trackable = [stage for stage in found if "tracker" in stage.config]
    print(
        f"\nW&B was told of {sum(stage.told for stage in trackable)} of {len(trackable)} runs; written: {options.folder / FILE}"
    )
    if any(options.folder.glob("*/wandb/offline-run-*")):
        print(
            f"runs that were made offline are sent by: wandb sync {shlex.quote(str(options.folder))}/*/wandb/offline-run-*"
        )
    if options.save:
        _save(workspace, report)
    else:
        print("nothing was sent; --save sends it")


def specification(workspace: Any, report: Any) -> dict[str, Any]:
    """Both as the library would send them."""
    told = {"workspace": workspace, "report": report}
    models = {
        name: made._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, made in told.items()
    }
    return {"schema_version": 1, **models}


@contextmanager
def _said_plainly() -> Iterator[None]:
    """What W&B raises, in one line."""
    try:
        yield
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise Failure(f"--save: {type(error).__name__}: {said}") from None


def _own_entity() -> str:
    """Whose key W&B has. Raises BadInput where it has none."""
    with _said_plainly():
        known = tracking.has_key()
    if not known:
        raise BadInput("--save needs a key of W&B: set WANDB_API_KEY, or run `wandb login` first")
    import wandb

    with _said_plainly():
        return wandb.Api().default_entity or ""


def _save(workspace: Any, report: Any) -> None:
    """The report first: it makes the project where there is none yet."""
    with _said_plainly():
        report.save()
        workspace.save()
        print(f"report: {report.url}\nworkspace: {workspace.url}")


if __name__ == "__main__":
    cli.leave("dashboard", main)
