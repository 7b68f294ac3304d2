"""python -m bench.grpo: GRPO on a CPU, ours and TRL's GRPOTrainer in turns, each in a process of its own.

SmolLM2-135M answers the same problems (GSM-Symbolic), eight times each, in at most 96 tokens, and makes one update of them: the
same rewards, objective and batches. A small term for repetition keeps all groups from being equally wrong, so that every answer
is trained on by both. `stock` is TRL as it comes; `best` has no gradient checkpointing and holds its weights in bfloat16 where
this machine has units for it, so that it generates in bfloat16 too (and would not learn by it). Seconds are those of training
alone, without imports and loading.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

LIMIT, GROUP, BATCH, MICRO = 96, 8, 32, 8
TERMS = "[{name: accuracy}, {name: format, weight: 0.1}, {name: repetition, n: 1, weight: 0.1}]"


def settings(folder: Path, steps: int, seed: int) -> Any:
    from ratiocine import cli
    from rl.config import Config

    words = [
        "model=smollm2-135m",
        "data=gsm_symbolic",
        f"reward.terms={TERMS}",
        f"max_new_tokens={LIMIT}",
        f"num_generations={GROUP}",
        f"batch_size={BATCH}",
        f"micro_batch_size={MICRO}",
        f"max_steps={steps}",
        "val_size=0",
        "limit=200",
        f"seed={seed}",
        "device=cpu",
        "save_steps=1000",
        "objective.scale_rewards_by=sample",
        f"out={folder}",
    ]
    return cli.compose("rl", Config, words)


def measured(who: str, steps: int, seed: int) -> dict[str, float]:
    """Seconds of some steps, in all and apart; runs in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        config = settings(folder, steps, seed)
        return ours(config, folder) if who == "ours" else theirs(config, folder, best=who == "best")


def ours(config: Any, folder: Path) -> dict[str, float]:
    """The verb itself, logs and all but for its last checkpoint."""
    from rl.grpo import train

    train(config)
    rows = [
        json.loads(line)
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert all(row["no_difference"] == 0 for row in rows), (
        "an answer was left out, which the other side trains on"
    )
    told = {
        name: sum(row[f"{name}_seconds"] for row in rows)
        for name in ("rollout", "reward", "update")
    }
    return {"seconds": rows[-1]["seconds"], "tokens": rows[-1]["tokens"], **told}


def theirs(config: Any, folder: Path, *, best: bool) -> dict[str, float]:
    import torch
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from ratiocine import devices, models
    from ratiocine.evaluate import key
    from ratiocine.prompts import user_text
    from ratiocine.rewards import Rollout
    from rl.grpo import prepare

    prepared = prepare(config)
    problems = {key(problem): problem for problem in prepared.problems}
    stop = prepared.tokenizer.eos_token_id
    spent = {"rollout": 0.0, "reward": 0.0, "tokens": 0.0}

    def reward(
        prompts: Any, completions: Any, completion_ids: Any, name: Any, **more: Any
    ) -> list[float | None]:
        started, found = time.perf_counter(), []
        for at in range(0, len(name), GROUP):
            rows = range(at, at + GROUP)
            found += config.reward(
                [
                    Rollout(
                        problems[name[i]],
                        completions[i][0]["content"],
                        len(completion_ids[i]),
                        tuple(completion_ids[i]),
                        finished=completion_ids[i][-1] == stop,
                    )
                    for i in rows
                ]
            )
        spent["reward"] += time.perf_counter() - started
        spent["tokens"] += sum(map(len, completion_ids))
        return found

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            found = super()._generate(*args, **kwargs)
            spent["rollout"] += time.perf_counter() - started
            return found

    half = best and devices.compute_dtype("auto", torch.device("cpu")) == torch.bfloat16
    arguments = GRPOConfig(
        output_dir=str(folder),
        max_steps=config.max_steps,
        per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=BATCH // MICRO,
        num_generations=GROUP,
        max_completion_length=LIMIT,
        learning_rate=config.lr,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=config.seed,
        loss_type="grpo",
        **({"gradient_checkpointing": False} if best else {}),
    )
    model = models.load_model(config.model, "cpu", dtype="bfloat16" if half else "float32")
    rows = [
        {"prompt": [{"role": "user", "content": user_text(p)}], "name": name}
        for name, p in problems.items()
    ]
    trainer = Timed(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=prepared.tokenizer,
        reward_funcs=reward,
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    return {"seconds": seconds, **spent, "update": seconds - spent["rollout"] - spent["reward"]}


def apart(found: dict[str, list[dict[str, float]]], part: str, steps: int) -> dict[str, float]:
    """Seconds a step of one part of the work, by side."""
    return {
        who: round(statistics.median(one[part] for one in of) / steps, 2)
        for who, of in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.grpo", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="steps of 32 answers in each repeat")
    parser.add_argument("--no-stock", action="store_true", help="leave TRL as it comes out")
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    found: dict[str, list[dict[str, float]]] = {}
    for repeat in range(options.repeats):
        for who in ("best", "ours") if options.no_stock else ("best", "ours", "stock"):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                found.setdefault(who, []).append(
                    alone.submit(measured, who, options.steps, repeat).result()
                )
        said = "; ".join(
            f"{who} {of[-1]['seconds'] / options.steps:.1f} s a step ({of[-1]['rollout'] / options.steps:.1f} answering, "
            f"{of[-1]['update'] / options.steps:.1f} updating), {of[-1]['tokens']:.0f} tokens"
            for who, of in found.items()
        )
        print(f"part {repeat + 1} of {options.repeats}: {said}", flush=True)
    hourly = {
        who: [3600 * options.steps / one["seconds"] for one in of] for who, of in found.items()
    }
    ratios = {
        who: sorted(a / b for a, b in zip(hourly["ours"], hourly[who], strict=True))
        for who in hourly
        if who != "ours"
    }
    print(
        json.dumps(
            {
                "what": "GRPO steps an hour, SmolLM2-135M, 32 answers of at most 96 tokens, against TRL in bfloat16, no checkpointing",
                "ours": round(statistics.median(hourly["ours"]), 1),
                "peer": round(statistics.median(hourly["best"]), 1),
                "ratio": round(statistics.median(ratios["best"]), 3),
                "spread": [round(ratios["best"][i], 3) for i in (0, -1)],
                "times_stock": [round(value, 2) for value in ratios.get("stock", [])],
                "share_of_rewards": round(
                    max(one["reward"] / one["seconds"] for one in found["ours"]), 5
                ),
                "rollout_seconds": apart(found, "rollout", options.steps),
                "update_seconds": apart(found, "update", options.steps),
            }
        )
    )


if __name__ == "__main__":
    main()
