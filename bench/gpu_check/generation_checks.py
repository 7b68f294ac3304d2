"""Checks of `rl` and `eval`, on a student of short answers."""

from __future__ import annotations

import json
from typing import Any

from bench.gpu_check.rows import Check, expect
from bench.gpu_check.workbench import Workbench
from ratiocine.stores import read_completions

MAX_NEW_TOKENS = 96
SAMPLER = 0.1  # nats per token between the sampler and the update


def grpo(bench: Workbench) -> None:
    out, size = bench.folder / "grpo", bench.size
    bench.run(
        "rl",
        f"model={bench.student()}",
        "data=sums",
        "reward=short",  # by length, too: differs between answers of which none is right
        f"max_new_tokens={MAX_NEW_TOKENS}",
        f"batch_size={2 * size.batch_size}",
        "num_generations=8",
        f"micro_batch_size={size.micro_batch_size}",
        "max_steps=1",
        "val_size=0",
        "limit=100",
        f"out={out}",
    )
    row = json.loads((out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    names = ("reward", "loss", "grad_norm", "truncated", "length", "sampling_logp_difference")
    bench.note(**{name: row[name] for name in names})
    bench.note(
        rollout_seconds=row["rollout_seconds"],
        update_seconds=row["update_seconds"],
        generated_tokens_per_second=row["tokens"] / max(row["rollout_seconds"], 0.01),
        peak_gb=row["memory_gb"],
    )
    expect(bool(row["grad_norm"]), "no gradient")
    difference = row["sampling_logp_difference"]
    expect(
        difference is not None and difference <= SAMPLER,
        f"log-probabilities of sampler and update differ by {difference} nats",
    )


def _evaluate(bench: Workbench, name: str, *words: str, forked: bool = True) -> dict[str, Any]:
    out = bench.folder / name
    bench.run(
        "eval",
        f"model={bench.student()}",
        "benchmarks=demo",
        f"limit={bench.size.problems}",
        f"max_new_tokens={MAX_NEW_TOKENS}",
        *words,
        f"out={out}",
        forked=forked,
    )
    rows = list(read_completions(out))
    facts = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    tokens = sum(row.n_completion for row in rows)
    bench.note(
        completions=len(rows),
        accuracy=scores["all"]["accuracy"],
        tokens=tokens,
        seconds=facts["seconds"],
        tokens_per_second=tokens / max(facts["seconds"], 0.01),
        dtype=facts["dtype"],
    )
    expect(len(rows) == 8 * bench.size.problems, f"{len(rows)} completions")
    return {row.key: row.completion for row in rows}


def evaluate(bench: Workbench) -> None:
    bench.made["completions"] = _evaluate(bench, "eval")


def enforce_eager(bench: Workbench) -> None:
    found = _evaluate(bench, "eval-eager", "engine.enforce_eager=true")
    if others := bench.made.get("completions"):
        bench.note(equal_to_recorded=sum(found[k] == others.get(k) for k in found) / len(found))


def vllm(bench: Workbench) -> None:
    found = _evaluate(
        bench, "eval-vllm", "engine=vllm", "engine.gpu_memory_utilization=0.5", forked=False
    )
    if others := bench.made.get("completions"):
        equal = sum(found[key] == others.get(key) for key in found)
        bench.note(equal_to_transformers=equal / len(found))


CHECKS = (
    Check("eval", "eval, engine=transformers", "one completion per problem", 90, evaluate),
    Check(
        "grpo",
        "rl, one step, sampled by engine=transformers",
        f"a gradient; sampler and update within {SAMPLER} nats per token",
        120,
        grpo,
        ("trl",),
    ),
)
OPTIONAL_CHECKS = (
    Check(
        "enforce-eager",
        "eval without CUDA graphs",
        "one completion per problem; rate and texts are a measurement",
        90,
        enforce_eager,
    ),
    Check("vllm", "eval, engine=vllm", "one completion per problem", 180, vllm, ("vllm",)),
)
