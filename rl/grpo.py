"""Problems × rewards → student: reinforcement learning from rules, by TRL's GRPOTrainer over our rollouts and rewards."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine import cost, devices, models, rendering
from ratiocine.data import sources
from ratiocine.errors import BadInput, Failure
from ratiocine.evaluate import key
from ratiocine.executors import distributed
from ratiocine.grading import KINDS
from ratiocine.hashing import smallest
from ratiocine.plotting import training_curves
from ratiocine.progress import progress
from ratiocine.prompts import (
    CLOSE,
    PREFILLED,
    check_switch,
    end_of_turn,
    opens_thinking,
    prompt_ids,
    prompt_text,
    user_text,
)
from ratiocine.records import Problem
from ratiocine.runs import Run, check_writable, lineage, open_run, tracking
from ratiocine.training import (
    Checkpoints,
    compute,
    gathered_model,
    gathered_parameters,
    load,
    newest,
    save_compute,
    wsd,
)
from rl.config import Config, inputs
from rl.rollouts import Rollouts, Step

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ratiocine import memory
    from ratiocine.training import Compute
    from rl.metrics import Watch
    from rl.policy import Policy
    from rl.policy_trainer import PolicyTrainer
    from rl.val_accuracy import HeldOut

CHECKPOINTS = "checkpoints"
TRACED = ("format", "binary", "tag_count")  # terms that want a think block
LOGS = ("metrics.jsonl", "completions.jsonl", "val_accuracy.jsonl")


@dataclass(frozen=True)
class Prepared:
    """What is known before any weights are read: the problems, those held out, and how they are asked."""

    problems: list[Problem]
    held_out: list[Problem]
    tokenizer: PreTrainedTokenizerBase
    thinking: bool | None
    longest: int


def prepare(config: Config) -> Prepared:
    """Load and check all of it. Raises BadInput where a reward wants what a problem or the prompt has not."""
    loaded = sources.load(config.data, "train", seed=config.seed, limit=config.limit)
    for reason, ids in loaded.dropped.items():
        print(
            f"{config.data.name}: {len(ids)} dropped ({reason}): {', '.join(ids[:5])}{' …' if len(ids) > 5 else ''}"
        )
    problems = loaded.problems
    check_problems(config, problems)
    # Without a reference nothing tells whether an answer is right.
    judged = [key(problem) for problem in problems if KINDS[problem.kind].usable(problem)]
    held = set(smallest(judged, config.val_size, config.seed))
    train = [problem for problem in problems if key(problem) not in held]
    if len(train) < config.problems:
        raise BadInput(
            f"data={config.data.name}: {len(problems)} problems, of which val_size={config.val_size} are not trained on; a "
            f"step answers {config.problems} of the rest"
        )
    tokenizer = models.load_tokenizer(config.model)
    thinking = config.thinking
    if thinking is None and (folder := models.locate(config.model)) is not None:
        thinking = rendering.asked_to_think(folder)
    if thinking is not None:
        check_switch(tokenizer)
    if config.prefill_think:
        if opens_thinking(prompt_text(tokenizer, "?", thinking)):
            raise BadInput(
                "prefill_think=true: the chat template opens a think block already; leave it out"
            )
        tokenizer.chat_template += PREFILLED
    check_prompt(config, tokenizer, thinking)
    longest = max(
        len(prompt_ids(tokenizer, user_text(problem), thinking=thinking)) for problem in train
    )
    return Prepared(
        train,
        [problem for problem in problems if key(problem) in held],
        tokenizer,
        thinking,
        longest,
    )


def check_problems(config: Config, problems: Sequence[Problem]) -> None:
    """Raise BadInput where problems lack what a term of the reward needs of them."""
    lacking = {p.id: what for p in problems if (what := config.reward.lacking(p)) is not None}
    if config.reward.graded:
        lacking |= {
            p.id: "a reference that can be judged" for p in problems if not KINDS[p.kind].usable(p)
        }
    if lacking:
        first = ", ".join(list(lacking)[:5])
        raise BadInput(
            f"reward={config.reward.name}: {len(lacking)} of {len(problems)} problems of data={config.data.name} have not "
            f"{next(iter(lacking.values()))}: {first}{' …' if len(lacking) > 5 else ''}"
        )


def check_prompt(config: Config, tokenizer: PreTrainedTokenizerBase, thinking: bool | None) -> None:
    """Raise BadInput where the prompt has closed the think block that the reward wants to see."""
    marker = "RATIOCINE"
    tail = prompt_text(tokenizer, marker, thinking).rpartition(marker)[2]
    wanting = [term.name for term in config.reward.terms if term.name in TRACED]
    if CLOSE in tail and wanting:
        raise BadInput(
            f"reward={config.reward.name}: the term '{wanting[0]}' wants a think block, which the prompt has closed already: "
            f"it ends with {tail[-40:]!r}; give thinking=true, another chat template, or a reward without it"
        )


def train(config: Config) -> Run:
    """Train one student; writes `model/`, what was logged and answered, `curves.svg` and the manifest."""
    devices.prepare_process(config.threads)
    prepared = prepare(config)
    if shape := {"num_minibatches", "num_iterations"} & set(config.resume_overrides):
        raise BadInput(
            f"resume_overrides={sorted(shape)}: a run goes on with as many updates a step as it began with"
        )
    run = open_run("rl", config, inputs(config), config.resume_overrides)
    if run.finished:
        print(f"{run.out} is finished")
        return run
    folder = models.locate(config.model)
    size = sum(f.stat().st_size for f in folder.rglob("*")) if folder else 1_000_000
    # Weights and moments in float32, of which one set more than is kept is there while another is written, and the student.
    check_writable(
        run.out, (1 if config.lora else 6 * (config.save_total_limit + 1) + 2) * size + 10_000_000
    )
    _fit(run, config, prepared)
    return run


def _fit(run: Run, config: Config, prepared: Prepared) -> None:
    import torch

    from rl.metrics import Watch, format_term
    from rl.policy import Policy
    from rl.policy_trainer import arguments
    from rl.val_accuracy import HeldOut

    folder, tokenizer = run.shared / CHECKPOINTS, prepared.tokenizer
    chosen = compute(config, folder)
    save_compute(folder, config, chosen)
    print(f"memory: {_fits(config, prepared, chosen)}", flush=True)
    policy = Policy(config, chosen.device, tokenizer)
    distributed.init_process_group(config.ddp_timeout, chosen.device.type)
    size = models.size(config.model)
    args = arguments(
        config, chosen, folder
    )  # after which every model is made for ZeRO-3, where that is asked for
    last = newest(folder)
    distributed.check_agreement({**run.facts, "the checkpoint to go on from": last and last.name})
    model = load(config, chosen)
    _remember(model, folder)
    model.generation_config.eos_token_id = end_of_turn(tokenizer)
    done = None if last is None else int(last.name) // config.optimizer_steps
    held_out = HeldOut(
        config,
        prepared.held_out,
        policy,
        tokenizer,
        prepared.thinking,
        format_term(config),
        run.out,
        run.shared,
        done,
    )
    tracker = tracking.tracker(config, run.out, _about(run, config, size))
    with progress(config.max_steps, f"rl {config.reward.name}", "steps") as bar:
        watch = Watch(
            config,
            run.out,
            run.shared,
            bar,
            tracker,
            held_out,
            cost.Shape.of(model.config),
            done or 0,
        )
        checkpoints = Checkpoints(folder, config.save_total_limit, every=config.optimizer_steps)
        trainer = _trainer(config, prepared, chosen, args, model, policy, watch, checkpoints)
        if last is None:
            if config.sharding != "zero3":  # which has no whole model before it trains
                trainer.try_longest(prepared.longest)
            if held_out.requests:
                tracker.log(0, held_out.take(model, 0))
        with checkpoints.on_signal(), distributed.phase("training"):
            try:
                trainer.train(resume_from_checkpoint=None if last is None else str(last))
            except torch.OutOfMemoryError:
                raise Failure(
                    f"out of memory after step {len(watch.rows)}; what was saved before it is kept; take a smaller "
                    "micro_batch_size or budget, gradient_checkpointing=true or lora=true"
                ) from None
    facts = {**chosen.facts, "sample_precision": devices.dtype_name(policy.dtype), "size": size}
    with (
        distributed.phase("collecting the student"),
        gathered_model(trainer, lambda: load(config, chosen)) as student,
    ):
        if distributed.is_first():
            _finish(run, config, prepared, facts, student, watch, held_out)
    distributed.barrier()


def _trainer(
    config: Config,
    prepared: Prepared,
    chosen: Compute,
    args: Any,
    model: Any,
    policy: Policy,
    watch: Watch,
    checkpoints: Checkpoints,
) -> PolicyTrainer:
    """The trainer, which asks the model that it trains, as it is at each step."""
    from transformers import PrinterCallback

    from rl.policy import VLLMSampler
    from rl.policy_trainer import PolicyTrainer

    rates, here = (
        wsd(config.max_steps, config.lr, config.warmup, config.decay),
        config.engine.name == "transformers",
    )

    def answered(number: int) -> Step:
        if here:
            policy.refresh(trainer.accelerator.unwrap_model(trainer.model))
        watch.taken = rollouts.step(number)
        check_budget(config, watch.taken, number)
        return watch.taken

    trainer = watch.trainer = PolicyTrainer(
        config,
        args,
        model,
        prepared.tokenizer,
        chosen,
        answered,
        lambda step: rates[min(step // config.optimizer_steps, len(rates) - 1)],
        [watch, checkpoints],
    )
    trainer.remove_callback(PrinterCallback)
    ask = policy.generate if here else VLLMSampler(trainer, prepared.tokenizer).generate
    rollouts = Rollouts(config, prepared.problems, prepared.tokenizer, ask, prepared.thinking)
    return trainer


def _fits(config: Config, prepared: Prepared, chosen: Compute) -> memory.Need:
    from ratiocine import memory
    from ratiocine.memory import Largest, checks
    from rl.policy import samples_in

    rows, reference = config.micro_batch_size, config.objective.beta and not config.lora
    length = prepared.longest + config.tokens
    largest = [
        Largest(
            rows,
            length,
            rows * config.tokens,
            config.batch_size == config.num_minibatches * rows * distributed.world_size(),
        )
    ]
    number, cached = samples_in(config, chosen.device).itemsize, 0
    if config.engine.name == "transformers":
        cached = min(
            max(config.engine.max_cache_tokens, length),
            min(config.engine.max_batch_size, config.batch_size) * length,
        )
    sampling = memory.Sampling(number / 4 + bool(reference), cached, number)
    return checks.check(
        config,
        chosen,
        largest,
        "max_new_tokens",
        memory.Spread(config.sharding, distributed.world_size()),
        sampling,
    )


def _finish(
    run: Run,
    config: Config,
    prepared: Prepared,
    facts: Mapping[str, Any],
    student: Any,
    watch: Watch,
    held_out: HeldOut,
) -> None:
    """Save the student and what is known of its run, and say what came of it."""
    change, end = held_out.change(), watch.rows[-1]
    _save(run, config, prepared, student, watch.rows)
    watch.tracker.finish()
    run.finish(
        lr=config.lr,
        steps=len(watch.rows),
        tokens=end["tokens"],
        seconds=end["seconds"],
        **facts,
        problems=len(prepared.problems),
        val_accuracy=change,
        train_flops=end["flops_paper"],
        train_flops_exact=end["flops"],
        alarms=[*watch.alarms.values()],
        thinking=prepared.thinking,
        group=_shown(run.out),
    )
    shutil.rmtree(run.out / CHECKPOINTS, ignore_errors=True)
    if change:
        low, high = change["ci95"]
        print(
            f"held out, {change['n']} problems: {change['before']:.1%} before, {change['after']:.1%} after, "
            f"{100 * change['difference']:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
        )
    print(f"trained {len(watch.rows)} steps in {end['seconds']:.0f} s: {run.out / 'model'}")


def check_budget(config: Config, step: Step, number: int) -> None:
    """Raise BadInput where no answer of the first step came to its end: nothing but the budget would be learned from."""
    rollouts = [rollout for group in step.groups for rollout in group.rollouts]
    cut = sum(not rollout.finished for rollout in rollouts)
    if number == 0 and cut == len(rollouts):
        raise BadInput(
            f"max_new_tokens={config.tokens}: all {cut} answers of the first step were cut by it (100 %); give a larger budget, or "
            "start from a student that ends its turns"
        )
    if number == 0 and 2 * cut >= len(rollouts):
        print(
            f"warning: max_new_tokens={config.tokens} cut {cut} of the first step's {len(rollouts)} answers: they count as wrong"
        )


def _remember(model: Any, folder: Path) -> None:
    """The model's folder is where TRL finds the reference; one that comes from none is written down."""
    name = model.config._name_or_path
    if not name or not Path(name).is_dir():
        with gathered_parameters(list(model.parameters())):
            if distributed.is_first():
                model.save_pretrained(folder / "start")
        distributed.barrier()
        model.config._name_or_path = str(folder / "start")


def _save(
    run: Run, config: Config, prepared: Prepared, student: Any, rows: Sequence[dict[str, Any]]
) -> None:
    for name in LOGS:
        if (run.out / name).exists():
            with run.writing(name) as path:
                shutil.copyfile(run.out / name, path)
    held = [
        json.loads(line)
        for line in (run.out / "val_accuracy.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    with run.writing("curves.svg") as path:
        path.write_text(training_curves(rows, held), encoding="utf-8")
    with run.writing("model") as path:
        models.save_student(student, prepared.tokenizer, path, _record(config, prepared))


def _shown(folder: Path) -> list[dict[str, Any]]:
    """One group of answers to show: of those that hold right and wrong ones the last, else the last of all."""
    mixed, last = list[dict[str, Any]](), list[dict[str, Any]]()
    with open(folder / "completions.jsonl", encoding="utf-8") as file:
        for _, rows in groupby(
            map(json.loads, file), key=lambda row: (row["step"], row["source"], row["id"])
        ):
            last = list(rows)
            mixed = last if len({row["right"] for row in last}) > 1 else mixed
    return mixed or last


def _record(config: Config, prepared: Prepared) -> dict[str, Any] | None:
    """How the student is to be asked: as the one it came from, in the template that it was now taught in."""
    folder = models.locate(config.model)
    record = None if folder is None else rendering.recorded(folder)
    if record is None:
        return None
    made = rendering.Rendering(prepared.tokenizer, record["form"])
    if prepared.thinking is None:
        return made.record(record["taught"])
    return made.record(["reasoning" if prepared.thinking else "ift"])


def _about(run: Run, config: Config, size: int) -> tracking.About:
    model = config.model
    before = lineage.compared("rl", model.name, model.path, lineage.student(model.path))
    by = replace(before, size=size, seed=config.seed, reward=config.reward.name)
    told = {
        **config.model_dump(),
        "inputs": dict(run.inputs),
        "reward_terms": config.reward.model_dump()["terms"],
        "objective_name": config.objective.name,
    }
    title = f"{by.model_name} {config.objective.name} {config.reward.name} seed={config.seed}"
    return tracking.About(run.hash, title, f"{by.model_name} {config.reward.name}", by, told)
