"""Pairs × ratio → student: supervised fine-tuning on completions only, by transformers' Trainer.

What is ours is what the Trainer sees: the mixture's fixed global batches, cut into micro-batches of like length, and a loss
that is the mean over all supervised tokens of a *global* batch, so that micro-batching and padding never change it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from ratiocine import cost, models
from ratiocine.errors import BadInput
from ratiocine.problems import digest
from ratiocine.progress import progress
from ratiocine.runs import Run, check_writable, open_run
from ratiocine.traces import MODES, Mode, Pair, read_pairs
from train import doctor
from train.batches import IGNORED, MicroBatches, Row, collate, fitting, tokenize
from train.config import Config, inputs, pairs_file
from train.mixture import Mixture, mix


def train(config: Config) -> Run | None:
    """Train one student; writes `model/`, `mixture.json`, `metrics.jsonl` and the manifest. With `doctor=true` only the
    checks are made, and nothing is written."""
    pairs = {pair.id: pair for pair in _limited(read_pairs(pairs_file(config)), config)}
    if config.doctor:
        rows, _ = _rows(config, pairs)
        print(_examined(config, pairs, rows))
        return None
    run = open_run("train", config.model_dump(), inputs(config))
    if run.finished:
        print(f"{run.out} is finished")
        return run
    models.resolve_device(config.device)  # a device that is not there is said before anything is done
    folder = models.locate(config.model)
    check_writable(run.out, 2 * sum(f.stat().st_size for f in folder.rglob("*")) if folder else 10_000_000)
    models.prepare_process(config.threads)
    rows, dropped = _rows(config, pairs)
    print(_examined(config, pairs, rows), flush=True)
    mixture = mix({i: pairs[i].category for i in rows}, config.share, config.seed)
    taught = {i: sides[mixture.mode(i)] for i, sides in rows.items()}
    facts = _describe(config, mixture, taught, pairs, dropped)
    run.write_json("mixture.json", facts)
    _fit(run, config, mixture, taught)
    return run


def _limited(pairs: list[Pair], config: Config) -> list[Pair]:
    ranked = sorted(pairs, key=lambda p: digest(config.seed, p.id))
    return ranked[: config.limit]


def _rows(config: Config, pairs: Mapping[str, Pair]) -> tuple[dict[str, dict[Mode, Row]], dict[str, int]]:
    tokenizer = models.load_tokenizer(config.model)
    rows, dropped = fitting({i: tokenize(tokenizer, pair) for i, pair in pairs.items()}, config.max_length)
    if not rows:
        raise BadInput(f"no pair fits max_length={config.max_length}")
    return rows, dropped


def _examined(config: Config, pairs: Mapping[str, Pair], rows: Mapping[str, dict[Mode, Row]]) -> str:
    """Run the doctor over four pairs of every source; returns what it says when all is well."""
    tokenizer, seen = models.load_tokenizer(config.model), Counter[str]()
    sample: list[Row] = []
    for problem_id, sides in rows.items():
        seen[pairs[problem_id].source] += 1
        if seen[pairs[problem_id].source] <= 4:
            sample += sides.values()
    doctor.examine(tokenizer, sample, pairs)
    first = next(row for row in sample if row.mode == "reasoning")
    return (
        f"doctor: {len(sample)} rows are trained as they will be generated; one of them, "
        f"supervised between ⟦ ⟧:\n{doctor.show(tokenizer, first)}"
    )


def _describe(
    config: Config, mixture: Mixture, rows: Mapping[str, Row], pairs: Mapping[str, Pair], dropped: dict[str, int]
) -> dict[str, Any]:
    """`mixture.json`: ids by format in training order, counts by category, and the token shares beside the ratio."""
    ids = {mode: [i for i in mixture.order if mixture.mode(i) == mode] for mode in MODES}
    supervised = {mode: sum(len(rows[i].completion) for i in ids[mode]) for mode in MODES}
    counts = Counter((pairs[i].category, mode) for mode in MODES for i in ids[mode])
    return {
        "schema_version": 1, "ratio": config.ratio, "seed": config.seed, "match": "examples", "loss_weight": "token",
        "n": len(mixture.order), "n_reasoning": len(ids["reasoning"]),
        "categories": {c: {m: counts[c, m] for m in MODES} for c in sorted({c for c, _ in counts})},
        "supervised_tokens": supervised, "tokens": sum(len(row) for row in rows.values()),
        "reasoning_token_share": supervised["reasoning"] / sum(supervised.values()),
        "dropped_too_long": dropped, "ids": ids, "order": list(mixture.order),
    }  # fmt: skip


def _fit(run: Run, config: Config, mixture: Mixture, rows: Mapping[str, Row]) -> None:
    tokenizer, rate = models.load_tokenizer(config.model), config.peak_rate()
    device = models.resolve_device(config.device)
    # On a CPU eager attention is faster than sdpa at these lengths, forward and backward.
    model = models.load_model(config.model, config.device, attention="eager" if device.type == "cpu" else "sdpa")
    shape = cost.Shape.of(model.config)
    if config.lora:
        model = models.add_lora(model, config.lora_rank, seed=config.seed)
    steps = config.epochs * -(-len(rows) // config.batch_size)
    steps = min(steps, config.max_steps or steps)
    with tempfile.TemporaryDirectory() as scratch, progress(steps, f"train ratio={config.ratio}", "steps") as bar:
        log = StepLog(run.out / "metrics.jsonl", bar)
        trainer = RatioTrainer(
            model=model, args=_arguments(config, rate, steps, scratch, device), train_dataset=list(rows.values()),
            data_collator=collate, callbacks=[log], mixture=mixture, config=config, log=log,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    with run.writing("metrics.jsonl") as path:
        path.write_text("".join(json.dumps(row) + "\n" for row in log.rows))
    with run.writing("model") as path:
        models.save_student(trainer.accelerator.unwrap_model(trainer.model), tokenizer, path)
    seen = [
        rows[i] for epoch in range(config.epochs) for b in mixture.batches(config.batch_size, epoch, config.seed) for i in b
    ]
    seen = seen[: steps * config.batch_size]
    run.finish(
        lr=rate, steps=steps, tokens=sum(map(len, seen)), train_flops=sum(cost.training(shape, len(row)) for row in seen),
        seconds=round(log.seconds, 1), device=str(device), final_loss=log.rows[-1]["loss"],
    )  # fmt: skip
    print(f"trained {steps} steps in {log.seconds:.0f} s: {run.out / 'model'}")


def _arguments(config: Config, rate: float, steps: int, scratch: str, device: torch.device) -> TrainingArguments:
    def part(size: float) -> int:
        return round(size * steps) if size < 1 else round(size)

    return TrainingArguments(
        output_dir=scratch, max_steps=steps, per_device_train_batch_size=config.micro_batch_size,
        gradient_accumulation_steps=-(-config.batch_size // config.micro_batch_size), learning_rate=rate,
        lr_scheduler_type="warmup_stable_decay", warmup_steps=part(config.warmup),
        lr_scheduler_kwargs={"num_decay_steps": part(config.decay), "min_lr_ratio": 0.1},
        optim="adamw_torch_fused", weight_decay=config.weight_decay, max_grad_norm=config.max_grad_norm,
        bf16=device.type == "cuda", use_cpu=device.type == "cpu", seed=config.seed, save_strategy="no",
        logging_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip


class StepLog(TrainerCallback):
    """One row a step in `metrics.jsonl` (appended live), and the progress bar."""

    def __init__(self, path: Path, bar: Any) -> None:
        self.path, self.bar, self.rows = path, bar, list[dict[str, Any]]()
        self.loss, self.tokens, self.started, self.seconds = 0.0, 0, 0.0, 0.0
        path.unlink(missing_ok=True)

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.started
        rate = kwargs["lr_scheduler"].get_last_lr()[0]
        row = {"step": state.global_step, "loss": self.loss, "lr": rate, "tokens": self.tokens}
        self.rows.append({**row, "seconds": round(self.seconds, 2)})
        with open(self.path, "a") as file:
            file.write(json.dumps(self.rows[-1]) + "\n")
        self.bar.set_postfix_str(f"loss {self.loss:.3f}, {self.tokens / self.seconds:.0f} tokens/s", refresh=False)
        self.bar.update()
        self.loss = 0.0


class RatioTrainer(Trainer):
    """Trainer over the mixture's global batches."""

    def __init__(self, *args: Any, mixture: Mixture, config: Config, log: StepLog, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.mixture, self.config, self.log_rows = mixture, config, log
        self.model_accepts_loss_kwargs = True  # makes the Trainer count a global batch's labels before its first micro-batch

    def get_train_dataloader(self) -> DataLoader[Any]:
        rows: list[Row] = self.train_dataset  # type: ignore[assignment]
        sampler = MicroBatches(
            [row.id for row in rows], [len(row) for row in rows], self.mixture, self.config.batch_size,
            self.config.micro_batch_size, self.config.seed,
        )  # fmt: skip
        return self.accelerator.prepare(DataLoader(rows, batch_sampler=sampler, collate_fn=collate))  # type: ignore[arg-type]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy summed over this micro-batch's labels, over the number of labels in its global batch. Logits are
        made from the first supervised position on: the head is a fifth of a small model's work."""
        labels = inputs["labels"]
        first = int((labels != IGNORED).any(0).nonzero()[0])
        keep = labels.shape[1] - first + 1
        logits = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], logits_to_keep=keep, use_cache=False
        ).logits[:, :-1]
        total = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), labels[:, first:].flatten(), ignore_index=IGNORED, reduction="sum"
        )
        loss = total / num_items_in_batch
        self.log_rows.loss += loss.item()
        self.log_rows.tokens += int(inputs["attention_mask"].sum())
        return loss
