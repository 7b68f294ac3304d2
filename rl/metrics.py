"""What a run shows while it goes on: a row a step, every answer, and a word where something looks wrong."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from transformers import TrainerCallback

from ratiocine import cost
from ratiocine.errors import Failure
from ratiocine.executors import distributed
from ratiocine.rewards import Format, looping
from ratiocine.runs import Tracker
from ratiocine.training import peak_memory
from rl.config import Config
from rl.policy_trainer import PolicyTrainer
from rl.rollouts import Group, Step
from rl.val_accuracy import HeldOut

Row = dict[str, Any]
WINDOW = 10  # steps over which rewards are compared


def facts(step: Step, config: Config) -> Row:
    """What a step's answers say of the policy. Shares of groups are over all that were drawn, others over those trained on."""
    groups, drawn = step.groups, step.drawn
    pairs = [
        (rollout, think)
        for group in groups
        for rollout, think in zip(group.rollouts, group.thinking, strict=True)
    ]
    rollouts = [rollout for rollout, _ in pairs]
    terms = {
        term.name: [v for group in groups for v in group.components[term.name]]
        for term in config.reward.terms
    }
    form, rights = format_term(config), [[r.right for r in group.rollouts] for group in drawn]
    return {
        "reward": mean([r for group in groups for r in group.rewards if r is not None]),
        **{f"reward_{name}": mean(values) for name, values in terms.items()},
        **{f"lowest_{name}": min(values) for name, values in terms.items()},
        **{f"highest_{name}": max(values) for name, values in terms.items()},
        "accuracy": fmean(r.right for r in rollouts),
        "format": fmean(form.one(r) for r in rollouts),
        "all_right": fmean(all(of) for of in rights),
        "all_wrong": fmean(not any(of) for of in rights),
        "no_difference": fmean(group.flat for group in drawn),
        "groups": len(drawn),
        "length": fmean(r.length for r in rollouts),
        "thinking_right": mean([n for r, n in pairs if r.right]),
        "thinking_wrong": mean([n for r, n in pairs if not r.right]),
        "surprisal": surprisal(drawn),
        "truncated": fmean(not r.finished for r in rollouts),
        "loops": fmean(looping(r.text) for r in rollouts),
    }


def surprisal(groups: Sequence[Group]) -> float | None:
    """Mean −log-probability of the tokens that were drawn: an estimate of the entropy, over all answers, where they are drawn
    at temperature 1."""
    return mean(
        [-value for group in groups for trace in group.traces for value in trace.logprobs or ()]
    )


def format_term(config: Config) -> Format:
    """The format that is watched: the reward's own, else what students here are taught to write."""
    return next((t for t in config.reward.terms if isinstance(t, Format)), Format(name="format"))


def mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


class Watch(TrainerCallback):
    """A row of `metrics.jsonl` after every step, appended live; of a run that goes on the first `done` rows are those that were
    there, in the folder `before`. `taken` is what the step trains on."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        before: Path,
        bar: Any,
        tracker: Tracker,
        held_out: HeldOut,
        shape: cost.Shape,
        done: int,
    ) -> None:
        self.config, self.bar, self.tracker, self.held_out, self.shape = (
            config,
            bar,
            tracker,
            held_out,
            shape,
        )
        self.path, self.answers = folder / "metrics.jsonl", folder / "completions.jsonl"
        self.rows: list[Row] = kept(self.path, before, done)
        kept(self.answers, before, done, hold=False)
        self.before: float = self.rows[-1]["seconds"] if done else 0.0
        self.tokens: int = self.rows[-1]["tokens"] if done else 0
        self.flops = [self.rows[-1][name] if done else 0 for name in ("flops", "flops_paper")]
        self.alarms: dict[str, str] = {}  # what has been said, by what it is about
        for step in range(1, done + 1):
            self._alarm(self.rows[:step])
        self.trainer: PolicyTrainer | None = None
        self.taken: Step | None = None
        bar.update(done)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = self.last = time.perf_counter()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self.trainer is not None
        self.rate = kwargs["lr_scheduler"].get_last_lr()[0]
        if not math.isfinite(self.trainer.sums.get("loss", 0.0) + self.trainer.norm):
            raise Failure(
                f"the loss of step {state.global_step // self.config.optimizer_steps + 1} is {self.trainer.sums.get('loss')}, "
                f"with gradients of {self.trainer.norm}; what was saved before it is kept"
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        step, rest = divmod(state.global_step, self.config.optimizer_steps)
        if rest:
            return
        trainer, taken = self.trainer, self.taken
        assert trainer is not None
        assert taken is not None
        sums, worst = totals(trainer)
        now = time.perf_counter()
        spent, self.last = now - self.last, now
        self.tokens += sum(rollout.length for group in taken.drawn for rollout in group.rollouts)
        self.flops = [
            before + more for before, more in zip(self.flops, self._cost(taken), strict=True)
        ]
        tokens, compared = sums.get("tokens"), sums.get("compared")
        row = {
            "step": step,
            **facts(taken, self.config),
            "loss": sums.get("loss", 0.0) / distributed.world_size() / self.config.optimizer_steps,
            "lr": self.rate,
            "grad_norm": trainer.norm,
            "entropy": sums["entropy"] / tokens if tokens else None,
            "clipped": sums["clipped"] / tokens if tokens and "clipped" in sums else None,
            "kl": sums["kl"] / tokens if tokens and "kl" in sums else None,
            "mismatch": sums["mismatch"] / compared if compared else None,
            "mismatch_max": worst if compared else None,
            "tokens": self.tokens,
            "flops": self.flops[0],
            "flops_paper": self.flops[1],
            "seconds": round(self.before + now - self.started, 2),
            "rollout_seconds": round(taken.seconds - taken.reward_seconds, 2),
            "reward_seconds": round(taken.reward_seconds, 3),
            "update_seconds": round(spent - taken.seconds, 2),
            "memory_gb": round(peak_memory() / 2**30, 3),
        }
        trainer.sums, trainer.worst = {}, 0.0
        trainer._metrics["train"].clear()
        self._keep(step, taken, row)
        if self.held_out.due(step):
            row |= self.held_out.take(trainer.model, step)
        self.last = time.perf_counter()
        self.rows.append(row)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.tracker.log(step, row)
        self._alarm(self.rows, self.bar)
        self.bar.set_postfix_str(
            f"reward {row['reward'] or 0:.3f}, right {row['accuracy']:.0%}", refresh=False
        )
        self.bar.update()

    def _cost(self, taken: Step) -> tuple[int, int]:
        """What answering and updating cost, exact and by the published formula; the answers that teach nothing are not trained
        on, and a reference reads all of them."""
        config, shape, exact, paper = self.config, self.shape, 0, 0
        for group in taken.drawn:
            for rollout in group.rollouts:
                exact += cost.exact_generation(shape, len(group.prompt), rollout.length)
                paper += cost.generation(shape, len(group.prompt), rollout.length)
        for group in taken.groups:
            for rollout, advantage in zip(group.rollouts, group.advantages, strict=True):
                length = len(group.prompt) + rollout.length
                if advantage or config.objective.beta or config.objective.tau:
                    exact += config.num_iterations * cost.exact_training(
                        shape, length, rollout.length, frozen=config.lora
                    )
                    paper += config.num_iterations * cost.training(shape, length)
                if config.optimizer_steps > 1:  # the log-probabilities of the policy that answered
                    exact += cost.exact_forward(shape, 0, length, rollout.length)
                    paper += cost.forward(shape, length)
                if config.objective.beta:
                    exact += cost.exact_forward(shape, 0, length, rollout.length)
                    paper += cost.forward(shape, length)
        return exact, paper

    def _keep(self, step: int, taken: Step, row: Row) -> None:
        rows = [told for group in taken.groups for told in answers(step, group)]
        with open(self.answers, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(told) + "\n" for told in rows)
        if self.config.tables:
            self.tracker.table(
                step, "completions", rows[: self.config.tables * self.config.num_generations]
            )

    def _alarm(self, rows: Sequence[Row], bar: Any = None) -> None:
        """Note once of a term that tells nothing, and of rewards that rise while held-out accuracy does not; and say it."""
        last = rows[-1]
        recent = rows[-self.config.constant_reward_steps :]
        for term in (
            self.config.reward.terms if len(recent) == self.config.constant_reward_steps else ()
        ):
            spans = {(row[f"lowest_{term.name}"], row[f"highest_{term.name}"]) for row in recent}
            if len(values := {value for span in spans for value in span}) == 1:
                same = f"{values.pop():g} for all answers of {len(recent)} steps"
                self._say(
                    last,
                    bar,
                    term.name,
                    f"the term '{term.name}' has been {same}: it tells no answer from another",
                )
        first, end = (
            [row["reward"] or 0.0 for row in part] for part in (rows[:WINDOW], rows[-WINDOW:])
        )
        if (
            len(rows) < 2 * WINDOW
            or last.get("val_accuracy") is None
            or self.held_out.first is None
        ):
            return
        if risen(first, end) and last["val_accuracy"] <= self.held_out.first:
            self._say(
                last,
                bar,
                "val_accuracy",
                f"the reward has risen from {fmean(first):.3f} to {fmean(end):.3f}, held-out accuracy has not (from "
                f"{self.held_out.first:.1%} to {last['val_accuracy']:.1%}): see in completions.jsonl what is paid",
            )

    def _say(self, row: Row, bar: Any, about: str, text: str) -> None:
        if about not in self.alarms:
            self.alarms[about] = f"step {row['step']}: {text}"
            if bar is not None:
                bar.write(f"warning: {text}")


def totals(trainer: PolicyTrainer) -> tuple[dict[str, float], float]:
    """What the updates of all ranks saw, summed, and the worst mismatch."""
    found = distributed.all_gather((trainer.sums, trainer.worst))
    names = {name for sums, _ in found for name in sums}
    return {name: sum(sums.get(name, 0.0) for sums, _ in found) for name in names}, max(
        worst for _, worst in found
    )


def risen(first: Sequence[float], last: Sequence[float]) -> bool:
    """Whether the second mean is above the first by more than two standard errors of their difference."""
    spread = [
        sum((value - fmean(part)) ** 2 for value in part) / (len(part) - 1) / len(part)
        for part in (first, last)
    ]
    return fmean(last) - fmean(first) > 2 * math.sqrt(sum(spread))


def answers(step: int, group: Group) -> list[Row]:
    """A group's answers as they are kept and shown."""
    return [
        {
            "step": step,
            "id": group.problem.id,
            "source": group.problem.source,
            "question": group.problem.question,
            "reference": group.problem.reference,
            "completion": rollout.text,
            "right": rollout.right,
            "finished": rollout.finished,
            "tokens": rollout.length,
            "reward": group.rewards[at],
            **{f"reward_{name}": values[at] for name, values in group.components.items()},
            "advantage": group.advantages[at],
        }
        for at, rollout in enumerate(group.rollouts)
    ]


def kept(path: Path, before: Path, done: int, hold: bool = True) -> list[Row]:
    """The rows of the first `done` steps, from the file of that name in `before`; `path` ends after them, as later ones will be
    made again. A long file is not held. Raises Failure where rows are missing."""
    rows, last = list[Row](), 0
    temporary = path.with_name(f".{path.name}.partial")
    there = before / path.name
    there.touch()
    with open(there, encoding="utf-8") as old, open(temporary, "w", encoding="utf-8") as new:
        for line in old:
            try:
                row = json.loads(line)
            except ValueError:  # torn by a kill
                break
            if row["step"] > done:
                break
            new.write(line)
            last = row["step"]
            if hold:
                rows.append(row)
    if last < done:
        raise Failure(
            f"{there} ends before step {done}, from which the run would go on; remove {before} and begin again"
        )
    os.replace(temporary, path)
    return rows
