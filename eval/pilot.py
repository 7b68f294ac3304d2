"""`max_new_tokens=auto`: the smallest token limit that a pilot's answers fit into.

A pilot generates one answer to each of a few problems (`N_PILOT` in all, and at least
`MIN_OF_SOURCE` of each source), with the decoding of the run, greedy or sampled, and the model's
context as the cap, at most `MAX_CAP` tokens. Answers that do not end within the cap, such as loops,
are counted and left out of the limit.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from math import ceil
from pathlib import Path
from statistics import fmean

from eval.benchmarks import Suite, load
from eval.config import Config, inputs
from ratiocine import engines, models
from ratiocine.completion_parts import looping
from ratiocine.config import identity
from ratiocine.engines import LoadedEngine, Request
from ratiocine.errors import Failure
from ratiocine.hashing import smallest
from ratiocine.progress import progress
from ratiocine.records import Completion, is_answered, is_truncated
from ratiocine.runs import Pilot, check_writable, run_hash

N_PILOT = 32
MIN_OF_SOURCE = 8
ENDED = 0.98  # share of the pilot's complete answers that end within the limit
MAX_CAP = 16_384  # tokens; a context can be so long that a loop would take hours
MULTIPLE = 16  # the limit is rounded up to one of this


def token_limit(config: Config) -> tuple[Pilot, LoadedEngine | None]:
    """The pilot of this evaluation, and the engine if it was loaded for it: a pilot is stored
    beside the run's folder, and a repeated command takes it from there.

    Raises Failure where most answers do not end within the cap.
    """
    out = Path(config.out) if config.out else Path("runs") / "eval" / "pilot"
    cap = token_cap(config)
    capped = {"max_new_tokens": str(cap)} if cap else {}
    name = run_hash("pilot", identity(config), {**inputs(config), **capped})
    file = out.parent / f"pilot-{name}.json"
    if file.exists():
        pilot = Pilot(**json.loads(file.read_text(encoding="utf-8")))
        print(sentence(pilot))
        return pilot, None
    check_writable(out)
    suite = load(config)
    requests = pilot_requests(config, suite)
    loaded = load_engine(config, requests)
    if cap:
        print(f"max_new_tokens=auto: {len(requests)} pilot answers of at most {cap:,} tokens each")
    started, completions = time.perf_counter(), list[Completion]()
    with progress(len(requests), "pilot", "completions") as bar:
        for batch in loaded.engine.generate(requests):
            completions += batch
            bar.update(len(batch))
    seconds = round(time.perf_counter() - started, 1)
    cap = max(request.max_new_tokens for request in requests)
    pilot = proposed(completions, cap, seconds)
    print(f"{sentence(pilot)} {_cost(pilot, len(suite.problems) * config.samples)}")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(asdict(pilot), indent=2) + "\n", encoding="utf-8")
    partial.replace(file)
    return pilot, loaded


def load_engine(config: Config, requests: Sequence[Request]) -> LoadedEngine:
    """The engine of an evaluation, with what these requests need."""
    return engines.load(
        config.engine,
        config.model,
        required={one for request in requests for one in request.required()},
        dtype=config.dtype,
        device=config.device,
        threads=config.threads,
        num_workers=config.num_workers,
        executor=config.executor,
    )


def token_cap(config: Config) -> int | None:
    """The cap of all pilot answers: a limit of the benchmark's own would cut the long ones. None
    for a server, whose context is unknown: the benchmark's own limit."""
    if config.engine.name == "openai":
        return None
    context = models.context_length(models.load_config(config.model))
    return min(context, max(MAX_CAP, *map(config.max_new_tokens_of, config.sources())))


def pilot_requests(config: Config, suite: Suite) -> list[Request]:
    """The requests of a sample of the problems, by a seeded hash, from every source alike."""
    by_source: dict[str, list[str]] = {}
    for key, problem in suite.problems.items():
        by_source.setdefault(problem.source, []).append(key)
    n = max(MIN_OF_SOURCE, ceil(N_PILOT / len(by_source)))
    chosen = {key for keys in by_source.values() for key in smallest(keys, n, config.seed)}
    later = {(key, sample) for key in suite.problems for sample in range(1, config.samples)}
    left_out = {(key, 0) for key in suite.problems if key not in chosen}
    requests, cap = suite.requests(config, later | left_out), token_cap(config)
    return [replace(one, max_new_tokens=cap or one.max_new_tokens) for one in requests]


def proposed(completions: Sequence[Completion], cap: int, seconds: float) -> Pilot:
    """The pilot's limit. Raises Failure where fewer than half of the answers end within the cap."""
    lengths = sorted(one.n_completion for one in completions if one.stop == "stop")
    n_cut = sum(is_truncated(one.stop) for one in completions)
    n = len(lengths) + n_cut
    if n_cut >= len(lengths):
        loops = sum(is_truncated(one.stop) and looping(one.text) for one in completions)
        raise Failure(
            f"max_new_tokens=auto: only {len(lengths)} of {n} pilot answers ended within the cap "
            f"of {cap:,} tokens, too few to propose a limit"
            f"{f'; {loops} repeat themselves, which no limit ends' if loops else ''}; give a number"
        )
    longest = lengths[ceil(ENDED * len(lengths)) - 1]
    limit = min(cap, MULTIPLE * ceil(longest / MULTIPLE))
    tokens = fmean(min(one.n_completion, limit) for one in completions if is_answered(one.stop))
    return Pilot(limit, n, n_cut, cap, round(tokens, 1), seconds)


def sentence(pilot: Pilot) -> str:
    """What was proposed, and how many answers it does not cover."""
    n_ended = pilot.n - pilot.n_cut
    found = (
        f"max_new_tokens={pilot.max_new_tokens} (auto): at least {ENDED:.0%} of the {n_ended} "
        "pilot answers that end fit into it. Give every evaluation of a comparison the same "
        "number."
    )
    if not pilot.n_cut:
        return found
    return (
        f"{found} Warning: {pilot.n_cut} of {pilot.n} pilot answers did not end within the cap of "
        f"{pilot.cap:,} tokens (loops, or longer answers); the limit does not cover them."
    )


def _cost(pilot: Pilot, n: int) -> str:
    return (
        f"The pilot took {pilot.seconds:.0f} s; the evaluation generates about "
        f"{n * pilot.tokens:,.0f} tokens ({pilot.tokens:.0f} for each of {n:,} answers)."
    )
