"""TRL's GRPOTrainer over our rollouts, rewards and advantages.

Kept: TRL's losses (`grpo`, `dapo`, `dr_grpo`), reference model and its synchronization. Replaced:
sampling, rewards and advantages (`rl.rollouts`, `rl.objectives`), the loss of mirror descent, and
the batches of an update: micro-batches of like length, trimmed to their rows. Left out: answers of
advantage 0 if `beta` and `tau` are 0, as they have no gradient; and updates without any gradient,
so that the optimizer's momentum alone moves no weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from ratiocine.executors import distributed
from ratiocine.training import Compute, SteppedTrainer, quiet, unsharded_loader
from rl.config import Config
from rl.logprobs import token_logprobs
from rl.objectives import mirror_descent
from rl.rollouts import Step
from rl.update_sums import UpdateSums
from rl.updates import Inputs, answers_of, assign_answers, micro_batches

REFERENCE = "reference"  # folder of the reference model in a checkpoint


class PolicyTrainer(SteppedTrainer, GRPOTrainer):  # type: ignore[misc]
    """`rollouts(step)` gives what a step trains on; `sums` are its metrics."""

    def __init__(
        self,
        config: Config,
        args: GRPOConfig,
        model: torch.nn.Module,
        tokenizer: PreTrainedTokenizerBase,
        compute: Compute,
        rollouts: Callable[[int], Step],
        rate: Callable[[int], float],
        callbacks: Sequence[TrainerCallback],
    ) -> None:
        self.config, self.rollouts, self.rate, self.dtype = config, rollouts, rate, compute.dtype
        self.reset_sums()
        # Placeholders: TRL's prompts are replaced by those of the rollouts.
        self.rows = [{"prompt": "?"}] * (config.batch_size // distributed.world_size())
        with quiet():
            super().__init__(
                model=model,
                args=args,
                reward_funcs=given_reward,
                processing_class=tokenizer,
                train_dataset=Dataset.from_list(self.rows),
                callbacks=list(callbacks),
                rollout_func=self._rollout_columns,
            )
        # TRL makes adapters over 4-bit weights bfloat16, in which small updates are rounded away.
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    def reset_sums(self) -> None:
        self.sums = UpdateSums()
        if hasattr(self, "_metrics"):
            self._metrics["train"].clear()

    # Rollouts and the batches of updates

    def get_train_dataloader(self) -> DataLoader[Any]:
        config = self.config
        n = config.max_steps * config.num_iterations * self.args.steps_per_generation
        loader: DataLoader[Any] = DataLoader(
            range(n),  # type: ignore[arg-type]
            batch_size=1,
            collate_fn=lambda _: self.rows,
        )
        return unsharded_loader(loader, self.accelerator.device)

    def _rollout_columns(self, prompts: object, trainer: object) -> Inputs:
        """TRL's `rollout_func`: columns with one row for each answer of this rank."""
        step = self.rollouts(self.state.global_step // self.config.optimizer_steps)
        self.learning, answers = assign_answers(
            answers_of(step), self.config, self.state.global_step
        )
        return {
            "prompt_ids": [list(answer.prompt) for answer in answers],
            "completion_ids": [list(answer.completion.token_ids or ()) for answer in answers],
            "logprobs": [list(answer.completion.logprobs or ()) for answer in answers],
            "given": [answer.reward for answer in answers],
            "advantage": [answer.advantage for answer in answers],
        }

    @property
    def first_pass(self) -> bool:
        """Whether the answers of this step are trained on for the first time."""
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
            batch = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = self._micro_batches(batch)
        assert self._buffered_inputs is not None
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _micro_batches(self, batch: Inputs) -> list[Inputs]:
        objective, several = self.config.objective, distributed.world_size() > 1
        needed = batch["completion_mask"].any(-1)
        if not objective.beta and not objective.tau:
            needed = needed & (batch["advantages"] != 0)
        return micro_batches(
            batch,
            needed,
            self.learning,
            self.args.per_device_train_batch_size,
            self.args.gradient_accumulation_steps,
            lambda idle: self.is_deepspeed_enabled or (several and not idle),
        )

    # Loss

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: Inputs,
        return_outputs: bool = False,
        num_items_in_batch: object = None,
    ) -> torch.Tensor:
        if inputs["idle"] and self.is_deepspeed_enabled:
            # DeepSpeed steps within backward, where momentum alone would move weights.
            for group in self.optimizer.param_groups:
                group["lr"] = 0.0
        if "advantages" not in inputs:
            return torch.zeros((), device=self.args.device, requires_grad=True)
        rows = len(inputs["advantages"])
        with self._without_collectives():
            loss = self._compute_loss(model, inputs)
        if not inputs["counts"]:
            return loss * 0
        if self.config.objective.loss != "token-mean":
            # The mean over a micro-batch's rows is that over the update's only in full
            # micro-batches.
            loss = loss * (rows / self.args.per_device_train_batch_size)
        # The sampler reports log-probabilities at temperature 1.
        compared = self.first_pass and self.config.temperature == 1
        self.sums.add(
            inputs, float(loss.detach()), *self._last_logprobs, self.config.objective, compared
        )
        return loss

    @contextmanager
    def _without_collectives(self) -> Iterator[None]:
        """TRL gathers metrics of each micro-batch, which are not used here, over ranks with unequal
        numbers of rows."""
        accelerator = self.accelerator
        accelerator.gather = lambda values: values  # type: ignore[method-assign]
        accelerator.reduce = lambda values, *args, **kwargs: values  # type: ignore[method-assign]
        try:
            yield
        finally:
            del accelerator.gather, accelerator.reduce

    def _compute_loss(self, model: torch.nn.Module, inputs: Inputs) -> torch.Tensor:
        if self.config.objective.loss != "mirror-descent":
            return super()._compute_loss(model, inputs)
        mask = inputs["completion_mask"]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        attention_mask = torch.cat([inputs["prompt_mask"], mask], dim=1)
        logprobs, _, _ = self._get_per_token_logps_and_entropies(
            model, ids, attention_mask, mask.shape[1]
        )
        old = inputs.get("old_per_token_logps", logprobs.detach())
        loss = mirror_descent(logprobs, old, mask, inputs["advantages"], self.config.objective.tau)
        return loss / self.current_gradient_accumulation_steps

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: object,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """`token_logprobs`, as TRL's losses ask for them."""
        found = token_logprobs(
            model,
            input_ids,
            attention_mask,
            logits_to_keep,
            batch_size=batch_size or len(input_ids),
            dtype=self.dtype,
            temperature=self.temperature,
        )
        if torch.is_grad_enabled():
            self._last_logprobs = found[0].detach(), found[1]
        return *found, None

    def trial_step(self, max_prompt_tokens: int) -> None:
        """Forward and backward over a micro-batch of the longest prompt and answers of
        `max_new_tokens`. Raises BadInput where it does not fit into memory."""
        size, tokens = self.args.per_device_train_batch_size, self.config.tokens
        prompt = torch.zeros(size, max_prompt_tokens, dtype=torch.long)
        answer = torch.zeros(size, tokens, dtype=torch.long)
        inputs = {
            "prompt_ids": prompt,
            "prompt_mask": torch.ones_like(prompt),
            "completion_ids": answer,
            "completion_mask": torch.ones_like(answer),
            "advantages": torch.ones(size),
            "num_items_in_batch": torch.tensor(size * tokens),
        }
        if self.config.objective.beta:
            inputs["ref_per_token_logps"] = torch.zeros(size, tokens)
        model = self.model
        assert model is not None

        def loss() -> torch.Tensor:
            self.current_gradient_accumulation_steps = 1
            with self._without_collectives():
                placed = {name: value.to(self.args.device) for name, value in inputs.items()}
                return self._compute_loss(model, placed)

        self._forward_and_backward(
            loss,
            f"answers of {tokens} tokens to prompts of {max_prompt_tokens}",
            "max_new_tokens",
        )
        self.reset_sums()

    # Checkpoints

    def _send_telemetry(self) -> None:
        """Disabled."""

    def create_model_card(self, *args: object, **kwargs: object) -> None:
        """Disabled: a checkpoint needs none."""

    def _save_checkpoint(self, model: torch.nn.Module, trial: object) -> None:
        super()._save_checkpoint(model, trial)
        if self.config.objective.ref_model_sync_steps and distributed.is_first():
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / REFERENCE
            self.accelerator.unwrap_model(self.ref_model).save_pretrained(folder)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if (folder := Path(resume_from_checkpoint) / REFERENCE).exists():
            reference = self.accelerator.unwrap_model(self.ref_model)
            saved = type(reference).from_pretrained(folder, dtype=reference.dtype)
            reference.load_state_dict(saved.state_dict())


def given_reward(given: Sequence[float], **kwargs: object) -> list[float]:
    """The reward function that TRL calls: rewards come with the rollouts."""
    return list(given)
