"""python -m bench.memory: peak memory of training on a CPU, estimated and measured.

Each case runs `train` in a process of its own. Measured are the bytes of live tensors by torch's
allocator profile, from the loaded, idle model to the peak of the steps: the counterpart of
`torch.cuda.max_memory_allocated`. For larger models the growth of the resident set is given too; it
includes what libraries allocate (weights repacked for a matmul) and what the C allocator retains of
freed memory, which no estimate from shapes can predict.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

from bench.harness import in_process, print_result, run_verb
from ratiocine import cli

if TYPE_CHECKING:
    from torch.profiler import profile

CASES = {
    "tiny": [
        "micro_batch_size=4",
        "micro_batch_size=8 lora=true",
        "micro_batch_size=1 max_length=200",
        "micro_batch_size=16",
        "micro_batch_size=4 precision=bfloat16",
        "micro_batch_size=4 precision=bfloat16 lora=true",
        "micro_batch_size=8 gradient_checkpointing=true",
        "micro_batch_size=4 gradient_checkpointing=true lora=true",
        "micro_batch_size=4 attention=sdpa",
        "micro_batch_size=4 attention=sdpa padding_free=true precision=bfloat16",
    ],
    "smollm2-135m": [
        "micro_batch_size=2",
        "micro_batch_size=4 lora=true",
        "micro_batch_size=4 precision=bfloat16",
        "micro_batch_size=4 precision=bfloat16 lora=true",
        "micro_batch_size=16 max_length=100 attention=sdpa",
        "micro_batch_size=1 gradient_checkpointing=true",
        "micro_batch_size=4 gradient_checkpointing=true lora=true precision=bfloat16",
    ],
}


@dataclass(frozen=True)
class Measured:
    """Bytes beyond the loaded, idle model."""

    estimate: int
    measured: int


class ResidentSet:
    """Growth of this process's resident set between `start` and `stop`, sampled every 10 ms."""

    def __init__(self) -> None:
        import psutil

        self.process = psutil.Process()
        self.stopped = threading.Event()
        self.before = self.peak = 0

    def start(self, model: Any) -> None:
        for weight in model.parameters():  # reads weights that are mapped from a file
            weight.detach().sum()
        self.before = self.process.memory_info().rss
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while not self.stopped.wait(0.01):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def stop(self) -> int:
        self.stopped.set()
        return self.peak - self.before


class LiveTensors:
    """Peak bytes of tensors allocated between `start` and `stop`."""

    def __init__(self) -> None:
        from torch.profiler import ProfilerActivity, profile

        self.profile: profile = profile(
            activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True
        )

    def start(self, model: Any) -> None:
        self.profile.start()

    def stop(self) -> int:
        self.profile.stop()
        live = peak = 0
        assert self.profile.profiler is not None
        results: Any = self.profile.profiler.kineto_results
        for event in sorted(results.events(), key=lambda event: event.start_ns()):
            if event.name() == "[memory]":
                live += event.nbytes()
                peak = max(peak, live)
        return peak


def measure(overrides: Sequence[str], *, resident: bool = False) -> Measured:
    """Memory of `python -m train` in this process; of the resident set with `resident`."""
    from ratiocine import cli, memory
    from ratiocine.training import session
    from train import micro_batch, sft
    from train.config import Config
    from train.ratio_trainer import RatioTrainer

    meter = ResidentSet() if resident else LiveTensors()
    check_memory, load = memory.check_memory, session.load_trainable
    fit = RatioTrainer.train
    estimate = weights = measured = 0

    def checked(*args: Any, **kwargs: Any) -> Any:
        nonlocal estimate
        need = check_memory(*args, **kwargs)
        estimate = need.total
        return need

    def loaded(*args: Any, **kwargs: Any) -> Any:
        nonlocal weights
        model = load(*args, **kwargs)
        weights = sum(weight.nbytes for weight in model.parameters())
        gc.collect()  # what is freed later would offset what is allocated
        meter.start(model)
        return model

    def trained(self: RatioTrainer, *args: Any, **kwargs: Any) -> Any:
        nonlocal measured
        output = fit(self, *args, **kwargs)
        measured = meter.stop()
        return output

    with (
        mock.patch.object(micro_batch, "check_memory", checked),
        mock.patch.object(session, "load_trainable", loaded),
        mock.patch.object(RatioTrainer, "train", trained),
        contextlib.redirect_stdout(None),
    ):
        sft.train(cli.compose("train", Config, list(overrides)))
    return Measured(estimate - weights, measured)


def main() -> None:
    parser = cli.argument_parser("bench.memory", __doc__)
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    ratios: dict[str, float] = {}
    resident_ratios: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = ("teacher=oracle", "data=demo", "limit=20", "model=tiny")
        run_verb("distill", *data, f"out={folder}/pairs")
        cases = [(model, case) for model in options.models for case in CASES[model]]
        for number, (model, case) in enumerate(cases):
            overrides = [
                "ratio=0.5",
                f"model={model}",
                f"pairs={folder}/pairs",
                "batch_size=16",
                "max_steps=2",
                "device=cpu",
                "threads=1",
                "lr=1e-5",
                *case.split(),
                *([] if "precision" in case else ["precision=float32"]),
            ]
            name = f"{model} {case}"
            tensors = in_process(measure, [*overrides, f"out={folder}/{number}"])
            ratios[name] = round(tensors.estimate / tensors.measured, 3)
            line = (
                f"{name}: estimate {tensors.estimate / 1e6:.1f} MB, "
                f"tensors {tensors.measured / 1e6:.1f} ({ratios[name] - 1:+.1%})"
            )
            if model != "tiny":  # its resident set is mostly libraries
                out = f"out={folder}/{number}-resident"
                growth = in_process(measure, [*overrides, out], resident=True).measured
                resident_ratios[name] = round(tensors.estimate / growth, 3)
                line += f", resident {growth / 1e6:.1f} ({resident_ratios[name] - 1:+.1%})"
            print(line, flush=True)
    worst = max(ratios, key=lambda name: abs(ratios[name] - 1))
    print_result(
        {
            "what": "training memory beyond the loaded model on a CPU: estimate over measured",
            "cases": len(ratios),
            "worst": [worst, ratios[worst]],
            "spread": [min(ratios.values()), max(ratios.values())],
            "ratios": ratios,
            "over_resident_set": resident_ratios,
        }
    )


if __name__ == "__main__":
    main()
