"""The W&B workspace view and report of a study, as objects of wandb-workspaces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# Keys by which runs are grouped, the outermost first.
KEYS = ("study", "ratio", "scenario", "model_name", "size", "seed")
MAX_RUNS = 100  # in a panel; W&B's default is 10
NOTE = (
    "Accuracy of one run has its 95 % interval, that of several runs is their mean with the lowest "
    "and the highest. In the panels, runs of one ratio are one bar or line within each run set."
)
Kind = Literal["bars", "points", "lines"]


@dataclass(frozen=True)
class Panel:
    """Bars of metrics by ratio, lines of metrics by step, or a point per run."""

    kind: Kind
    title: str
    metrics: tuple[str, ...]
    over: str | None = None
    """The metric on the x axis of points."""

    def __str__(self) -> str:
        over = f" over {self.over}" if self.over else ""
        return f"{self.title}: {self.kind} of {', '.join(self.metrics)}{over}"

    def build(self) -> Any:
        from wandb_workspaces.reports import v2

        if self.kind == "points":
            x, y = v2.SummaryMetric(self.over), v2.SummaryMetric(self.metrics[0])
            log_x = self.over == "train_flops"
            return v2.ScatterPlot(title=self.title, x=x, y=y, z=v2.Config("ratio"), log_x=log_x)
        by_ratio = {
            "groupby": v2.Config("ratio"),
            "groupby_aggfunc": "mean",
            "groupby_rangefunc": "minmax",
            "max_runs_to_show": MAX_RUNS,
        }
        if self.kind == "lines":
            return v2.LinePlot(title=self.title, x="Step", y=list(self.metrics), **by_ratio)
        return v2.BarPlot(
            title=self.title,
            metrics=list(self.metrics),
            orientation="v",
            max_bars_to_show=MAX_RUNS,
            **by_ratio,
        )


def sections(categories: Sequence[str]) -> dict[str, list[Panel]]:
    """All panels by section."""
    names = (*categories, "all")

    def bars(title: str, *metrics: str) -> Panel:
        return Panel("bars", title, metrics)

    def points(over: str, cost: str, name: str) -> Panel:
        return Panel("points", f"Accuracy against {cost}, {name}", (f"accuracy/{name}",), over)

    interval = ("accuracy_low/all", "accuracy/all", "accuracy_high/all")
    return {
        "Accuracy by category": [
            *(bars(f"Accuracy, {name}", f"accuracy/{name}") for name in names),
            bars("Accuracy, all, with its 95 % interval", *interval),
        ],
        "Cost": [
            *(points("train_flops", "training FLOPs", name) for name in names),
            *(points(f"tokens/{name}", "tokens", name) for name in names),
            bars("FLOPs per answer", "flops/all"),
        ],
        "Lengths": [
            *(bars(f"Tokens per answer, {name}", f"tokens/{name}") for name in names),
            bars("Share that thinks", "thought/all"),
            bars("Share that is truncated", "truncated/all"),
        ],
        "Training": [
            Panel("lines", "Loss of direct and of reasoning rows", ("loss_ift", "loss_reasoning")),
            Panel("lines", "Learning rate", ("lr",)),
            Panel("lines", "Tokens per second", ("tokens_per_second",)),
        ],
    }


def metrics(categories: Sequence[str]) -> list[str]:
    """Every metric in a panel."""
    panels = [panel for section in sections(categories).values() for panel in section]
    return sorted({name for panel in panels for name in (*panel.metrics, panel.over) if name})


@dataclass(frozen=True)
class Dashboard:
    """The view and the report of a study."""

    entity: str
    project: str
    studies: tuple[str, ...]
    categories: tuple[str, ...]
    run_sets: Mapping[str, Mapping[str, Sequence[str]]]
    """By name: the values of the keys of its runs (`id`: of the run itself)."""
    findings: str
    """A Markdown table."""
    n: int
    """Evaluations."""

    @property
    def title(self) -> str:
        return f"Reasoning ratios: {', '.join(self.studies)}"[:128]

    def workspace(self) -> Any:
        """The view, as an object of wandb-workspaces."""
        from wandb_workspaces import expr, workspaces

        built = [
            workspaces.Section(name=name, panels=[panel.build() for panel in panels], is_open=True)
            for name, panels in sections(self.categories).items()
        ]
        return workspaces.Workspace(
            entity=self.entity,
            project=self.project,
            name=self.title,
            sections=built,
            settings=workspaces.WorkspaceSettings(max_runs=MAX_RUNS),
            runset_settings=workspaces.RunsetSettings(
                filters=[expr.Config("study").isin(list(self.studies))],
                groupby=[expr.Config(key) for key in KEYS],
            ),
        )

    def report(self) -> Any:
        """The report, as an object of wandb-workspaces.

        Its run sets name no project, since the library would ask the server for it; the default is
        the report's own.
        """
        from wandb_workspaces.reports import v2

        blocks = [v2.H2("Accuracy"), v2.P(self.note), v2.MarkdownBlock(self.findings)]
        for name, panels in sections(self.categories).items():
            sets = [
                v2.Runset(name=run_set, filters=_filters(values))
                for run_set, values in self.run_sets.items()
            ]
            built = [panel.build() for panel in panels]
            blocks += [v2.H2(name), v2.PanelGrid(runsets=sets, panels=built)]
        return v2.Report(entity=self.entity, project=self.project, title=self.title, blocks=blocks)

    @property
    def note(self) -> str:
        return f"{self.n} evaluations. {NOTE}"

    def lines(self) -> Iterator[str]:
        """What would be sent, line by line."""
        yield (
            f"workspace '{self.title}' in project {self.project}: runs of "
            f"{', '.join(self.studies)}, by {', '.join(KEYS)}"
        )
        for name, panels in sections(self.categories).items():
            yield f"  {name}"
            yield from (f"    {panel}" for panel in panels)
        yield (
            f"report '{self.title}': the table below, and the same panels over the run sets "
            f"{'; '.join(self.run_sets)}"
        )
        yield self.findings


def _filters(values: Mapping[str, Sequence[str]]) -> list[Any]:
    from wandb_workspaces import expr

    return [
        (expr.Metric("ID") if key == "id" else expr.Config(key)).isin(list(of_key))
        for key, of_key in values.items()
    ]
