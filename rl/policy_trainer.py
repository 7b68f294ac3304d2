"""TRL's GRPOTrainer, told what to answer and what it is worth, and kept from computing what adds nothing.

Its losses are TRL's own (`grpo`, `dapo`, `dr_grpo`), its advantages and the loss of mirror descent ours (`rl.objectives`). An
update goes over the answers of a step in micro-batches of like length, trimmed to what they hold; answers whose advantage is 0
are left out where nothing but the advantage moves the policy, which changes no gradient. An update that leaves all of them out
is none: not even the optimizer's momentum moves a weight.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase
from trl import GRPOConfig, GRPOTrainer

from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.records import Completion
from ratiocine.training import (
    Compute,
    SteppedTrainer,
    logits,
    losses_and_entropies,
    only_at,
    quiet,
    single_device,
    unsharded_loader,
)
from rl.config import Config
from rl.objectives import TRL_LOSSES, mirror_descent
from rl.rollouts import Step

Inputs = dict[str, Any]
REFERENCE = "reference"


class PolicyTrainer(SteppedTrainer, GRPOTrainer):  # type: ignore[misc]
    """`answers(step)` gives what a step trains on. `sums` is what its updates saw, summed over tokens."""

    def __init__(
        self,
        config: Config,
        args: GRPOConfig,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        chosen: Compute,
        answers: Callable[[int], Step],
        rate: Callable[[int], float],
        callbacks: Sequence[Any],
    ) -> None:
        self.config, self.answers, self.rate, self.dtype = config, answers, rate, chosen.dtype
        self.sums: dict[str, float] = {}
        self.worst = 0.0  # of the mismatches between sampler and trainer
        self.rows = [{"prompt": "?"}] * (
            config.batch_size // distributed.world_size()
        )  # the sampler's own prompts take their place
        with quiet():
            super().__init__(
                model=model,
                args=args,
                reward_funcs=worth,
                processing_class=tokenizer,
                train_dataset=Dataset.from_list(self.rows),
                callbacks=list(callbacks),
                rollout_func=self._rollouts,
            )
        for parameter in (
            model.parameters()
        ):  # TRL makes adapters over 4-bit weights bfloat16, in which small steps are lost
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    def get_train_dataloader(self) -> DataLoader[Any]:
        config = self.config
        n = config.max_steps * config.num_iterations * self.args.steps_per_generation
        loader = DataLoader(range(n), batch_size=1, collate_fn=lambda _: self.rows)  # type: ignore[arg-type, var-annotated]
        return unsharded_loader(loader, self.accelerator.device)

    def _rollouts(self, prompts: Any, trainer: Any) -> dict[str, Any]:
        """What TRL asks for; in its own words, one row for each answer of which this rank learns."""
        taken = self.answers(self.state.global_step // self.config.optimizer_steps)
        rows = [
            (group.prompt, *answer)
            for group in taken.groups
            for answer in zip(group.traces, group.rewards, group.advantages, strict=True)
        ]
        self.moving, own_rows = self._dealt(rows)
        return {
            "prompt_ids": [list(prompt) for prompt, *_ in own_rows],
            "completion_ids": [list(trace.token_ids or ()) for _, trace, *_ in own_rows],
            "logprobs": [list(trace.logprobs or ()) for _, trace, *_ in own_rows],
            "worth": [reward or 0.0 for *_, reward, _ in own_rows],
            "advantage": [advantage for *_, advantage in own_rows],
        }

    def _dealt(self, rows: list[Any]) -> tuple[list[bool], list[Any]]:
        """Of each update whether any answer of it moves the policy, and the answers of this rank, update by update: as many on
        each, those that teach something and are long first, so that all have about as much to do."""
        if self.config.num_minibatches > 1:
            random.Random(f"{self.config.seed} {self.state.global_step}").shuffle(rows)
        size, moving, dealt = len(rows) // self.config.num_minibatches, [], []
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            taught = [self._teaches(trace, advantage) for _, trace, _, advantage in part]
            moving.append(any(taught))
            if distributed.world_size() > 1:
                lengths = [len(prompt) + len(trace.token_ids or ()) for prompt, trace, *_ in part]
                order = sorted(range(size), key=lambda at: (not taught[at], -lengths[at]))
                part = [part[at] for at in order[distributed.rank() :: distributed.world_size()]]
            dealt += part
        return moving, dealt

    def _teaches(self, trace: Completion, advantage: float) -> bool:
        objective = self.config.objective
        masked = objective.mask_truncated_completions and trace.stop == "length"
        return not masked and bool(advantage or objective.beta or objective.tau)

    @property
    def first_pass(self) -> bool:
        """Whether the answers of this step are seen for the first time."""
        every = self.args.steps_per_generation
        return self._step % (every * self.num_iterations) < every

    def _generate_and_score_completions(self, inputs: list[Inputs]) -> Inputs:
        rows = [dict(row) for row in inputs]
        found: Inputs = super()._generate_and_score_completions(rows)
        found["advantages"] = torch.tensor(
            [row["advantage"] for row in rows], device=found["advantages"].device
        )
        return found

    def _prepare_inputs(self, generation_batch: Any) -> Inputs:
        every = self.args.steps_per_generation * self.num_iterations
        if self._step % every == 0:
            if self.config.objective.loss == "mirror-descent" and self.optimizer is not None:
                self.optimizer.state.clear()  # another reference is another problem (k1.5, §2.3.2)
            self._buffered_inputs = self._micro_batches(
                self._generate_and_score_completions(generation_batch)
            )
        assert self._buffered_inputs is not None
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _micro_batches(self, whole: Inputs) -> list[Inputs]:
        """A step's answers for each of its updates, the longest first; the last micro-batches of an update may be empty. Where
        other ranks wait for this one's gradients an answer that counts for nothing stands in an empty one."""
        size, per_update = self.config.micro_batch_size, self.args.gradient_accumulation_steps
        order = list(range(len(whole["completion_ids"])))
        mask, needed = whole["completion_mask"], whole["completion_mask"].any(-1)
        if not self.config.objective.beta and not self.config.objective.tau:
            needed = needed & (whole["advantages"] != 0)
        lengths = (whole["prompt_mask"].sum(-1) + mask.sum(-1)).tolist()
        answered = mask.any(-1).tolist()
        filling = [row for row in order if answered[row]][:1] or order[:1]
        found = []
        for start in range(0, len(order), size * per_update):
            part = [row for row in order[start : start + size * per_update] if needed[row]]
            part.sort(key=lambda row: -lengths[row])
            parts = [part[at * size : (at + 1) * size] for at in range(per_update)]
            idle = not self.moving[start // (size * per_update)]
            filled = self.is_deepspeed_enabled or (distributed.world_size() > 1 and not idle)
            for part in parts:
                counts = bool(part)
                rows = _rows(whole, part or filling) if part or filled else {}
                found.append({**rows, "counts": counts, "idle": idle})
        return found

    def compute_loss(
        self,
        model: Any,
        inputs: Inputs,
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        if (
            inputs["idle"] and self.is_deepspeed_enabled
        ):  # it steps in backward; momentum alone shall move no weight
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
        if "advantages" not in inputs:
            return torch.zeros((), device=self.args.device, requires_grad=True)
        rows = len(inputs["advantages"])
        with self._alone():
            loss = self._compute_loss(model, inputs)
        if not inputs["counts"]:
            return loss * 0
        if self.config.objective.loss != "token-mean":
            # A mean over the rows of a micro-batch is one over all rows of the update only where micro-batches are full.
            loss = loss * (rows / self.config.micro_batch_size)
        self._note(inputs, float(loss.detach()))
        return loss

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """TRL gathers from all ranks what it would log of a micro-batch, which nobody reads, and of which ranks have unequal
        numbers of rows."""
        accelerator = self.accelerator
        accelerator.gather = lambda values: values  # type: ignore[method-assign]
        accelerator.reduce = lambda values, *args, **kwargs: values  # type: ignore[method-assign]
        try:
            yield
        finally:
            del accelerator.gather, accelerator.reduce

    def _compute_loss(self, model: Any, inputs: Inputs) -> torch.Tensor:
        if self.config.objective.loss != "mirror-descent":
            return super()._compute_loss(model, inputs)
        mask = inputs["completion_mask"]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        seen = torch.cat([inputs["prompt_mask"], mask], dim=1)
        now, _, _ = self._get_per_token_logps_and_entropies(model, ids, seen, mask.shape[1])
        before = inputs.get("old_per_token_logps", now.detach())
        loss = mirror_descent(now, before, mask, inputs["advantages"], self.config.objective.tau)
        return loss / self.current_gradient_accumulation_steps

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """Log-probabilities and entropies, each (rows, `logits_to_keep`), 0 where there is no token. Some rows at a time, cut
        to the columns that they hold, and logits only for what was answered."""
        n, width = input_ids.shape
        size = batch_size or n
        there = attention_mask[:, 1:].bool()
        there = there & (torch.arange(width - 1, device=there.device) >= width - 1 - logits_to_keep)
        positions = (attention_mask.cumsum(-1) - 1).clamp(min=0)
        logprobs, entropies = [], []
        training = torch.is_grad_enabled()
        cast = torch.autocast(
            self.args.device.type,
            self.dtype,
            enabled=self.dtype != torch.float32,
            cache_enabled=training,
        )
        for start in range(0, n, size):
            rows = slice(start, start + size)
            held = attention_mask[rows].any(0).nonzero()
            first, end = int(held[0]), int(held[-1]) + 1
            some = there[rows, first : end - 1]
            inputs = {
                "input_ids": input_ids[rows, first:end],
                "attention_mask": attention_mask[rows, first:end],
                "position_ids": positions[rows, first:end],
            }
            with cast, only_at(model, some):
                made = logits(model, inputs)
                if self.temperature != 1:
                    made = made / self.temperature
                losses, entropy = losses_and_entropies(made, inputs["input_ids"][:, 1:][some])
            blank = torch.zeros(there[rows].shape, device=losses.device)
            where = torch.zeros_like(there[rows])
            where[:, first : end - 1] = some
            logprobs.append(blank.masked_scatter(where, -losses)[:, -logits_to_keep:])
            entropies.append(blank.masked_scatter(where, entropy)[:, -logits_to_keep:])
        found = torch.cat(logprobs), torch.cat(entropies)
        if training:
            self._seen = found[0].detach(), found[1]
        return *found, None

    def _note(self, inputs: Inputs, loss: float) -> None:
        """What the log tells of an update, summed over the tokens of a micro-batch."""
        now, entropies = self._seen
        mask = inputs["completion_mask"].bool()
        seen = {"loss": loss, "tokens": mask.sum(), "entropy": entropies[mask].sum()}
        if self.config.objective.loss != "mirror-descent":
            low, high = self.config.objective.epsilon, self.config.objective.epsilon_high
            ratio, towards = (
                (now - inputs.get("old_per_token_logps", now)).exp(),
                inputs["advantages"][:, None],
            )
            clipped = ((ratio > 1 + high) & (towards > 0)) | ((ratio < 1 - low) & (towards < 0))
            seen["clipped"] = (clipped & mask).sum()
        if (reference := inputs.get("ref_per_token_logps")) is not None:
            apart = reference - now
            seen["kl"] = (apart.exp() - apart - 1)[mask].sum()
        sampled = inputs.get("sampling_per_token_logps")
        if (
            sampled is not None and self.first_pass and self.config.temperature == 1
        ):  # the sampler tells those at temperature 1
            apart = (inputs.get("old_per_token_logps", now) - sampled)[mask].abs()
            seen |= {"compared": mask.sum(), "mismatch": apart.sum()}
            self.worst = max(self.worst, float(apart.max()))
        for name, value in seen.items():
            self.sums[name] = self.sums.get(name, 0.0) + float(value)

    def try_longest(self, prompt: int) -> None:
        """Forward and backward over a micro-batch of the longest prompt and answers up to the budget, so that a run which will
        not fit ends at once."""
        size, budget = self.config.micro_batch_size, self.config.tokens
        ids, mask = (
            torch.zeros(size, prompt, dtype=torch.long),
            torch.ones(size, prompt, dtype=torch.long),
        )
        answer = torch.zeros(size, budget, dtype=torch.long)
        inputs = {
            "prompt_ids": ids,
            "prompt_mask": mask,
            "completion_ids": answer,
            "completion_mask": torch.ones_like(answer),
            "advantages": torch.ones(size),
            "num_items_in_batch": torch.tensor(size * budget),
        }
        if self.config.objective.beta:
            inputs["ref_per_token_logps"] = torch.zeros(size, budget)
        model = self.model
        assert model is not None
        try:
            self.as_in_training()
            self.current_gradient_accumulation_steps = 1
            with self.compute_loss_context_manager(), self._alone():
                loss = self._compute_loss(
                    model, {name: value.to(self.args.device) for name, value in inputs.items()}
                )
            loss.backward()  # type: ignore[no-untyped-call]
        except torch.OutOfMemoryError:
            raise BadInput(
                f"micro_batch_size={size}: answers of {budget} tokens to prompts of {prompt} do not fit into memory; take a "
                "smaller one, or a smaller budget"
            ) from None
        model.zero_grad(set_to_none=True)
        self.sums.clear()
        self.worst = 0.0
        self._metrics["train"].clear()

    def _send_telemetry(self) -> None:
        """Nobody is told what is trained here."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """A checkpoint needs none."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self.config.objective.ref_model_sync_steps and distributed.is_first():
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / REFERENCE
            self.accelerator.unwrap_model(self.ref_model).save_pretrained(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if (folder := Path(resume_from_checkpoint) / REFERENCE).exists():
            reference = self.accelerator.unwrap_model(self.ref_model)
            reference.load_state_dict(
                type(reference).from_pretrained(folder, dtype=reference.dtype).state_dict()
            )


def worth(worth: Sequence[float], **kwargs: Any) -> list[float]:
    """The one reward function that TRL sees: the answers come with what they are worth."""
    return list(worth)


def _rows(whole: Inputs, rows: Sequence[int]) -> Inputs:
    """Some rows of a step's answers, without the columns that none of them has."""
    at = torch.tensor(rows, device=whole["advantages"].device)
    start = int(whole["prompt_mask"][at].any(0).nonzero()[0])
    columns = whole["completion_mask"][at].any(0).nonzero()
    end = int(columns[-1]) + 1 if len(columns) else 1  # all of it may be masked
    cut = {"prompt_ids": slice(start, None), "prompt_mask": slice(start, None)}
    found = {}
    for name, value in whole.items():
        if not isinstance(value, torch.Tensor) or value.dim() == 0:
            found[name] = value
        else:
            found[name] = (
                value[at] if value.dim() == 1 else value[at][:, cut.get(name, slice(0, end))]
            )
    return found


def arguments(config: Config, chosen: Compute, folder: Path) -> GRPOConfig:
    """The configuration as TRL has it. To be made before the model: ZeRO-3 loads it in parts."""
    objective = config.objective
    accumulate = config.batch_size // (
        config.num_minibatches * config.micro_batch_size * distributed.world_size()
    )
    return single_device(
        GRPOConfig(
            output_dir=str(folder / ".partial"),
            max_steps=config.max_steps * config.optimizer_steps,
            per_device_train_batch_size=config.micro_batch_size,
            gradient_accumulation_steps=accumulate,
            steps_per_generation=accumulate * config.num_minibatches,
            num_iterations=config.num_iterations,
            num_generations=config.num_generations,
            max_completion_length=config.tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            loss_type=TRL_LOSSES[objective.loss],
            scale_rewards="none",
            epsilon=objective.epsilon,
            epsilon_high=objective.epsilon_high,
            beta=objective.beta,
            mask_truncated_completions=objective.mask_truncated_completions,
            sync_ref_model=objective.ref_model_sync_steps is not None,
            ref_model_mixup_alpha=1.0,
            ref_model_sync_steps=(objective.ref_model_sync_steps or 1) * config.optimizer_steps,
            use_vllm=config.engine.name == "vllm",
            vllm_mode="colocate",
            optim="adamw_torch_fused",
            weight_decay=config.weight_decay,
            max_grad_norm=config.max_grad_norm,
            use_cpu=chosen.device.type == "cpu",
            bf16=False,
            seed=config.seed,
            save_strategy="steps",
            save_steps=config.save_steps * config.optimizer_steps,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            remove_unused_columns=False,
            logging_nan_inf_filter=False,
            dataloader_pin_memory=False,
            gradient_checkpointing=config.gradient_checkpointing,
            disable_dropout=True,
            router_aux_loss_coef=0.0,
            deepspeed=config.deepspeed.settings,
            ddp_find_unused_parameters=False,
            ddp_timeout=config.ddp_timeout,
            vllm_gpu_memory_utilization=config.engine.gpu_memory_utilization
            if config.engine.name == "vllm"
            else 0.3,
        )
    )
