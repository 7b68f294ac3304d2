"""Plans and runs a study: stages in order, finished ones skipped, the others run as commands of the
verbs, and the report of the evaluations at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from distill.config import Config as DistillConfig
from distill.config import check_oracle
from eval.config import Config as EvalConfig
from eval.report import check_hypotheses
from launch.config import OF_ONE_VERB, Config, StudyConfig
from launch.cost_estimate import CostEstimate, estimate
from launch.dry_run import rounds_text, text
from launch.expansion import Cell, compared, expand, further_cells
from launch.inputs import Download, check_inputs, check_offline, download_lines, downloads
from launch.pair_sets import is_name
from launch.plan_file import JOBS, check_plan, reserved
from launch.rounds import next_round
from launch.scheduler import Scheduler
from launch.stages import VERBS, Stage
from launch.study_state import StudyState
from ratiocine import cli, runs
from ratiocine.data import sources
from ratiocine.errors import BadInput
from ratiocine.executors import (
    Command,
    ExecutorConfig,
    LocalConfig,
    Resources,
    check_gpus,
    command_for,
    describe,
    run_process,
)
from ratiocine.records import CATEGORIES
from ratiocine.runs import tracking
from ratiocine.stores import PLAN


def plan(
    study: StudyConfig,
    executor: ExecutorConfig = LocalConfig(),  # noqa: B008
    added: Collection[Cell] = (),
) -> list[Stage]:
    """All stages, parents first; `added` are cells of further rounds of seeds. Raises BadInput for
    an invalid stage, before anything runs."""
    stages = [_on(stage, executor, study) for stage in expand(study, added)]
    earlier: set[str] = set()
    groups: dict[str, None] = {}
    categories: set[str] | None = set()
    folders = {stage.name: Path("runs") / stage.name for stage in stages}
    for stage in stages:
        if stage.name in earlier:
            raise BadInput(f"study={study.name}: the stage '{stage.name}' occurs twice")
        if missing := [parent for parent in stage.parents if parent not in earlier]:
            kind, _, name = missing[0].partition("-")
            pairs = [] if study.grid is None else list(study.grid.pairs)
            if kind == "pairs" and pairs:
                raise BadInput(
                    f"study={study.name}: {stage.name} needs the pairs '{name}', which this study "
                    f"has not; it has {', '.join(pairs)}"
                )
            raise BadInput(
                f"study={study.name}: {stage.name} needs '{missing[0]}', which is no earlier stage"
            )
        if not is_name(stage.name):
            raise BadInput(
                f"study={study.name}: '{stage.name}' is no name of a stage: letters, digits, -._+"
            )
        if any(word.lstrip("+~").startswith("out=") for word in stage.overrides):
            raise BadInput(f"study={study.name}: {stage.name} sets out=, which the study sets")
        earlier.add(stage.name)
        try:
            config, _ = stage.composed(folders)
            if isinstance(config, DistillConfig):
                check_oracle(config)
            check_inputs(config, {str(folder) for folder in folders.values()})
        except BadInput as error:
            raise _of_stage(study, stage, error) from None
        if isinstance(config, EvalConfig):
            _check_limit(study, stage, config)
            groups.update(dict.fromkeys(_groups(config)))
            named = any(one.group in CATEGORIES for one in study.hypotheses)
            found = _categories(config) if named and categories is not None else None
            categories = None if found is None or categories is None else categories | found
    models = [] if study.grid is None else list(study.grid.models)
    known = [one for one in CATEGORIES if not categories or one in categories]
    check_hypotheses(study.hypotheses, [*groups, *known, "all"], models)
    if missing := [name for name in compared(study) if name not in earlier]:
        raise BadInput(f"study={study.name}: the report names '{missing[0]}', which is no stage")
    return stages


def _on(stage: Stage, executor: ExecutorConfig, study: StudyConfig) -> Stage:
    try:
        return stage.on(executor)
    except BadInput as error:
        raise _of_stage(study, stage, error) from None


def _groups(config: EvalConfig) -> Iterator[str]:
    """Names of the benchmarks of an evaluation, and of their families."""
    for data in config.sources():
        yield from data.families or [data.name]


def _categories(config: EvalConfig) -> set[str] | None:
    """Of the problems of an evaluation; None where they are not at hand."""
    found = set[str]()
    for data in config.sources():
        if not data.families and (data.path is None or not Path(data.path).is_file()):
            return None
        found |= {problem.category for problem in sources.load(data, "test").problems}
    return found


def _of_stage(study: StudyConfig, stage: Stage, error: BadInput) -> BadInput:
    """The error of a stage's configuration, with the key of the study that would change it."""
    grid = study.grid
    if grid is None or stage.pairs is None:
        return error
    if stage.verb == "distill":
        return BadInput(f"study.grid.pairs, {stage.pairs}: {error} (in study.grid.distill=[…])")
    settings = {"train": grid.train, "eval": grid.eval, "rl": grid.rl.overrides if grid.rl else []}
    named = next((word for word in settings[stage.verb] if str(error).startswith(word)), None)
    if named is None:
        for model in grid.models:
            for word in grid.model_words(model, stage.verb):
                if str(error).startswith((word, f"unknown key '{cli.key_of(word)}'")):
                    place = f"study.grid.models={{{model}: [{stage.verb}.{word}]}}"
                    return BadInput(f"{error} (in {place})")
            words = (*grid.model_words(model),)
            for word in words:
                key = cli.key_of(word)
                verbs = [
                    verb
                    for verb in OF_ONE_VERB
                    if key.partition(".")[0] in VERBS[verb].config.model_fields
                ]
                if verbs and str(error).startswith(f"unknown key '{key}'"):
                    return BadInput(
                        f"study.grid.models, {model}: {key} is a key of {' and '.join(verbs)} "
                        f"alone: {verbs[0]}.{word}"
                    )
            if words != (f"model={model}",) and stage.overrides[: len(words)] == words:
                return BadInput(f"study.grid.models, {model}: {error}")
        return error
    key = {"rl": "rl.overrides"}.get(stage.verb, stage.verb)
    return BadInput(f"{error} (in study.grid.{key}=[{named}])")


def _check_limit(study: StudyConfig, stage: Stage, config: EvalConfig) -> None:
    """Raise BadInput for a token limit that would differ between arms."""
    if config.max_new_tokens == "auto":
        raise BadInput(
            f"study={study.name}: {stage.name} has max_new_tokens=auto, but all evaluations of a "
            "study need one number: train the arm with the longest answers, run python -m eval "
            "model=… max_new_tokens=auto on it, and give the number that it prints"
        )


def run_study(config: Config) -> int:
    """Run a study and write its report, or with `dry_run` print its cost estimate.

    Returns the highest exit code of the stages and the report. A failed stage stops only those that
    depend on it.
    """
    study = config.study
    stages = plan(study, config.executor)
    root = config.folder
    if (found := runs.verb_and_hash(root)) is not None:
        raise BadInput(f"out={root} holds a run of {found[0]}, and a study has a folder of its own")
    if root.is_file():
        raise BadInput(f"out={root} is a file; a study has a folder of its own")
    retain = config.retain or study.retain
    state = StudyState(stages, root, config.executor, retain)
    if config.dry_run:
        check_plan(study, root)
        state.find_finished()
        needed = _downloads(state)
        cost = estimate(study, stages, state.done, retain, config.executor)
        print(text(config, cost))
        if cells := further_cells(study):
            every = plan(study, config.executor, cells)
            most = estimate(study, every, state.done, retain, config.executor)
            print(rounds_text(study, len(cells), cost, most))
        print("\n".join(download_lines(needed)), end="\n" if needed else "")
        for script in describe(root / JOBS, _commands(state, cost)):
            print(f"\n{script}")
        check_offline(needed)
        return 0
    runs.check_writable(root)
    with reserved(root):
        check_plan(study, root)
        cli.on_error(
            lambda error: (
                f"; the same command continues {root}"
                if isinstance(error, KeyboardInterrupt)
                else ""
            )
        )
        return _run(config, state)


def _downloads(state: StudyState) -> list[Download]:
    """What the unfinished stages would download."""
    folders = {stage.name: Path("runs") / stage.name for stage in state.stages}
    unfinished = [stage for stage in state.stages if stage.name not in state.done]
    configs = [stage.composed(folders)[0] for stage in unfinished]
    return downloads(configs, {str(folder) for folder in folders.values()})


def _commands(state: StudyState, cost: CostEstimate) -> list[Command]:
    """The commands of the unfinished stages, with the stages they depend on by name."""
    folders = {stage.name: state.root / stage.name for stage in state.stages} | state.done
    commands = []
    for stage in state.stages:
        if stage.name not in state.done:
            words, (_, own) = stage.resolved(folders), stage.composed(folders)
            data_parallel = VERBS[stage.verb].config.data_parallel
            commands.append(
                command_for(
                    stage.verb,
                    words,
                    stage.executor,
                    own,
                    data_parallel,
                    stage.name,
                    cost.limits(stage),
                )
            )
    return commands


def _run(config: Config, state: StudyState) -> int:
    started, study = time.monotonic(), config.study
    state.find_finished()
    for stage in state.stages:
        if isinstance(stage.executor, LocalConfig):
            check_gpus(stage.executor)
    check_offline(_downloads(state))
    if study.grid is not None:
        cost = estimate(study, state.stages, state.done, state.retain, config.executor)
        print(cost.total)
        cost.check_disk(state.root)
    check_plan(study, state.root, write=True)
    added: list[Cell] = []
    while True:
        failed = Scheduler(state, _tracking_overrides(config), _limits(config, state)).run()
        names = [name for name in compared(study, added) if name in state.done]
        more = [] if failed else next_round(study, names, state.done)
        if not more:
            break
        added += more
        stages = plan(study, config.executor, added)
        state = StudyState(stages, state.root, config.executor, state.retain)
        state.find_finished()
    if failed:
        ended = state.done.keys() | failed
        not_run = [stage.name for stage in state.stages if stage.name not in ended]
        print(_failure(failed, not_run), file=sys.stderr)
    page = f"{study.name}.html" if study.base_study else "report.html"
    status = _report(names, state.done, state.root / page)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    print(f"total time {minutes} min {seconds} s")
    if config.tracker == "wandb" and (line := tracking.offline_runs(state.root)):
        print(line)
    if names and status == 0:
        cli.print_next("eval.recommend", str(state.root))
    return max([status, *failed.values()])


def _limits(config: Config, state: StudyState) -> Callable[[Stage], Resources]:
    """What the jobs of unfinished stages request of Slurm."""
    if config.executor.name != "slurm":
        return lambda stage: Resources()
    return estimate(config.study, state.stages, state.done, state.retain, config.executor).limits


def _failure(failed: Mapping[str, int], not_run: Sequence[str]) -> str:
    dependent = f", so that {', '.join(not_run)} could not run" if not_run else ""
    return f"launch: {', '.join(failed)} failed{dependent}; the same command resumes from here"


def _tracking_overrides(config: Config) -> list[str]:
    if config.tracker == "none":
        return []
    entity = [f"entity={config.entity}"] if config.entity else []
    words = [f"tracker={config.tracker}", f"project={config.project}", f"group={config.study.name}"]
    return [*words, *entity]


def _report(names: Sequence[str], folders: Mapping[str, Path], page: Path) -> int:
    """Write the report of these evaluations in a process; returns its exit code."""
    if not names:
        return 0
    print()
    study = ("--study", str(page.parent)) if (page.parent / PLAN).exists() else ()
    args = (*(str(folders[name]) for name in names), *study, "--out", str(page))
    return run_process(Command("eval.report", args))
