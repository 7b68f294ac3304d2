"""Estimates of memory and communication against measurements, here and published."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import ROOT, reshaped, tiny_gemma
from test_ranks import BIN, free_port
from transformers import LlamaConfig, LlamaForCausalLM

from bench.harness import in_process
from bench.memory import Measured, measure
from launch.memory import main as tables
from launch.memory import shape_and_counts
from ratiocine import memory, models
from ratiocine.cost import Shape
from ratiocine.errors import BadInput
from ratiocine.memory import (
    ActivationSettings,
    MemoryEstimate,
    MicroBatchShape,
    ParameterCounts,
    ShardingPlan,
    activations,
    check_memory,
    communication_volume,
    count_parameters,
    estimate,
    largest_fitting,
    model_states,
)
from ratiocine.memory.checks import SHARE
from ratiocine.models import QWEN, ModelConfig
from ratiocine.training import Compute, DeepSpeedConfig
from train.config import Config
from train.scenario import ScenarioConfig, StageConfig

TINY = ModelConfig(name="tiny", kind="tiny")
MIXED = ScenarioConfig(name="mixed", stages=[StageConfig()])
CPU = Compute(torch.device("cpu"), torch.float32, "eager", False, 4)
CUDA = Compute(torch.device("cuda"), torch.bfloat16, "flash_attention_2", False, 4)


def config(**keys) -> Config:
    return Config(**{"model": TINY, "scenario": MIXED, "ratio": 0.5, "pairs": None, **keys})


def ratio(
    pairs: Path, out: Path, *words: str, measure: Callable[[list[str]], Measured] = measure
) -> float:
    """Estimated to measured increase over the loaded model."""
    found = measure(
        [
            "ratio=0.5",
            f"pairs={pairs}",
            "batch_size=16",
            "max_steps=2",
            "device=cpu",
            "threads=1",
            "lr=1e-5",
            f"out={out}",
            *words,
        ]
    )
    return found.estimate / found.measured


@pytest.mark.parametrize(
    "words",
    [
        "micro_batch_size=4 precision=float32",
        "micro_batch_size=8 precision=bfloat16 lora=true lora_rank=4",
        *(
            pytest.param(words, marks=pytest.mark.slow)
            for words in (
                "micro_batch_size=16 precision=float32 lora=true",
                "micro_batch_size=4 precision=bfloat16",
                "micro_batch_size=4 precision=float32 gradient_checkpointing=true",
                "micro_batch_size=8 precision=float32 attention=sdpa",
                "micro_batch_size=4 precision=float32 padding_free=true lora=true "
                "lora_targets=[q_proj,v_proj]",
            )
        ),
    ],
)
def test_the_estimate_is_what_a_run_of_the_tiny_model_needs(
    words: str, pairs: Path, tmp_path: Path
) -> None:
    assert ratio(pairs, tmp_path / "run", "model=tiny", *words.split()) == pytest.approx(
        1, abs=0.15
    )


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize(
    "words",
    ["micro_batch_size=2", "micro_batch_size=4 lora=true", "micro_batch_size=4 precision=bfloat16"],
)
def test_the_estimate_is_what_a_run_of_smollm2_needs(
    words: str, pairs: Path, tmp_path: Path
) -> None:
    precision = [] if "precision" in words else ["precision=float32"]
    found = ratio(
        pairs,
        tmp_path / "run",
        "model=smollm2-135m",
        *words.split(),
        *precision,
        measure=partial(in_process, measure),
    )
    assert found == pytest.approx(1, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("words", ["", "lora=true"])
def test_the_estimate_is_what_a_gemma_with_a_large_vocabulary_needs(
    words: str, pairs: Path, tmp_path: Path
) -> None:
    """Norms after each sublayer too, one key-value head, tied embeddings, sliding attention."""
    model = tiny_gemma(vocab_size=8192, hidden_size=64, intermediate_size=160)
    models.save_student(model, models.load_tokenizer(TINY), tmp_path / "model", None)
    found = ratio(
        pairs,
        tmp_path / "run",
        f"model={tmp_path / 'model'}",
        "micro_batch_size=4",
        "precision=float32",
        *words.split(),
    )
    assert found == pytest.approx(1, abs=0.15)


def test_full_sharding_holds_its_share_and_the_layer_that_is_gathered() -> None:
    """Of all states 1/N; nothing else depends on N."""
    shape, counts = shape_and_counts("qwen2.5-7b", 0)
    assert counts.all == 7_615_616_512 and counts.layer == max(233_057_792, 152064 * 3584)
    for gpus in (2, 4, 8):
        need = estimate(
            shape,
            counts,
            config(gradient_checkpointing=True),
            CUDA,
            MicroBatchShape(1, 4096, 4096),
            ShardingPlan("fsdp", gpus),
        )
        assert need.states - need.buffers == pytest.approx(16 * counts.all / gpus, rel=1e-6)
        assert need.buffers == 3 * 4 * counts.layer
    one, two, three = (
        model_states(100, 100, ShardingPlan(stage, 4)).total
        for stage in ("zero1", "zero2", "zero3")
    )
    assert (one, two, three) == (400 + 400 + 200, 400 + 100 + 200, 400)
    assert (
        model_states(100, 100, ShardingPlan("none", 4))
        == model_states(100, 100)
        == model_states(100, 100, ShardingPlan("zero3", 1))
    )
    frozen = model_states(100, 10, ShardingPlan("zero2", 2))
    assert (frozen.weights, frozen.gradients, frozen.optimizer) == (400, 20, 40)


def test_distributed_data_parallel_keeps_gradients_twice() -> None:
    one, two = (
        memory.estimate_run(config(), CPU, [MicroBatchShape(4, 100, 200)], ShardingPlan("none", n))
        for n in (1, 2)
    )
    assert two.total - one.total == two.buffers == one.gradients


def test_the_published_counts() -> None:
    """As the hub tells of Qwen/Qwen2.5-0.5B … 14B."""
    sizes = [494_032_768, 1_543_714_304, 3_085_938_688, 7_615_616_512, 14_770_033_664]
    assert [shape_and_counts(name, 0)[1].all for name in QWEN] == sizes


@pytest.mark.parametrize(
    ("stage", "gb"), [("none", 120), ("zero1", 31.4), ("zero2", 16.6), ("zero3", 1.9)]
)
def test_the_model_states_of_the_zero_paper(stage: str, gb: float) -> None:
    """ZeRO (Rajbhandari et al. 2020, arXiv 1910.02054), figure 1: 7.5 billion parameters, 64 GPUs,
    K = 12: float16 weights and gradients, float32 master weights and optimizer states."""
    found = model_states(
        7.5e9, 7.5e9, ShardingPlan(stage, 64), weight=2, gradient=2, optimizer=8, master=4
    )
    assert found.total / 1e9 == pytest.approx(gb, rel=0.02)


QWEN_1 = {
    "7B": (
        LlamaConfig(
            hidden_size=4096,
            intermediate_size=11008,
            num_hidden_layers=32,
            num_attention_heads=32,
            vocab_size=151936,
            num_key_value_heads=32,
            tie_word_embeddings=False,
        ),
        7.72e9,
        {256: 20.1, 512: 20.4, 1024: 21.5, 2048: 23.8, 4096: 29.7, 8192: 36.6},
    ),
    "14B": (
        LlamaConfig(
            hidden_size=5120,
            intermediate_size=13696,
            num_hidden_layers=40,
            num_attention_heads=40,
            vocab_size=152064,
            num_key_value_heads=40,
            tie_word_embeddings=False,
        ),
        14.17e9,
        {256: 34.6, 512: 35.1, 1024: 35.3, 2048: 37.4, 4096: 42.5, 8192: 55.2},
    ),
}


@cache
def qwen_counts(size: str) -> tuple[Shape, ParameterCounts]:
    with torch.device("meta"):
        model = LlamaForCausalLM(QWEN_1[size][0])
    return Shape.of(model.config), count_parameters(model, 64)


def qwen_lora(size: str, length: int) -> float:
    """GB for Qwen's own script: bfloat16 weights, adapters of rank 64 on every linear layer but the
    head with float32 states, checkpointing, flash attention, one row. Its loss keeps a logit in
    bfloat16 and in float32, its log-probability and a gradient: 14 bytes."""
    shape, counts = qwen_counts(size)
    held = (
        model_states(counts.all, 0, weight=2).total
        + model_states(counts.trained, counts.trained).total
    )
    how = ActivationSettings(
        "flash_attention_2",
        bf16=True,
        checkpointing=True,
        residual_bytes=2,
        logit_bytes=14,
        loss_chunk=0,
    )
    return (held + activations(shape, counts, MicroBatchShape(1, length, length), how)) / 1e9


@pytest.mark.parametrize("size", list(QWEN_1))
def test_adapters_for_qwen_as_its_authors_measured(size: str) -> None:
    """github.com/QwenLM/Qwen, README.md, "Profiling of Memory and Speed": LoRA, one A100-80GB,
    batch size 1, accumulation of 8, flash attention 2; the settings are those of
    finetune/finetune_lora_single_gpu.sh and finetune.py. The published figures hold the CUDA
    context as well, which the estimate does not."""
    _, parameters, figures = QWEN_1[size]
    assert qwen_counts(size)[1].all == pytest.approx(parameters, rel=0.01)
    for length, published in figures.items():
        assert qwen_lora(size, length) == pytest.approx(published, rel=0.2), length


def refused(
    monkeypatch: pytest.MonkeyPatch, free: float, compute: Compute = CPU, rows: int = 4, **keys
) -> str:
    monkeypatch.setattr("ratiocine.memory.checks.free_memory", lambda device: round(free))
    one = MicroBatchShape(rows, 512, rows * 256)
    with pytest.raises(BadInput) as error:
        check_memory(config(**keys), replace(compute, micro_batch_size=rows), [one], "max_length")
    return str(error.value)


def test_advice_is_what_makes_it_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followed to the letter each piece does, and what would not is not said."""
    whole = memory.estimate_run(config(), CPU, [MicroBatchShape(4, 512, 1024)])
    said = refused(monkeypatch, 0.9 * whole.total)
    assert re.search(
        r"will not fit: it needs about [\d.]+ MB: .* \(4 rows of 512 tokens\), and .* MB are "
        r"free; try ",
        said,
    )
    assert "gradient_checkpointing=true" in said and "micro_batch_size=1" in said
    assert "lora=true" not in said, (
        "adapters save a megabyte here, and the scores of attention are too large"
    )
    again = memory.estimate_run(
        config(gradient_checkpointing=True),
        CPU,
        [MicroBatchShape(4, 512, 1024)],
    )
    assert again.total <= 0.9 * whole.total
    length = int(re.search(r"rows of at most (\d+) tokens \(max_length\)", said)[1])
    assert (
        memory.estimate_run(config(), CPU, [MicroBatchShape(4, length, 1024)]).total
        <= 0.9 * whole.total
    )
    both = refused(monkeypatch, 0.25 * whole.total)
    assert "try gradient_checkpointing=true with micro_batch_size=1, or rows of at most" in both
    assert refused(monkeypatch, 1).endswith("try a smaller model")


def test_advice_for_several_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    shape, counts = shape_and_counts("qwen2.5-7b", 0)
    monkeypatch.setattr(
        "ratiocine.memory.estimates.shape_and_counts",
        lambda c: shape_and_counts("qwen2.5-7b", c.lora_rank if c.lora else 0),
    )
    said = refused(monkeypatch, 75 * 2**30, CUDA, rows=1, gradient_checkpointing=True)
    assert "try deepspeed=zero3 across 4 GPUs, or lora=true" in said
    again, one = config(gradient_checkpointing=True), MicroBatchShape(1, 512, 256)
    two, four = (
        estimate(shape, counts, again, CUDA, one, ShardingPlan("zero3", n)).total for n in (2, 4)
    )
    assert four <= 75 * 2**30 < two
    said = refused(monkeypatch, 20 * 2**30, CUDA, rows=1, gradient_checkpointing=True, lora=True)
    assert "load_in_4bit=true" in said and "gradient_checkpointing" not in said


def test_the_line_that_is_printed() -> None:
    gb = 2**30
    need = MemoryEstimate(gb, gb // 2, gb, 0, 0, gb, 4, 512)
    assert (
        str(need) == "about 3.5 GB: 1 of weights, 0.5 of gradients, 1 of optimizer states, "
        "1 of activations and temporaries (4 rows of 512 tokens)"
    )
    small = MemoryEstimate(3 * 2**20, 0, 0, 0, 0, 2**19, 1, 8)
    assert str(small) == (
        "about 3.5 MB: 3 of weights, 0.5 of activations and temporaries (1 row of 8 tokens)"
    )
    over = MemoryEstimate(
        gb, gb // 2, gb, gb, gb, gb, 1, 512, ShardingPlan("zero2", 8), "bfloat16", gb
    )
    assert str(over) == (
        "about 6.5 GB per GPU, across 8 with zero2: 1 of weights, 0.5 of gradients, 1 of optimizer "
        "states, 1 of communication buffers, 1 of copies in bfloat16, 1 of activations and "
        "temporaries, 1 of cached rollouts (1 row of 512 tokens)"
    )


def test_rollouts_count_where_they_are_more_than_the_update() -> None:
    update = memory.estimate_run(config(), CPU, [MicroBatchShape(1, 64, 32)])
    few, many = (
        memory.estimate_run(
            config(), CPU, [MicroBatchShape(1, 64, 32)], rollouts=memory.RolloutMemory(1, n)
        )
        for n in (64, 10**6)
    )
    assert few.total == update.total + 4 * 107_072 and few.cache == 0
    assert many.total == few.weights + few.optimizer + 10**6 * 4 * 2 * 2 * 2 * 16


def sends(pairs: Path, out: Path, *words: str, **environment: str) -> list[float]:
    """Bytes that the first of two ranks sent in each step after the first."""
    file = out.parent / f"{out.name}.json"
    run = subprocess.run(
        [
            str(BIN / "torchrun"),
            "--nproc_per_node",
            "2",
            "--master_port",
            str(free_port()),
            "tests/socket_bytes.py",
            str(file),
            "train",
            "ratio=0.5",
            f"pairs={pairs}",
            "batch_size=16",
            "micro_batch_size=4",
            "max_steps=3",
            "precision=float32",
            "device=cpu",
            "lr=1e-4",
            f"out={out}",
            *words,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "DS_ACCELERATOR": "cpu",
            "CUDA_VISIBLE_DEVICES": "",
            **environment,
        },
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    steps = json.loads(file.read_text())
    return [
        b["written"] - a["written"] - (b["scattered"] - a["scattered"]) / 2
        for a, b in pairwise(steps)
    ]


H100 = Compute(torch.device("cuda"), torch.bfloat16, "sdpa", False, 8)
LORA = {"lora": True}


@pytest.mark.parametrize(
    ("model", "keys", "compute", "sharding", "gb"),
    [
        ("qwen2.5-0.5b", {}, H100, "none", 23.04),
        ("qwen2.5-0.5b", LORA, H100, "none", 16.69),
        ("qwen2.5-1.5b", {"gradient_checkpointing": True}, H100, "none", 29.76),
        # DeepSpeed computed in float32 then.
        ("qwen2.5-0.5b", {}, replace(H100, dtype=torch.float32), "zero2", 33.17),
        ("qwen2.5-0.5b", {}, replace(H100, dtype=torch.float32), "zero3", 33.36),
    ],
)
def test_peaks_that_were_measured_on_a_gpu(
    model: str, keys: dict[str, bool], compute: Compute, sharding: str, gb: float
) -> None:
    """GiB by torch.cuda.max_memory_allocated on one H100 (bench.gpu_check): 12 steps of 32 rows,
    whose largest micro-batch has 11 rows of 699 tokens."""
    shape, counts = shape_and_counts(model, 16 if keys == LORA else 0)
    found = estimate(
        shape,
        counts,
        config(**keys),
        compute,
        MicroBatchShape(11, 699, 2931, first=False),
        ShardingPlan(sharding, 1),
    )
    assert found.total / 2**30 == pytest.approx(gb, rel=0.03)


def test_micro_batches_are_as_large_as_a_share_of_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def needed(rows: int) -> MemoryEstimate:
        return MemoryEstimate(2**30, 0, 0, 0, 0, rows * 2**30, rows, 512)

    sizes = [1, 2, 4, 8]
    for gb, largest in ((100, 8), (9 / SHARE, 8), (8.9 / SHARE, 4), (2.5, 1), (1, 1)):
        assert largest_fitting(sizes, needed, round(gb * 2**30)) == largest
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "micro_batch_size: 8 (auto: the largest of [1, 2, 4, 8] within 88% of 100 GB)"
    )
    assert len(lines) == 5


LINUX = pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel counts what a process writes"
)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 16])
def test_two_ranks_send_gradients_once_a_step(rank: int, pairs: Path, tmp_path: Path) -> None:
    """Two micro-batches a step."""
    expected = communication_volume(
        count_parameters(models.skeleton(TINY), rank), ShardingPlan("none", 2), 2
    ).total
    words = ("lora=true",) if rank else ()
    assert sends(pairs, tmp_path / "run", "model=tiny", *words) == pytest.approx(
        [expected] * 2, rel=0.03
    )


@pytest.fixture(scope="module")
def layered(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose weights are large enough for ZeRO-3 to cut them."""
    shape = {"hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 4, "head_dim": 128}
    return reshaped(student, tmp_path_factory.mktemp("layered") / "model", **shape)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "rank", "reach"),
    [
        ("zero1", 0, None),
        ("zero2", 0, None),
        ("zero3", 0, None),
        ("zero2", 16, None),
        ("zero3", 0, 4 * 10**6),
        ("zero3", 16, 4 * 10**6),
    ],
)
def test_two_ranks_send_as_deepspeed_does(
    stage: str, rank: int, reach: int | None, layered: Path, pairs: Path, tmp_path: Path
) -> None:
    pytest.importorskip("deepspeed", reason="needs the extra deepspeed")
    counts = count_parameters(models.skeleton(ModelConfig(name="local", path=str(layered))), rank)
    expected = communication_volume(
        counts, ShardingPlan(stage, 2), 2, reach or memory.MAX_LIVE_PARAMETERS
    ).total
    words = (f"model={layered}", f"deepspeed={stage}", *(["lora=true"] if rank else []))
    more = {"REUSE_DISTANCE": str(reach)} if reach else {}
    assert sends(pairs, tmp_path / "run", *words, **more) == pytest.approx([expected] * 2, rel=0.05)


def test_the_tables_are_what_the_command_prints(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "launch" / "README.md").read_text(encoding="utf-8")
    tables([])
    for table in capsys.readouterr().out.strip().split("\n\n"):
        assert table in text, "run `python -m launch.memory` and put in what it prints"
    for size, (_, _, figures) in QWEN_1.items():
        cells = [f"{qwen_lora(size, n):.1f} ({published})" for n, published in figures.items()]
        assert f"| Qwen-{size}, LoRA | " + " | ".join(cells) + " |" in text


@pytest.mark.parametrize(("stage", "weights"), [(2, True), (3, False)])
def test_offloaded_states_are_not_on_the_gpu(stage: int, weights: bool) -> None:
    shape, counts = shape_and_counts("qwen2.5-7b", 0)
    zero, plan, one = (
        {"name": "x", "stage": stage},
        ShardingPlan(f"zero{stage}", 2),
        MicroBatchShape(1, 512, 256),
    )
    here, away = (
        estimate(
            shape,
            counts,
            config().model_copy(update={"deepspeed": DeepSpeedConfig(**zero, offload=off)}),
            CUDA,
            one,
            plan,
        )
        for off in (False, True)
    )
    assert here.optimizer and not away.optimizer
    assert bool(away.weights) == weights
    assert away.total < here.total
