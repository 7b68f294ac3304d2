"""GRPO: problems × rewards → student, reinforcement learning from verifiable rewards.

Differences from the GRPO of DeepSeekMath (arXiv 2402.03300, algorithm 1) and DeepSeek-R1
(arXiv 2501.12948):

- Kept: no value model, the mean reward of a group of answers as baseline, the clipped importance
  ratio per token, and with `beta` the k3 estimate of the divergence from a reference policy.
- `beta` is 0 by default: rules are harder to exploit than a reward model, and a reference model
  costs memory (DAPO, arXiv 2503.14476, section 2.3, removes it too).
- Left out: reward models and process supervision, as rewards are rules; and new references between
  iterations, unless `ref_model_sync_steps` is set.
- Left out of the update: answers of groups without a difference in reward, which change no
  gradient. They are sampled, and logged unless dynamic sampling replaces them.
- One optimizer step per batch of rollouts by default (`num_minibatches`, `num_iterations`): no
  ratio leaves 1, and nothing is clipped.
- Added: sampling is from a copy of the weights in a dtype of its own, and the log has the
  difference of its log-probabilities from those of the update.

conf/objective names the variants, `rl.objectives` holds their formulas, and `rl.policy_trainer`
runs the loop of TRL's trainer.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from ratiocine import cli, cost, devices, models, rendering
from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.plotting import training_curves
from ratiocine.progress import progress
from ratiocine.runs import Run, check_writable, lineage, open_run, tracking
from rl.config import Config, inputs
from rl.metrics import Row
from rl.preparation import PreparedProblems, prepare, test_split
from rl.rollouts import Rollouts, Step

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

    from ratiocine.training import Session
    from rl.policy import Policy, VLLMPolicy
    from rl.policy_trainer import PolicyTrainer
    from rl.training_log import TrainingLog
    from rl.val_accuracy import ValidationAccuracy

LOGS = ("metrics.jsonl", "completions.jsonl", "val_accuracy.jsonl")


def train(config: Config) -> Run:
    """Train one student; writes `model/`, the logs, `curves.svg` and the manifest."""
    devices.prepare_process(config.threads)
    prepared = prepare(config)
    run = open_run("rl", config, inputs(config), config.resume_overrides)
    if run.finished:
        print(f"{run.out} is finished")
        return run
    folder = models.locate(config.model)
    if folder is None and config.engine.name == "vllm":
        raise BadInput(f"engine=vllm needs a model folder; model={config.model.name} has none")
    size = sum(f.stat().st_size for f in folder.rglob("*")) if folder else 1_000_000
    # A checkpoint has weights and two optimizer states in float32; one more than is kept exists
    # while it is written.
    checkpoints = 1 if config.lora else 6 * (config.save_total_limit + 1) + 2
    check_writable(run.out, checkpoints * size + 10_000_000)
    _fit(run, config, prepared)
    return run


def _fit(run: Run, config: Config, prepared: PreparedProblems) -> None:
    # TRL's sampler, which asks for other versions, is not used.
    warnings.filterwarnings("ignore", "TRL currently supports vLLM versions")
    session, policy = _open(run, config, prepared)
    # Imported late: TRL takes seconds, and errors in the configuration should not wait for it.
    from ratiocine.training import Checkpoints
    from rl.training_log import TrainingLog
    from rl.val_accuracy import ValidationAccuracy

    done = session.steps_done // config.optimizer_steps
    measured = None if session.checkpoint is None else done
    validation = ValidationAccuracy(config, prepared, policy, run.out, run.shared, measured)
    with progress(config.max_steps, f"rl {config.reward.name}", "steps") as bar:
        shape = cost.Shape.of(session.model.config)
        log = TrainingLog(
            config, run.out, run.shared, bar, session.tracker, validation, shape, done
        )
        checkpoints = Checkpoints(
            session.folder, config.save_total_limit, every=config.optimizer_steps
        )
        trainer = _trainer(config, prepared, session, policy, [log, checkpoints], log)

        def measure_base() -> None:
            if validation.requests:
                session.tracker.log(0, validation.measure(session.model, 0))

        trial_step = lambda: trainer.trial_step(prepared.max_prompt_tokens)  # noqa: E731
        session.fit(trainer, checkpoints, trial_step, measure_base)
    dtype, change = devices.dtype_name(policy.dtype), validation.change()

    def save(student: PreTrainedModel) -> Row:
        _save(run, config, prepared, student, log.rows, validation)
        return {**_facts(config, prepared, log, validation), "rollout_dtype": dtype}

    session.finish(trainer, save)
    if change:
        print(change)
    seconds = log.rows[-1]["seconds"]
    print(f"trained {len(log.rows)} steps in {seconds:.0f} s: {run.out / 'model'}")
    model = cli.quoted(str(run.out / "model"))
    cli.print_next("eval", f"model={model}", *test_split(config.data))


def _open(
    run: Run, config: Config, prepared: PreparedProblems
) -> tuple[Session, Policy | VLLMPolicy]:
    """The model in training, and what samples from it. Raises BadInput where both do not fit into
    memory."""
    from ratiocine.training import checkpoint_folder, open_session, resolve_compute
    from rl.memory_checks import check_run, largest_micro_batch
    from rl.policy import Policy, VLLMPolicy
    from rl.trl_arguments import arguments

    folder = checkpoint_folder(run)
    largest = partial(largest_micro_batch, config, prepared)
    compute = resolve_compute(config, folder, largest_micro_batch=largest)
    print(f"memory: {check_run(config, prepared, compute)}", flush=True)
    policy: Policy | VLLMPolicy | None = None
    if config.engine.name == "transformers":  # before ZeRO-3 is set up
        policy = Policy(config, compute.device, prepared.tokenizer)
    session = open_session(
        run,
        config,
        compute,
        arguments=lambda: arguments(config, compute, folder),
        about=lambda size: _about(run, config, size),
    )
    policy = policy or VLLMPolicy(config, compute.device, prepared)
    _save_base(session.model, folder)
    session.model.generation_config.eos_token_id = list(prepared.stop_ids)
    return session, policy


def _trainer(
    config: Config,
    prepared: PreparedProblems,
    session: Session,
    policy: Policy | VLLMPolicy,
    callbacks: Sequence[TrainerCallback],
    log: TrainingLog,
) -> PolicyTrainer:
    """The trainer, each step of which samples from its own weights."""
    from ratiocine.training import wsd
    from rl.policy_trainer import PolicyTrainer

    rates = wsd(config.max_steps, config.lr, config.warmup, config.decay)

    def sample(number: int) -> Step:
        policy.refresh(trainer.accelerator.unwrap_model(trainer.model))
        log.rollouts = rollouts.step(number)
        if number == 0:
            check_truncation(config, log.rollouts)
        return log.rollouts

    trainer = log.trainer = PolicyTrainer(
        config,
        session.arguments,
        session.model,
        prepared.tokenizer,
        session.compute,
        sample,
        lambda step: rates[min(step // config.optimizer_steps, len(rates) - 1)],
        callbacks,
    )
    rollouts = Rollouts(
        config, prepared.problems, prepared.tokenizer, policy.generate, prepared.thinking
    )
    return trainer


def check_truncation(config: Config, step: Step) -> None:
    """Warn where half of a step's answers were truncated; raise BadInput where all were, as rewards
    then say nothing but that."""
    rollouts = [rollout for group in step.groups for rollout in group.rollouts]
    truncated = sum(not rollout.finished for rollout in rollouts)
    if truncated == len(rollouts):
        raise BadInput(
            f"max_new_tokens={config.tokens} truncated all {truncated} answers of the first step "
            "(100 %); give more tokens, or start from a student that ends its turns"
        )
    if 2 * truncated >= len(rollouts):
        print(
            f"warning: max_new_tokens={config.tokens} truncated {truncated} of the first step's "
            f"{len(rollouts)} answers: they count as wrong"
        )


def _save_base(model: PreTrainedModel, folder: Path) -> None:
    """Save a model that has no folder: TRL loads the reference policy from there."""
    from ratiocine.training import gathered_parameters

    name = model.config._name_or_path
    if not name or not Path(name).is_dir():
        with gathered_parameters(list(model.parameters())):
            if distributed.is_first():
                model.save_pretrained(folder / "start")
        distributed.barrier()
        model.config._name_or_path = str(folder / "start")


def _save(
    run: Run,
    config: Config,
    prepared: PreparedProblems,
    student: PreTrainedModel,
    rows: Sequence[Row],
    validation: ValidationAccuracy,
) -> None:
    """Write the student, and the logs and curves of its training."""
    for name in LOGS:
        if (run.out / name).exists():
            with run.writing(name) as path:
                shutil.copyfile(run.out / name, path)
    with run.writing("curves.svg") as path:
        accuracies = [asdict(row) for row in validation.rows]
        path.write_text(training_curves(rows, accuracies), encoding="utf-8")
    with run.writing("model") as path:
        rendering = _rendering(config, prepared)
        models.save_student(student, prepared.tokenizer, path, rendering, [_license(config)])


def _license(config: Config) -> str | None:
    return models.license_of(config.model.license, config.model.path)


def _facts(
    config: Config, prepared: PreparedProblems, log: TrainingLog, validation: ValidationAccuracy
) -> Row:
    """For the manifest."""
    last, change = log.rows[-1], validation.change()
    return {
        "lr": config.lr,
        "steps": len(log.rows),
        "tokens": last["tokens"],
        "seconds": last["seconds"],
        "train_flops": last["flops_paper"],
        "train_flops_exact": last["flops"],
        "problems": len(prepared.problems),
        "val_accuracy": None if change is None else asdict(change),
        "alarms": [*log.alarms.raised.values()],
        "thinking": prepared.thinking,
        "license": _license(config),
        "group": example_group(log.folder / "completions.jsonl"),
    }


def example_group(completions: Path) -> list[Row]:
    """A group of answers for display: the last with both right and wrong ones, else the last."""
    mixed, last = list[Row](), list[Row]()
    with open(completions, encoding="utf-8") as file:
        for _, rows in groupby(
            map(json.loads, file), key=lambda row: (row["step"], row["source"], row["id"])
        ):
            last = list(rows)
            mixed = last if len({row["right"] for row in last}) > 1 else mixed
    return mixed or last


def _rendering(config: Config, prepared: PreparedProblems) -> rendering.TrainedFormat | None:
    """The rendering that the student keeps: its parent's, with the chat template and formats of
    this training."""
    folder = models.locate(config.model)
    parent = None if folder is None else rendering.read_format(folder)
    if parent is None:
        return None
    rendered = rendering.Rendering(prepared.tokenizer, parent.form)
    if prepared.thinking is None:
        return rendered.record(parent.taught)
    return rendered.record(["reasoning" if prepared.thinking else "ift"])


def _about(run: Run, config: Config, size: int) -> tracking.TrackedRun:
    """The run as a tracker shows it."""
    model = config.model
    parent = lineage.group_keys("rl", model.name, model.path, lineage.student(model.path))
    by = replace(parent, size=size, seed=config.seed, reward=config.reward.name)
    settings = {
        **config.model_dump(),
        "inputs": dict(run.inputs),
        "reward_terms": config.reward.model_dump()["terms"],
        "objective_name": config.objective.name,
    }
    group = f"{by.model_name} {config.reward.name}"
    title = f"{by.model_name} {config.objective.name} {config.reward.name} seed={config.seed}"
    return tracking.TrackedRun(run.hash, title, group, by, settings)
