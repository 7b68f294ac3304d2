"""A student × benchmarks → `completions.jsonl` and `scores.json`."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from eval import training_rows
from eval.benchmarks import Suite, load
from eval.config import Config, inputs
from eval.handover import Handovers, handovers
from eval.pilot import load_engine, token_limit
from eval.report import count, loop_sentence, notable, share_sentence
from eval.saved_samples import load_samples
from ratiocine import cli, models
from ratiocine.column_builder import read_columns
from ratiocine.columns import Columns
from ratiocine.completion_parts import split
from ratiocine.deliberation import ACTED, deliberated
from ratiocine.engines import LoadedEngine, finished_line
from ratiocine.evaluate import scored
from ratiocine.grading import GRADER_VERSION
from ratiocine.progress import progress
from ratiocine.prompts import opens_thinking, prompt_text
from ratiocine.records import UNANSWERED, ScoredCompletion
from ratiocine.rendering import asked_to_think
from ratiocine.runs import (
    Decoding,
    EvalFacts,
    Run,
    StudentInfo,
    base_name,
    group_keys,
    open_run,
    pruned,
    student,
    tracking,
)
from ratiocine.scores import FILE, ScoreTable, score_table
from ratiocine.stores import (
    COMPLETIONS,
    PARTIAL_COMPLETIONS,
    CompletionStore,
    stored_completions,
)

NAMED = 5  # unanswered problems that are printed


def evaluate(config: Config, loaded: LoadedEngine | None = None) -> Run:
    """Generate and grade a completion of every problem, or `samples` of them; by the configured
    engine, unless it is `loaded` already.

    An interrupted run continues after its last stored completion.
    """
    if config.thinking is None and config.model.path:
        thinking = asked_to_think(Path(config.model.path))
        config = config.model_copy(update={"thinking": thinking})
    pilot = None
    if config.max_new_tokens == "auto":
        pilot, loaded = token_limit(config)
        config = config.model_copy(update={"max_new_tokens": pilot.max_new_tokens})
    run = open_run("eval", config, inputs(config))
    if run.finished:
        print(finished_line(run.out, config.engine))
        return run
    for line in training_rows.warnings(config):
        print(line)
    suite, trained = load(config), student(config.model.path)
    handed = handovers(config, suite.problems)
    if warning := handed.warning:
        print(warning)
    store = CompletionStore(run.out / PARTIAL_COMPLETIONS)
    facts = _generate(config, suite, store, trained, loaded, handed)
    facts = replace(facts, pilot=pilot, relay=handed.facts())
    with run.writing(COMPLETIONS) as path:
        store.copy_sorted(path, {name: at for at, name in enumerate(suite.problems)})
        columns = read_columns(path)
    table = score_table(columns, facts.shape)
    run.write_json(FILE, table.to_json())
    # Before the partial file goes: a tracker that fails costs no completion.
    place = _track(config, run, trained, table)
    run.finish(**facts.to_json())
    store.path.unlink()
    _print(table)
    _warn(table)
    if config.strategy is not None:
        print(_acted(config.strategy.name, columns))
    _name_unanswered(run.out / COMPLETIONS, columns, suite)
    _name_empty(run.out / COMPLETIONS, columns, suite)
    if place:
        print(place)
    print(f"scores in {run.out}")
    cli.print_next("eval.report", str(run.out), "--out", "report.html")
    return run


def _generate(
    config: Config,
    suite: Suite,
    store: CompletionStore,
    trained: StudentInfo | None,
    loaded: LoadedEngine | None,
    handed: Handovers,
) -> EvalFacts:
    """Fill the store with the completions that it lacks."""
    done = set(zip(store.keys, store.samples, strict=True))
    asked = suite.requests(config, done)
    if whole := handed.whole(done):
        store.append(whole)
    requests = handed.requests(asked)
    if config.samples_from is not None:
        loaded = load_samples(config, suite.problems)
    loaded = loaded or load_engine(config, requests)
    if config.relay is not None and loaded.tokenizer is not None and requests:
        prompt = prompt_text(loaded.tokenizer, requests[0].messages, config.thinking)
        requests = handed.requests(asked, opened=opens_thinking(prompt))
    started = time.perf_counter()
    expected = None if config.relay else should_think(config, trained)
    of_all = (loaded.engine, requests, suite.problems, loaded.tokenizer)
    if config.strategy is None:
        batches = scored(*of_all, expected=expected)
    else:
        batches = deliberated(*of_all, config.strategy, expected=expected)
    n = len(suite.problems) * config.samples
    with progress(n, "eval", "completions", initial=len(done)) as bar:
        for rows in batches:
            store.append(rows)
            bar.update(len(rows))
    return EvalFacts(
        # As students of this model name it.
        model=config.model.name if trained else base_name(config.model.name, config.model.path),
        student=trained,
        hypotheses=hypotheses(config),
        max_new_tokens=max(suite.max_new_tokens.values()),
        dropped=suite.dropped,
        num_fewshot={name: len(turns) // 2 for name, turns in suite.shots.items()},
        decoding=Decoding(config.temperature, config.top_p, config.samples),
        engine=config.engine.name,
        grader=GRADER_VERSION,
        seconds=round(time.perf_counter() - started, 1),
        dtype=loaded.dtype,
        attention=loaded.attention,
        shape=loaded.shape,
        size=loaded.size,
        chance=suite.chance,
        pruned=pruned(config.model.model_dump()),
        license=models.license_of(config.model.license, config.model.path),
        retries=dict(loaded.retries) or None,
    )


def metrics(table: ScoreTable, trained: StudentInfo | None) -> dict[str, float | None]:
    """The row that a tracker gets, by metric: accuracy with the ends of its 95 % interval, mean
    completion tokens, shares truncated and with a trace, and mean FLOPs of a completion, each by
    benchmark, category and in total; and FLOPs of training (arXiv 2509.22193's formula), those of
    the students it was trained from included. Of a benchmark and a category with one name, the
    category is logged."""
    row: dict[str, float | None] = {}
    for name, found in table.named.items():
        low, high = found.ci95
        row |= {
            f"accuracy/{name}": found.accuracy,
            f"accuracy_low/{name}": low,
            f"accuracy_high/{name}": high,
            f"tokens/{name}": found.completion_tokens,
            f"truncated/{name}": found.truncated,
            f"thought/{name}": found.thought,
            f"flops/{name}": found.flops,
        }
    spent = [one.train_flops for one in trained.ancestors()] if trained else []
    known = [flops for flops in spent if flops is not None]
    return {**row, "train_flops": sum(known) if spent and len(known) == len(spent) else None}


def _track(config: Config, run: Run, trained: StudentInfo | None, table: ScoreTable) -> str | None:
    """Log one row, at the student's last optimizer step; at 0 for a model not trained here.
    Returns a line that says where."""
    by = group_keys("eval", config.model.name, config.model.path, trained)
    names = ("reward", "scenario", "ratio", "seed")
    words = [f"{name}={value}" for name in names if (value := getattr(by, name)) is not None]
    taught = " ".join(words) if trained else "untrained"
    facts = {**config.model_dump(), "sampling_seed": config.seed, "inputs": dict(run.inputs)}
    about = tracking.TrackedRun(
        run.hash, f"eval {by.model_name} {taught}", f"eval {by.model_name}", by, facts
    )
    tracker = tracking.open_tracker(config, run.out, about)
    steps = sum(one.steps or 0 for one in trained.ancestors()) if trained else 0
    tracker.log(steps, metrics(table, trained))
    return tracker.finish()


def should_think(config: Config, trained: StudentInfo | None) -> bool | None:
    """Whether the model should think: as the chat template is set to, or as every example of its
    training did; None where either is fine."""
    if config.thinking is not None:
        return config.thinking
    ratio = trained.ratio if trained else None
    return bool(ratio) if ratio in (0, 1) else None


def hypotheses(config: Config) -> dict[str, str]:
    """The declared effect of traces, `gain` or `no_gain`, by family."""
    families = {name: one for data in config.sources() for name, one in data.families.items()}
    return {name: one.hypothesis for name, one in families.items() if one.hypothesis}


def _print(table: ScoreTable) -> None:
    width = min(96, shutil.get_terminal_size().columns)
    print(f"{'':18}{'n':>6}{'accuracy':>10}{'95 %':>16}{'thought':>9}{'tokens':>8}"[:width])
    for name, one in [*table.benchmarks.items(), *table.categories.items(), ("all", table.all)]:
        accuracy = "–" if one.accuracy is None else f"{one.accuracy:.1%}"
        interval = f"{one.ci95[0]:.1%} – {one.ci95[1]:.1%}"
        line = f"{name:18}{one.n:>6}{accuracy:>10}{interval:>16}{one.thought:>9.0%}"
        tokens = "–" if one.completion_tokens is None else f"{one.completion_tokens:.1f}"
        print(f"{line}{tokens:>8}"[:width])


def _acted(name: str, columns: Columns) -> str:
    """In how many answers a strategy took effect."""
    acted, n = int(columns.detail[ACTED][1].sum()), len(columns)
    calls = sum(len(calls) for calls in columns.calls.values())
    generated = sum(len(rest) for calls in columns.calls.values() for _, *rest in calls)
    found = f"took effect in {acted or 'none'} of {count(n, 'answer')}"
    return (
        f"strategy={name} {found}; {calls / n:.1f} calls and {generated / n:.1f} completions each"
    )


def _name_unanswered(file: Path, columns: Columns, suite: Suite) -> None:
    """Problems that the engine could not answer count as wrong."""
    counts: Counter[str] = Counter()
    first: dict[str, list[ScoredCompletion]] = {stop: [] for stop in UNANSWERED}
    for row in stored_completions(file, columns.offsets[~columns.answered].tolist()):
        counts[row.stop] += 1
        if len(first[row.stop]) < NAMED:
            first[row.stop].append(row)
    for stop, rows in first.items():
        if rows:
            names = dict.fromkeys(row.key for row in rows)
            places = "; ".join(suite.problems[name].named(name) for name in names)
            reasons = " / ".join(dict.fromkeys(row.completion[:200] for row in rows))
            print(
                f"warning: {count(counts[stop], 'completion')} {stop} ({places}), which count as "
                f"wrong and in no mean of tokens: {reasons}"
            )


def _name_empty(file: Path, columns: Columns, suite: Suite) -> None:
    """Complete answers without a text after the trace: some servers send these on an error."""
    without = columns.without_answer & columns.answered & ~columns.truncated
    rows = stored_completions(file, columns.offsets[without].tolist())
    empty = [row.key for row in rows if not split(row.completion, opened=row.opened).answer]
    if empty:
        names = [*dict.fromkeys(empty)]
        places = "; ".join(suite.problems[name].named(name) for name in names[:NAMED])
        more = " …" if len(names) > NAMED else ""
        print(
            f"warning: {count(len(empty), 'complete answer')} without a text, or with none after "
            f"the trace ({places}{more}), which counts as wrong"
        )


def _warn(table: ScoreTable) -> None:
    """A limit that truncates many completions is what the accuracy then measures."""
    shares = {name: one.truncated for name, one in table.benchmarks.items()}
    high = {name: share for name, share in shares.items() if notable(share)}
    loops = {name: (table.benchmarks[name].looping or 0) / share for name, share in high.items()}
    if sentence := share_sentence(high):
        print(" ".join(filter(None, (f"warning: {sentence}", loop_sentence(loops)))))
