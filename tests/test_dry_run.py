"""The dry run of a study: settings, layout, assumptions, downloads and totals, as a user types and
reads them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from math import ceil
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import command, done

from launch import dry_run
from launch.cards import CARDS
from launch.config import Config
from launch.cost_estimate import CostEstimate, estimate
from launch.planner import plan
from launch.training_memory import attempt
from ratiocine import cli, models
from ratiocine.data import DataConfig, is_cached
from ratiocine.errors import BadInput
from ratiocine.executors import STAGE
from ratiocine.models import ModelConfig

SMALL = ("study=ratio_sweep", "study.grid.ratios=[0,1]", "study.grid.seeds=[0]")
SLURM = (
    "executor=slurm",
    "executor.nodes=2",
    "executor.gpus_per_node=8",
    "study.assumptions.gpu=h100",
)


def config(*words: str) -> Config:
    return cli.compose("launch", Config, [*SMALL, *words])


def told(*words: str) -> CostEstimate:
    made = config(*words)
    stages = plan(made.study, made.executor)
    retain = made.retain or made.study.retain
    return estimate(made.study, stages, {}, retain, made.executor)


def shown(*words: str) -> str:
    return dry_run.text(config(*words), told(*words))


# Settings


@pytest.mark.parametrize(
    ("words", "train"),
    [
        ((), ["batch_size=8"]),
        (("study.grid.train=[limit=16]",), ["batch_size=8", "limit=16"]),
        (("study.grid.train=limit=16",), ["batch_size=8", "limit=16"]),
        (("study.grid.train=[limit=16,batch_size=4]",), ["batch_size=4", "limit=16"]),
        (
            ("study.grid.train=[limit=16]", 'study.grid.train=["lora=true"]'),
            ["batch_size=8", "limit=16", "lora=true"],
        ),
        (("study.grid.train=[]",), []),
        (("~study.grid.train",), []),
        (("study.grid.train=[]", "study.grid.train=[limit=16]"), ["limit=16"]),
    ],
)
def test_settings_of_the_command_line_change_single_ones(
    words: tuple[str, ...], train: list[str]
) -> None:
    grid = config(*words).study.grid
    assert grid is not None
    assert grid.train == train


def test_a_group_replaces_its_keys() -> None:
    written = ("++study.grid.distill=[teacher=openai,teacher.engine.model=m,limit=4]",)
    grid = config(*written, "study.grid.distill=[teacher=reference]").study.grid
    assert grid is not None
    assert grid.distill == ["teacher=reference", "limit=4"]
    with pytest.raises(BadInput, match=r"study\.grid\.train\.0=5: should be a valid string"):
        config("study.grid.train=[5]")


@pytest.mark.parametrize("setting", ["lora=true", "max_steps=6"])
def test_the_tip_can_be_typed(setting: str) -> None:
    """It halves the work of the verb that dominates."""
    whole = told(f"study.grid.train=[{setting}]", "study.grid.eval=[limit=1]")
    tip = re.search(r"mostly (\w+): .*; half of it with (\S+)", whole.total)
    assert tip and tip[1] == "train"
    half = told(f"study.grid.train=[{setting}]", "study.grid.eval=[limit=1]", tip[2])

    def flops(found: CostEstimate) -> float:
        costs = (cost.flops or 0 for name, cost in found.costs.items() if name.startswith("train"))
        return sum(costs)

    assert flops(half) == pytest.approx(flops(whole) / 2)
    (added,) = re.findall(r"\[(.*)\]", tip[2])
    words = f"batch_size=8 {added}" if "max_steps" in added else f"batch_size=8 {setting} {added}"
    assert f"settings of train: {words}" in shown(f"study.grid.train=[{setting}]", tip[2])


# Models


def test_own_weights_need_rates_or_a_name_beside_them(tmp_path: Path) -> None:
    own = f"model={tmp_path}"
    with pytest.raises(BadInput) as refused:
        told(f"study.grid.models={{mine: [{own}]}}")
    assert str(refused.value) == (
        f"study.grid.models, mine: conf/model holds no learning rates for model={tmp_path}; give "
        "lr=, such as lr=1e-5, or a name with rates beside the path: model=qwen2.5-1.5b "
        f"model.path={tmp_path}"
    )
    weights = tmp_path / "weights"
    models.load_model(ModelConfig(name="tiny", kind="tiny"), "cpu").save_pretrained(weights)
    (weights / "tokenizer.json").touch()
    names = ("mine", "tiny", "none")
    mine, none = (f"[model=qwen2.5-1.5b, model.path={path}]" for path in (weights, tmp_path))
    grid = (
        f"study.grid.models=[tiny,{{mine: {mine}}},{{none: {none}}}]",
        "study.grid.train=[batch_size=4]",
    )
    assert f"model.path={weights}: learning rates 7e-06 (ift) and 1e-05" in shown(*grid)
    costs = told(*grid).costs
    own, tiny, unknown = (costs[f"train-{name}-domains-mixed-1-s0"] for name in names)
    assert (own.flops, own.disk.weights) == (tiny.flops, tiny.disk.weights), (
        "by its own config.json"
    )
    assert unknown.flops is None
    with pytest.raises(BadInput, match=rf"NAME: \[model=qwen2.5-1.5b, model.path={tmp_path}\]"):
        config(f"study.grid.models=[{tmp_path}]")


# Time and disk


def test_every_stage_has_a_start_up() -> None:
    words = ("study.grid.models=[qwen2.5-0.5b]", *SLURM, "study.grid.train=[batch_size=16]")
    without, some = (
        told(*words, f"study.assumptions.startup={seconds}", "executor.max_parallel_jobs=1")
        for seconds in (0, 60)
    )
    assert some.wall_seconds() - without.wall_seconds() == pytest.approx(60 * len(some.stages))
    assert "60 s of start-up per stage (study.assumptions.startup)" in some.total
    hours = re.search(r"time: ([\d.]+) GPU-hours, of which ([\d.]+) start-up \(h100", some.total)
    assert hours and 0.9 * float(hours[1]) < float(hours[2]) <= float(hours[1])
    assert "start-up (h100" not in without.total
    occupied = sum(cost.gpus * 60 for cost in some.costs.values())
    assert sum(cost.gpu_seconds or 0 for cost in some.costs.values()) == pytest.approx(
        occupied + sum(cost.gpu_seconds or 0 for cost in without.costs.values())
    )


@pytest.mark.parametrize("retain", ["weights", "scores"])
def test_the_disk_total_is_the_sum_of_its_parts(retain: str) -> None:
    text = shown(
        "study.grid.models=[qwen2.5-1.5b]",
        f"retain={retain}",
        *SLURM,
        "study.grid.train=[batch_size=16,save_steps=5]",
    )
    column = sum(map(float, re.findall(r"(?m) ([\d.]+) GB$", text)))
    (line,) = (line for line in text.splitlines() if line.startswith("disk: "))
    total, kept, *further = map(float, re.findall(r"([\d.]+) GB", line))
    assert kept == pytest.approx(column, abs=0.1)
    assert total == pytest.approx(kept + sum(further), abs=0.2)
    assert ("of weights until their evaluation" in line) == (retain == "scores")
    assert line.endswith("lower with executor.max_parallel_jobs=1")


@pytest.mark.parametrize(
    ("settings", "n"),
    [
        ("save_steps=100", 0),  # 75 steps
        ("save_steps=40", 1),
        ("save_steps=5", 2),
        ("save_steps=5,save_total_limit=3", 4),
        ("save_steps=5,checkpoint=best,val_size=10", 3),
        ("save_steps=100,equalize=tokens", 2),  # as many steps as it takes
        ("save_steps=5,lora=true", 0),
    ],
)
def test_checkpoints_that_exist_at_once(settings: str, n: int) -> None:
    """Weights and two optimizer states each, as long as the training lasts."""
    equalize = "tokens" if "equalize" in settings else "examples"
    settings = settings.replace(",equalize=tokens", "")
    found = told(f"study.grid.train=[{settings}]", f"study.grid.equalize=[{equalize}]")
    (weights,) = {cost.disk.weights for cost in found.costs.values() if cost.disk.weights}
    assert found.disk.checkpoints == n * 3 * weights


@pytest.mark.parametrize("free", [21, 15, 8, 2, 1, 0.4])
def test_a_refusal_names_settings_that_fit(
    free: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each that is enough alone, or several that are enough together; then none does."""
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free * 1e9))
    jobs = ("executor=slurm", "study.grid.ratios=[0,0.5,1]")
    words = (*jobs, "study.grid.train=[save_steps=5,save_total_limit=3]")
    with pytest.raises(BadInput) as refused:
        told(*words).check_disk(tmp_path)
    said = str(refused.value)
    if free == 0.4:
        assert re.search(
            r"0.4 GB free: [\d.]+ GB with retain=scores .*; give out= on a larger", said
        )
        return
    offers = re.findall(
        r"(\S.*?) \(([\d.]+) GB\)", said.split("enough with ")[1].replace(" or ", "")
    )
    assert offers
    for given, needed in offers:
        fits = told(*words, *given.split())
        fits.check_disk(tmp_path)
        assert fits.disk.total / 1e9 == pytest.approx(float(needed), abs=0.06)


def test_limits_of_jobs_follow_the_estimates() -> None:
    """At least 10 minutes and 4 GB; three times the time, 1.5 times the memory; or as given."""
    pytest.importorskip("submitit", reason="needs the extra slurm")

    def limits(*words: str) -> list[tuple[str, str]]:
        shown = done("launch", *SMALL, "executor=slurm", *words, "dry_run=true")
        assert shown.count("\njob script of ") == 1, "all are of one process"
        assert "--mem=" not in shown.split("\njob script of ")[0]
        script = shown.split("\njob script of ")[1]
        found = re.findall(r"(?m)^#SBATCH --(time|mem)=(\S+)$", script)
        assert len(found) == len({key for key, _ in found})
        return sorted(found)

    tiny = "study.grid.models=[tiny]"
    assert limits(tiny) == [("mem", "4GB"), ("time", "10")]
    given = ("executor.time_limit_hours=2", "executor.mem_gb=7")
    assert limits(tiny, *given) == [("mem", "7GB"), ("time", "120")]
    assert limits(tiny, "executor.sbatch_args={mem: 9G}") == [("mem", "9G"), ("time", "10")]


def test_limits_grow_with_the_work_and_the_model() -> None:
    slow = ("executor=slurm", "study.assumptions.flops_per_second={train: 1e10, eval: 1e10}")
    found = told(*slow)
    (stage,) = (s for s in found.stages if s.name == "train-smollm2-135m-domains-mixed-1-s0")
    limits, seconds = found.limits(stage), found.costs[stage.name].seconds
    assert seconds and limits.hours == pytest.approx(3 * seconds / 3600, abs=1 / 60)
    states = 16 * 134_515_008 / 2**30  # weights, gradients and two optimizer states
    step = attempt(stage, found.model)
    assert step is not None and step.total > states * 2**30
    assert limits.mem_gb == ceil(1.5 * (1e9 + step.total) / 2**30)
    assert step.compute.micro_batch_size == 4
    on_card = attempt(stage, found.model, CARDS["rtx-4090"])
    assert on_card is not None and on_card.compute.micro_batch_size == 1, "the least of auto"
    on_gpus = told("executor=slurm", "executor.gpus_per_node=1")
    assert on_gpus.limits(stage).hours is None, "a card that is not known"
    assert on_gpus.limits(stage).mem_gb
    model = "study.grid.distill=[teacher=openai,teacher.engine.model=m,"
    model += "'teacher.engine.base_url=http://h/v1']"
    asked = told("executor=slurm", model)
    assert asked.limits(asked.stages[0]).hours is None, "as long as the server takes"


# Layout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            SLURM,
            "batch_size=8: with 16 ranks some would be idle in a step; give batch_size=16 or more, "
            "or fewer processes (in study.grid.train=[batch_size=8])",
        ),
        (
            ("executor=slurm", "study.assumptions.gpu=h100"),
            "study.assumptions.gpu=h100: jobs of executor=slurm request no GPU; give "
            "executor.gpus_per_node=1 or more",
        ),
        (
            ("executor=slurm", "executor.partitoin=gpu"),
            "unknown key 'executor.partitoin'; did you mean 'executor.partition'?",
        ),
        (
            ("executor=slurm", "executor.queue=gpu"),
            "unknown key 'executor.queue'; known: account, cpus_per_task, gpus_per_node, max_par",
        ),
    ],
)
def test_jobs_that_cannot_run(words: tuple[str, ...], message: str) -> None:
    refused = command("launch", *SMALL, *words, "dry_run=true")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert message in refused.stderr


def test_the_layout_of_jobs() -> None:
    text = shown(*SLURM, "study.grid.train=[batch_size=96]")
    assert "3 jobs of train on 16 GPUs" not in text
    assert (
        "2 jobs of train on 16 GPUs (2 nodes × 8): batch_size=96, 6 each, in accumulation steps of "
        "micro_batch_size=auto" in text
    )
    text = shown(*SLURM, "study.grid.train=[batch_size=96,micro_batch_size=4]")
    assert "batch_size=96, 6 each, in 2 accumulation steps of micro_batch_size=4" in text
    assert "3 jobs of eval on 8 GPUs\n" in text
    assert "1 job of distill on 1 process\n" in text, "its oracle needs no GPU"
    assert "6 jobs, 6 at once, each on at most 16 GPUs" in text
    gres = ("executor=slurm", "executor.sbatch_args={gres: gpu:1}", "study.assumptions.gpu=h100")
    assert "GPU-hours" in shown(*gres)


def test_long_names_stay_within_the_width_and_differ() -> None:
    name = "a-model-with-a-name-of-many-words" * 3
    rows = [
        row
        for row in shown(f"study.grid.models={{{name}: [model=tiny]}}").splitlines()
        if "  to do  " in row
    ]
    assert len(rows) == 6 == len({row.split("to do")[0] for row in rows})
    assert max(map(len, rows)) <= dry_run.WIDTH


# Pairs and benchmarks at hand


def test_limits_below_the_traces_are_named_with_their_tokenizer(pairs: Path) -> None:
    words = (f"study.grid.pairs={pairs}", "study.grid.models=[tiny]", "study.grid.benchmarks=demo")
    total = told(*words, "study.grid.max_new_tokens=16").total
    need = re.search(
        r"max_new_tokens=16 of demo is below the 95 % quantile .*, (\d+) tokens", total
    )
    assert need and total.count("warning: ") == 1
    assert "mean tokens of tiny's tokenizer: prompt" in total
    assert f"study.grid.max_new_tokens={need[1]}" in total
    assert "warning" not in told(*words, f"study.grid.max_new_tokens={need[1]}").total


def test_assumptions_about_what_is_known(pairs: Path, tmp_path: Path) -> None:
    rows = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(5)]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    words = (f"study.grid.pairs={{p: {pairs}}}", "study.grid.models=[tiny]")
    own = (*words, f"study.grid.benchmarks={file}")
    counted = told(*own, "study.assumptions.problems=900").costs["eval-tiny"].tokens
    assert counted == told(*own).costs["eval-tiny"].tokens, "five problems, by counting"
    longer = told(*own, "study.assumptions.prompt={mine: 1000}").costs["eval-tiny"].tokens
    assert longer and counted and longer - counted > 5 * 800
    made = f"{{mine: [teacher=reference,data={file},data.test_size=0.4]}}"
    side = (words[1], f"study.grid.pairs={made}", "study.grid.benchmarks=['{pairs-mine}']")
    planned = told(*side).model
    assert planned.benchmarks.problems == {"mine": 2}, (
        "the test split of pairs that do not exist yet"
    )
    hub = (*words, "study.grid.benchmarks=[me/mine]")
    missing = "missing: the number of problems of me/mine: study.assumptions.problems={me/mine: N}"
    assert missing in told(*hub).total
    assert not told(*hub, "study.assumptions.problems={me/mine: 7}").model.missing


def test_assumptions_that_are_not_used(pairs: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "What is 2 + 2?", "answer": "4"}\n')
    total = told(
        f"study.grid.pairs={{p: {pairs}}}",
        "study.grid.models=[tiny]",
        f"study.grid.benchmarks={file}",
        "study.assumptions.pairs={p: 7}",
        "study.assumptions.ift={q: 7}",
        "study.assumptions.reasoning={q: 7}",
        "study.assumptions.prompt={mine: 9,other: 9}",
        "study.assumptions.problems={mine: 9,theirs: 9}",
        "study.assumptions.mfu={train: 0.5}",
    ).total
    unused = [line.split(": ", 1)[1] for line in total.splitlines() if line.startswith("not used")]
    assert unused == [
        "study.assumptions.pairs of p, whose pairs are finished",
        "study.assumptions.prompt of other: no set of pairs has that name (p)",
        "study.assumptions.ift, .reasoning of q: no set of pairs has that name (p)",
        "study.assumptions.problems of mine, whose problems are counted",
        "study.assumptions.problems of theirs: no benchmark has that name (mine)",
        "study.assumptions.mfu without study.assumptions.gpu",
    ]
    limited = ("study.grid.benchmarks=[me/mine]", "study.grid.eval=[limit=50]")
    known = told(*limited, "study.grid.models=[tiny]", "study.assumptions.problems={me/mine: 30}")
    assert known.model.benchmarks.problems == {"me/mine": 30}
    assert "not used" not in known.total


def test_pairs_that_are_not_made_yet_are_counted_by_their_student() -> None:
    """Neither the lengths nor a warning are those of another model's tokenizer."""
    total = told("study.grid.models=[tiny]").total
    assert "mean tokens of tiny's tokenizer: prompt" in total
    by_others = told("study.grid.models=[smollm2-135m]").total
    assert "mean tokens of smollm2-135m's tokenizer: prompt" in by_others
    absent = told("study.grid.models=[qwen2.5-7b]").total
    assert "mean tokens of smollm2-135m's tokenizer: prompt" in absent, "its own is not at hand"
    lengths = re.compile(r"lengths of .*prompt (\d+), ift (\d+), reasoning (\d+)")
    made = re.search(lengths, told("study.grid.models=[smollm2-135m]").total)
    assert lengths.search(absent)[0] == made[0]  # type: ignore[index]


def test_expected_lengths_are_those_of_the_pairs(tmp_path: Path) -> None:
    """Of prompts with their template, and completions with their tags and end of turn."""
    out = tmp_path / "pairs"
    done("distill", "data=sums", "limit=16", "model=tiny", f"out={out}")
    made = told(f"study.grid.pairs={{p: '{out}'}}", "study.grid.models=[tiny]")
    asked = told(
        "study.grid.pairs=[sums]",
        "study.grid.distill=[limit=16]",
        "study.grid.models=[tiny]",
    )
    real, expected = (
        one.model.pairs.sets[name] for one, name in ((made, "p"), (asked, "pairs-sums"))
    )
    for side in ("prompt", "ift", "reasoning"):
        assert getattr(expected, side) == pytest.approx(getattr(real, side), rel=0.05), side


def test_the_wall_time_is_that_of_ready_stages(pairs: Path) -> None:
    """A stage that waits for its parents takes no job from one that is ready."""
    words = (
        f"study.grid.pairs={{p: '{pairs}'}}",
        *("study.grid.models=[tiny]", "study.grid.ratios=[0,1]", "study.grid.seeds=[0]"),
        *("study.grid.scenarios=[mixed]", "study.grid.equalize=[examples]"),
    )
    for jobs, rounds in ((1, 5), (2, 3), (3, 2), (5, 2)):
        estimate = told(*words, f"executor.max_parallel_jobs={jobs}", "executor=slurm")
        costs = {
            name: replace(cost, startup=0.0, work_seconds=10.0)
            for name, cost in estimate.costs.items()
        }
        assert len(costs) == 5, sorted(costs)
        assert replace(estimate, costs=costs).wall_seconds() == 10 * rounds, jobs


def test_a_benchmark_of_finished_pairs_is_their_test_split(pairs: Path) -> None:
    words = (f"study.grid.pairs={{p: '{pairs}'}}", "study.grid.benchmarks=['{pairs-p}']")
    made = told("study.grid.models=[tiny]", *words)
    (first, *_) = (stage for stage in made.stages if stage.verb == "eval")
    assert f"benchmarks=[{cli.quoted(str(pairs))}]" in first.overrides
    with pytest.raises(BadInput, match="p is of several folders; name one"):
        told(f"study.grid.pairs={{p: ['{pairs}','{pairs}']}}", words[1])


# Cards and servers


def test_a_card_too_small_for_a_training_is_named() -> None:
    big = ("study.grid.models=[qwen2.5-1.5b]", "executor=slurm", "executor.gpus_per_node=1")
    total = told(*big, "study.assumptions.gpu=rtx-4090").total
    (line,) = (line for line in total.splitlines() if "will not fit" in line)
    assert "train-qwen2.5-1.5b-domains-mixed-0-s0 and 1 more will not fit: about" in line
    assert "22.1 GB of rtx-4090 are free: " in line
    assert "lora=true" in line
    with_adapters = told(*big, "study.assumptions.gpu=rtx-4090", "study.grid.train=[lora=true]")
    assert "will not fit" not in with_adapters.total
    assert "will not fit" not in told(*big, "study.assumptions.gpu=h100").total
    old = told(*big, "study.assumptions.gpu=v100").total
    assert "v100: 15.7 TFLOP/s in float32 (it has no bfloat16) × mfu" in old


def test_stages_that_wait_for_a_server_take_no_gpu() -> None:
    asked = (
        "study.grid.distill=[teacher=openai,teacher.engine.model=m,"
        "'teacher.engine.base_url=http://localhost:8000/v1']"
    )
    made = told(*SLURM, asked, "study.grid.train=[batch_size=16]")
    (distill,) = (stage for stage in made.stages if stage.verb == "distill")
    cost = made.costs[distill.name]
    assert (cost.gpus, cost.seconds, cost.gpu_seconds) == (0, None, None)
    assert re.search(r"GPU-hours, of which .*, and 1 stage as long as a server takes", made.total)
    one = ("executor=slurm", "executor.gpus_per_node=1")
    assert "1 job of distill on 1 process\n" in shown(*one, asked)
    assert (
        "warning: distill calls http://localhost:8000/v1, which on executor=slurm is the node of "
        "its own job: give the server's host name" in made.total
    )
    assert "localhost" not in told(asked, "study.grid.train=[batch_size=16]").total
    assert "1 job of distill on 1 process\n" in shown(
        *SLURM, asked, "study.grid.train=[batch_size=16]"
    )
    local = told(
        *SLURM,
        "study.grid.distill=[teacher=transformers,teacher.model=smollm2-135m]",
        "study.grid.train=[batch_size=16]",
    )
    cost = local.costs[distill.name]
    assert cost.gpus == 8
    assert cost.flops and cost.seconds and cost.seconds > 25


# Downloads


def test_what_the_cache_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots without weights, with some of their shards, and with all."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    model = ModelConfig(name="m", path="org/m")
    assert models.not_cached(model) == ["weights", "tokenizer"]
    repo = tmp_path / "models--org--m"
    snapshot = repo / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text("0" * 40)
    (snapshot / "tokenizer.json").write_text("{}")
    assert models.not_cached(model) == ["weights"]
    shards = {"a": "one.safetensors", "b": "two.safetensors"}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (snapshot / "one.safetensors").touch()
    assert models.not_cached(model) == ["weights"]
    (snapshot / "two.safetensors").touch()
    assert models.not_cached(model) == []
    assert models.not_cached(ModelConfig(name="tiny", kind="tiny")) == []
    with pytest.raises(BadInput, match="/no/where is not a local folder"):
        models.not_cached(ModelConfig(name="m", path="/no/where"))
    gsm8k = cli.named("data", "gsm8k", DataConfig).hub
    assert gsm8k and not is_cached(gsm8k, "test")


def test_downloads_are_notes_and_without_a_network_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    words = (*SMALL, "study.grid.models=[qwen2.5-0.5b]", "study.grid.benchmarks=[gsm8k]")
    lines = (
        "weights and tokenizer of qwen2.5-0.5b: hf download Qwen/Qwen2.5-0.5B",
        "the data set of gsm8k: hf download openai/gsm8k main/test-00000-of-00001.parquet "
        "--repo-type dataset --revision 740312add88f781978c0658806c59bc2815b9866",
    )
    noted = done("launch", *words, "dry_run=true")
    assert all(f"\n  {line}\n" in noted for line in lines)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for dry in ("true", "false"):
        refused = command("launch", *words, f"dry_run={dry}", f"out={tmp_path / 'study'}")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert "HF_HUB_OFFLINE=1, and not in the cache: weights and tokenizer of" in refused.stderr
        assert "python -m distill" not in refused.stdout or dry == "true"


# Trackers, and what to do next


@pytest.mark.slow
def test_a_study_reports_for_its_stages(
    student: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only its end says what to do next, and how to send its offline runs."""
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv(STAGE, raising=False)
    root = tmp_path / "a study"
    overrides = f"['model={student / 'model'}', 'limit=1', 'max_new_tokens=4', 'threads=1']"
    words = (
        "launch",
        "study.name=x",
        f"study.stages=[{{name: e, verb: eval, overrides: {overrides}}}]",
        "study.report=[e]",
        "tracker=wandb",
        "entity=team",
        f"out='{root}'",
    )
    planned = done(*words, "dry_run=true")
    assert (
        "tracker=wandb: project ratiocine, group x, entity team; afterwards: python -m" in planned
    )
    result = command(*words)
    assert result.returncode == 0, result.stderr
    assert "WARNING" not in result.stderr
    assert [line for line in result.stdout.splitlines() if line.startswith(("W&B", "next"))] == (
        result.stdout.splitlines()[-2:]
    )
    sync, following = result.stdout.splitlines()[-2:]
    assert re.fullmatch(
        r"W&B: 1 runs? offline; send it: wandb sync '.*a study'/\*/wandb/off.*", sync
    )
    assert following.startswith("next: python -m eval.recommend ")
    assert "No arm works" in done(*shlex.split(following.removeprefix("next: python -m ")))


@pytest.mark.parametrize(
    ("setting", "executor", "ranks"),
    [
        ("fsdp=true", "nproc_per_node=2", "2 processes"),
        ("deepspeed=zero3", "gpus_per_node=8", "8 GPUs"),
    ],
)
def test_a_study_shards_models_over_the_processes_of_its_executor(
    setting: str, executor: str, ranks: str, tmp_path: Path
) -> None:
    grid = ("study.grid.models=[tiny]", f"study.grid.train=[{setting}]", f"out={tmp_path}")
    words = ("study=ratio_sweep", *grid, f"executor.{executor}", "dry_run=true")
    if "gpus" in executor:
        words = (*words, "executor=slurm")
    assert f"jobs of train on {ranks}" in done("launch", *words)


# Seeds in rounds

PRIMARY = "study.hypotheses=[{group: math-oe, hypothesis: gain, primary: true}]"
ROUNDS = ("study=ratio_sweep", "study.grid.models=[tiny]", "study.grid.ratios=[0,1]", PRIMARY)


def test_rounds_of_seeds_state_their_largest_cost(tmp_path: Path) -> None:
    words = ("study.grid.seeds={first: 2, most: 4}", "dry_run=true", f"out={tmp_path}")
    told = done("launch", *ROUNDS, *words)
    first, most = (int(n) for n in re.findall(r"(?m)^(\d+) stages: 0 done", told))
    cells = int(re.findall(r"at most, with (\d+) further seeds", told)[0])
    assert most - first == 2 * cells == 2 * 2 * (first - 2) // 4
    seeds = re.findall(r"expected: (\S+) of 4 seeds .*, (\S+) where all", told)[0]
    assert 2 < float(seeds[0]) < float(seeds[1]) < 4
    amounts = re.findall(r"to do: \S+ tokens, (\S+) FLOPs", told)
    between = re.findall(r"a power of 80%: (\S+) or (\S+) FLOPs", told)[0]
    ordered = [amounts[0], *between, amounts[1]]
    assert [float(one) for one in ordered] == sorted(map(float, ordered))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("study.grid.seeds={first: 3, most: 2}",), "most=2 is below first=3"),
        (("study.grid.seeds={frist: 2}",), "did you mean 'study.grid.seeds.first'"),
        (("study.grid.seeds={first: 1}",), "seeds.first=1"),
        (("study.hypotheses=[]", "study.grid.seeds={first: 2}"), "need a primary hypothesis"),
        (("study.hypotheses=[{group: sums, hypothesis: gain}]",), "unknown group 'sums'"),
        (("study.hypotheses=[{group: all, hypothesis: gian}]",), "hypotheses.0.hypothesis='gian'"),
        (
            ("study.hypotheses=[{group: all, hypothesis: no_gain, margin: 0}]",),
            "hypotheses.0.margin=0",
        ),
    ],
)
def test_wrong_hypotheses(words: tuple[str, ...], expected: str, tmp_path: Path) -> None:
    result = command("launch", *ROUNDS, *words, "dry_run=true", f"out={tmp_path}")
    assert (result.returncode, len(result.stderr.splitlines())) == (2, 1)
    assert expected in result.stderr
