"""Checks of `train`: what it computes, what it saves, what it needs."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from bench.gpu_check.rows import Check, Skipped, expect
from bench.gpu_check.workbench import (
    FULL,
    TrainRun,
    Workbench,
    largest_difference,
    single_rank,
    wait_for,
)

SAME_ON_GPU = 0.05  # relative difference of losses between kernels or shardings, in bfloat16
SAME_ON_CPU = 1e-3  # the same in float32
RESUMED_ON_GPU = 0.02  # kernels that add atomically differ from run to run
MEMORY = 0.15  # relative error of the memory estimate


def _check_training(bench: Workbench, run: TrainRun) -> None:
    bench.note_training(run)
    expect(run.losses[-1] < run.losses[0], "the loss did not fall")
    if bench.machine.gpu:
        expect(str(run.facts["device"]).startswith("cuda"), f"ran on {run.facts['device']}")
        expect(run.facts["precision"] == "bfloat16", f"computed in {run.facts['precision']}")


def _same_losses(bench: Workbench, run: TrainRun, other: TrainRun) -> None:
    limit = SAME_ON_GPU if bench.machine.gpu else SAME_ON_CPU
    difference = largest_difference(run.losses, other.losses)
    bench.note(largest_difference=difference)
    expect(difference <= limit, f"losses differ by {difference:.2g} from those of {other.name}")


def full(bench: Workbench) -> None:
    _check_training(bench, bench.full())


def lora(bench: Workbench) -> None:
    _check_training(bench, bench.train("sft-lora", "lora=true"))


def large(bench: Workbench) -> None:
    run = bench.train("sft-large", "gradient_checkpointing=true", model=bench.size.large)
    _check_training(bench, run)


def qlora(bench: Workbench) -> None:
    words = ("lora=true", "load_in_4bit=true")
    _check_training(bench, bench.train("qlora", *words, forked=False))


def padding_free(bench: Workbench) -> None:
    """The run with padding against the one without, one of which is the default."""
    default = bench.full()
    other = not default.facts["padding_free"]
    run = bench.train("padding-free" if other else "padded", f"padding_free={str(other).lower()}")
    for one in (default, run):
        kind = "padding_free" if one.facts["padding_free"] else "padded"
        bench.note(**{f"{kind}_tokens_per_second": one.rate(bench.size.warm)[0]})
    bench.note(attention=run.facts["attention"])
    _same_losses(bench, run, default)


def resume(bench: Workbench) -> None:
    """SIGKILL after a checkpoint; the resumed run has the losses of the uninterrupted one."""
    whole, out = bench.full(), bench.folder / "resumed"
    words = (*bench.overrides("save_steps=2"), f"out={out}")
    process = bench.start("train", *words)
    checkpoints = out / "checkpoints"
    saved = lambda: any(f.name.isdigit() for f in checkpoints.glob("*"))  # noqa: E731
    wait_for(saved, process, bench.deadline, "a checkpoint")
    process.kill()
    expect(not (out / "DONE").exists(), "the run finished before it was killed")
    process = bench.run("train", *words)
    run = bench.finished("resumed", out, process)
    resumed = "resuming from the checkpoint of step " in process.log.read_text(encoding="utf-8")
    expect(resumed, "the second run did not resume")
    difference = largest_difference(run.losses, whole.losses)
    bench.note(largest_difference=difference, identical=run.losses == whole.losses)
    limit = RESUMED_ON_GPU if bench.machine.gpu else 0.0
    expect(difference <= limit, f"losses differ by {difference:.2g} from the uninterrupted run")


def memory(bench: Workbench) -> None:
    """The estimate of every training against its measured peak."""
    runs = [run for run in bench.made.values() if isinstance(run, TrainRun)]
    if not runs:
        raise Skipped("no training ran")
    errors = {run.name: run.estimate_gb / run.peak_gb - 1 for run in runs}
    for run in runs:
        bench.note(**{f"{run.name}_peak_gb": run.peak_gb, f"{run.name}_error": errors[run.name]})
    if not bench.machine.gpu:
        raise Skipped("the peak of a process on a CPU is its resident set: python -m bench.memory")
    worst = max(errors, key=lambda name: abs(errors[name]))
    expect(abs(errors[worst]) <= MEMORY, f"the estimate of {worst} is off by {errors[worst]:+.0%}")


def _zero(bench: Workbench, stage: str) -> None:
    environment = single_rank()
    if not bench.machine.gpu:
        environment["DS_ACCELERATOR"] = "cpu"
    run = bench.train(stage, f"deepspeed={stage}", environment=environment)
    bench.note_training(run)
    _same_losses(bench, run, bench.full())


def zero2(bench: Workbench) -> None:
    _zero(bench, "zero2")


def zero3(bench: Workbench) -> None:
    _zero(bench, "zero3")


def _peer(bench: Workbench, name: str, *more: str) -> float:
    """Tokens per second of TRL, by the median step."""
    out = bench.folder / f"{name}.json"
    bench.run("bench.gpu_check.peer", str(out), *more, *bench.overrides())
    found = json.loads(Path(out).read_text(encoding="utf-8"))
    bench.note(trl_peak_gb=found["peak_gb"])
    steps = zip(found["tokens"], found["seconds"], strict=True)
    return statistics.median([t / s for t, s in steps][bench.size.warm :])


def throughput(bench: Workbench) -> None:
    ours, peer = [], []
    for turn in (1, 2):
        peer.append(_peer(bench, f"trl-{turn}"))
        ours.append(bench.train(f"ours-{turn}").rate(bench.size.warm)[0])
    ratios = [a / b for a, b in zip(ours, peer, strict=True)]
    bench.note(
        ours_tokens_per_second=statistics.median(ours),
        trl_tokens_per_second=statistics.median(peer),
        ratio=statistics.median(ratios),
        ratio_low=min(ratios),
        ratio_high=max(ratios),
    )
    if bench.machine.gpu and bench.size is FULL:  # tiny steps on shared cores time the load
        expect(statistics.median(ratios) >= 0.9, "slower than TRL by more than a tenth")


def liger(bench: Workbench) -> None:
    peer = _peer(bench, "trl-liger", "--liger")
    ours = bench.full().rate(bench.size.warm)[0]
    bench.note(ours_tokens_per_second=ours, trl_tokens_per_second=peer, ratio=ours / peer)


CHECKS = (
    Check("sft-full", "train, all weights", "the loss falls; bfloat16 on a GPU", 120, full),
    Check("sft-lora", "train, LoRA", "the loss falls; bfloat16 on a GPU", 90, lora),
    Check(
        "padding-free",
        "Padding-free batches against padded ones",
        f"losses within {SAME_ON_GPU:.0%} at every step ({SAME_ON_CPU:.1%} on a CPU)",
        90,
        padding_free,
    ),
    Check(
        "resume",
        "SIGKILL after a checkpoint, then the same command",
        f"losses of the uninterrupted run within {RESUMED_ON_GPU:.0%}; equal on a CPU",
        120,
        resume,
    ),
    Check("sft-large", "train, all weights of the larger model", "the loss falls", 120, large),
)
PEER_CHECKS = (
    Check(
        "throughput-trl",
        "Tokens per second of train and of TRL's SFTTrainer with its settings, in turns",
        "at least 0.9 times TRL's on a GPU; none if tiny",
        180,
        throughput,
        ("trl",),
    ),
)
OPTIONAL_CHECKS = (
    Check("zero2", "DeepSpeed ZeRO-2, one rank", "losses of sft-full", 90, zero2, ("deepspeed",)),
    Check("zero3", "DeepSpeed ZeRO-3, one rank", "losses of sft-full", 90, zero3, ("deepspeed",)),
    Check("qlora", "train, LoRA on 4-bit weights", "the loss falls", 90, qlora, ("bitsandbytes",)),
    Check(
        "trl-liger",
        "Tokens per second against TRL with Liger kernels",
        "none; a measurement",
        90,
        liger,
        ("trl", "liger_kernel"),
    ),
)
LAST_CHECKS = (
    Check(
        "memory",
        "Estimated against measured peak memory of all trainings",
        f"within {MEMORY:.0%} on a GPU",
        10,
        memory,
        only_reads=True,
    ),
)
