"""python -m bench.grpo: GRPO on a CPU, `rl` and TRL's GRPOTrainer in turns.

Both answer the same problems (GSM-Symbolic) with SmolLM2-135M, eight completions each of at most 96
tokens, and update on them, with the same rewards, objective and batches, each in a process of its
own. A small repetition term keeps groups from being uniformly wrong, so that both sides train on
every completion. `stock` is TRL with its defaults; `best` is TRL without gradient checkpointing and
with bfloat16 weights where the CPU supports them natively, so that it generates in bfloat16 too
(and would not learn that way). Imports and loading are not timed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.harness import in_process, print_result, result, run_verb, trl_options
from ratiocine import cli
from ratiocine.records import Problem
from ratiocine.rewards import Rollout

if TYPE_CHECKING:
    from trl import GRPOConfig

    from rl.config import Config

MAX_NEW_TOKENS, NUM_GENERATIONS, BATCH_SIZE, MICRO_BATCH_SIZE = 96, 8, 32, 8
TERMS = "[{name: accuracy}, {name: format, weight: 0.1}, {name: repetition, n: 1, weight: 0.1}]"


@dataclass(frozen=True)
class Measured:
    """Seconds of some steps, in total and by phase, and the tokens generated."""

    seconds: float
    rollout: float
    reward: float
    update: float
    tokens: float


def overrides(steps: int, seed: int) -> list[str]:
    return [
        "model=smollm2-135m",
        "data=gsm_symbolic",
        f"reward.terms={TERMS}",
        f"max_new_tokens={MAX_NEW_TOKENS}",
        f"num_generations={NUM_GENERATIONS}",
        f"batch_size={BATCH_SIZE}",
        f"micro_batch_size={MICRO_BATCH_SIZE}",
        f"max_steps={steps}",
        "val_size=0",
        "limit=200",
        f"seed={seed}",
        "device=cpu",
        "save_steps=1000",
        "objective.scale_rewards_by=sample",
    ]


def ours(steps: int, seed: int) -> Measured:
    """By the verb, logging included."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "run"
        run_verb("rl", *overrides(steps, seed), f"out={out}")
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    dropped = any(row["frac_reward_zero_std"] for row in rows)
    assert not dropped, "a group without reward differences, which only TRL trains on"
    return Measured(
        seconds=rows[-1]["seconds"],
        rollout=sum(row["rollout_seconds"] for row in rows),
        reward=sum(row["reward_seconds"] for row in rows),
        update=sum(row["update_seconds"] for row in rows),
        tokens=rows[-1]["tokens"],
    )


class TimedReward:
    """Our reward as a reward function of TRL; `row` gives the number of the problem."""

    __name__ = "reward"  # TRL logs by it

    def __init__(self, config: Config, problems: Sequence[Problem], stop: int) -> None:
        self.config, self.problems, self.stop = config, problems, stop
        self.seconds = 0.0
        self.tokens = 0

    def __call__(
        self,
        prompts: Any,
        completions: Any,
        completion_ids: Sequence[Sequence[int]],
        row: Sequence[int],
        **_: Any,
    ) -> list[float | None]:
        started = time.perf_counter()
        rollouts = [
            Rollout(
                self.problems[number],
                completion[0]["content"],
                len(ids),
                tuple(ids),
                finished=ids[-1] == self.stop,
            )
            for number, completion, ids in zip(row, completions, completion_ids, strict=True)
        ]
        starts = range(0, len(rollouts), NUM_GENERATIONS)
        groups = [rollouts[start : start + NUM_GENERATIONS] for start in starts]
        rewards = [value for group in groups for value in self.config.reward(group)]
        self.seconds += time.perf_counter() - started
        self.tokens += sum(map(len, completion_ids))
        return rewards


def trl_arguments(config: Config, *, best: bool) -> GRPOConfig:
    from trl import GRPOConfig

    tuned: dict[str, Any] = {"gradient_checkpointing": False} if best else {}
    return GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        max_steps=config.max_steps,
        per_device_train_batch_size=MICRO_BATCH_SIZE,
        gradient_accumulation_steps=BATCH_SIZE // MICRO_BATCH_SIZE,
        num_generations=NUM_GENERATIONS,
        max_completion_length=MAX_NEW_TOKENS,
        learning_rate=config.lr,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        seed=config.seed,
        loss_type="grpo",
        **tuned,
    )


def trl(steps: int, seed: int, *, best: bool) -> Measured:
    """Runs in a process of its own."""
    import torch
    from datasets import Dataset
    from trl import GRPOTrainer

    from ratiocine import devices, models
    from ratiocine.data import load
    from ratiocine.prompts import end_of_turn, user_text
    from rl.config import Config

    config = cli.compose("rl", Config, overrides(steps, seed))
    problems = load(config.data, "train", seed=config.seed, limit=config.limit).problems
    tokenizer = models.load_tokenizer(config.model)
    reward = TimedReward(config, problems, end_of_turn(tokenizer))
    rollout = 0.0

    class TimedTrainer(GRPOTrainer):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            nonlocal rollout
            started = time.perf_counter()
            generated = super()._generate(*args, **kwargs)
            rollout += time.perf_counter() - started
            return generated

    native = devices.compute_dtype("auto", torch.device("cpu")) == torch.bfloat16
    dtype: Literal["bfloat16", "float32"] = "bfloat16" if best and native else "float32"
    rows = [
        {"prompt": [{"role": "user", "content": user_text(problem)}], "row": number}
        for number, problem in enumerate(problems)
    ]
    trainer = TimedTrainer(
        model=models.load_model(config.model, "cpu", dtype=dtype),
        args=trl_arguments(config, best=best),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        reward_funcs=reward,
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    update = seconds - rollout - reward.seconds
    return Measured(seconds, rollout, reward.seconds, update, reward.tokens)


def main() -> None:
    options = trl_options("bench.grpo", __doc__, "steps per repeat")
    steps = options.steps
    measured: dict[str, list[Measured]] = {"best": [], "ours": [], "stock": []}
    if options.no_stock:
        del measured["stock"]
    for repeat in range(options.repeats):
        for side, of in measured.items():
            if side == "ours":
                of.append(ours(steps, repeat))
            else:
                of.append(in_process(trl, steps, repeat, best=side == "best"))
            print(
                f"repeat {repeat + 1} of {options.repeats}, {side}: "
                f"{of[-1].seconds / steps:.1f} s per step ({of[-1].rollout / steps:.1f} "
                f"generating, {of[-1].update / steps:.1f} updating), {of[-1].tokens:.0f} tokens",
                flush=True,
            )
    per_hour = {side: [3600 * steps / one.seconds for one in of] for side, of in measured.items()}
    ratios = {
        side: [a / b for a, b in zip(per_hour["ours"], of, strict=True)]
        for side, of in per_hour.items()
    }
    phases = {
        f"{phase}_seconds": {
            side: round(statistics.median(getattr(one, phase) for one in of) / steps, 2)
            for side, of in measured.items()
        }
        for phase in ("rollout", "update")
    }
    print_result(
        result(
            "GRPO steps per hour, SmolLM2-135M, 32 completions of at most 96 tokens, against TRL "
            "in bfloat16 without checkpointing",
            per_hour["ours"],
            per_hour["best"],
            ratios["best"],
            times_stock=[round(ratio, 2) for ratio in sorted(ratios.get("stock", []))],
            share_of_rewards=round(max(one.reward / one.seconds for one in measured["ours"]), 5),
            **phases,
        )
    )


if __name__ == "__main__":
    main()
