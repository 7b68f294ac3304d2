"""Scenarios: stages, what is held equal between ratios, schedules, and runs that are interrupted
and go on."""

import hashlib
import json
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import conftest
import pytest
from conftest import command, done, started
from hypothesis import given, settings
from hypothesis import strategies as st

from ratiocine import cli
from ratiocine.config import identity
from ratiocine.errors import BadInput, Failure
from ratiocine.runs import NoTracker, open_run, run_hash
from ratiocine.stores import read_pairs
from ratiocine.training import wsd
from train.config import Config, inputs
from train.scenario import (
    ScenarioConfig,
    StageConfig,
    examples_by_format,
    examples_hash,
    plan_stages,
)
from train.step_log import StepLog

IDS = [f"p{i}" for i in range(60)]
CATEGORIES = {
    name: ("general-mc", "general-oe", "math-mc", "math-oe")[i % 4] for i, name in enumerate(IDS)
}
NAMED = [
    "mixed",
    "sequential",
    "general_ift+math_ift",
    "general_ift+math_reasoning",
    "general_reasoning+math_ift",
    "general_reasoning+math_reasoning",
]


def scenario(name: str) -> ScenarioConfig:
    return cli.named("scenario", name, ScenarioConfig)


def cost(name: str, mode: str) -> int:
    return 10 + int(name[1:]) % 7 + (50 if mode == "reasoning" else 0)


def planned(config: ScenarioConfig, **more: object) -> list:
    settings = {
        "ratio": None if config.fixes_ratio else 0.5,
        "equalize": "examples",
        "epochs": 1,
        "batch_size": 8,
        "seed": 0,
    }
    return plan_stages(
        config, IDS, CATEGORIES.__getitem__, lambda name: "x", cost, **{**settings, **more}
    )


def examples(stages: list) -> list[tuple[str, str]]:
    return [example for stage in stages for batch in stage.batches for example in batch]


@pytest.mark.parametrize("name", NAMED)
def test_every_scenario_teaches_every_problem_once(name: str) -> None:
    stages = planned(scenario(name))
    assert sorted(problem for problem, _ in examples(stages)) == sorted(IDS)
    assert all(len(batch) == 8 for stage in stages for batch in stage.batches[:-1])


@given(st.floats(0, 1), st.integers(0, 99), st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_sequential_and_mixed_hold_the_same_examples(ratio: float, seed: int, epochs: int) -> None:
    mixed, sequential = (
        planned(scenario(n), ratio=ratio, seed=seed, epochs=epochs) for n in ("mixed", "sequential")
    )
    assert sorted(examples(mixed)) == sorted(examples(sequential))
    assert examples_hash(mixed) == examples_hash(sequential)
    modes = [mode for _, mode in examples(sequential)]
    assert modes == sorted(modes)  # ift before reasoning
    assert {m: sorted(ids) for m, ids in examples_by_format(mixed).items()} == {
        m: sorted(ids) for m, ids in examples_by_format(sequential).items()
    }


@pytest.mark.parametrize(
    ("name", "general", "math"),
    [(n, n.split("_")[1].split("+")[0], n.rpartition("_")[2]) for n in NAMED[2:]],
)
def test_domain_scenarios_teach_one_domain_after_the_other(
    name: str, general: str, math: str
) -> None:
    taught = examples(planned(scenario(name)))
    domains = [CATEGORIES[problem].split("-")[0] for problem, _ in taught]
    assert domains == sorted(domains)
    assert {(domain, mode) for domain, (_, mode) in zip(domains, taught, strict=True)} == {
        ("general", general),
        ("math", math),
    }


@given(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(0, 9), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_arms_of_equal_cost(ratio: float, seed: int, epochs: int) -> None:
    """To the nearest global batch, every ratio costs what the same problems cost in reasoning
    format."""
    stages = planned(scenario("mixed"), ratio=ratio, seed=seed, epochs=epochs, equalize="tokens")
    spent, budget = (
        sum(cost(*example) for example in found)
        for found in (examples(stages), [(name, "reasoning") for name in IDS] * epochs)
    )
    largest = max(
        sum(cost(*example) for example in batch) for stage in stages for batch in stage.batches
    )
    assert abs(spent - budget) <= largest / 2
    if ratio == 1:
        assert examples(stages) == examples(
            planned(scenario("mixed"), ratio=1, seed=seed, epochs=epochs)
        )
    assert {mode for name, mode in examples(stages) if name in stages[0].mixture.reasoning} <= {
        "reasoning"
    }


def test_stages_of_ones_own() -> None:
    own = ScenarioConfig(
        name="own",
        schedule="each",
        stages=[
            StageConfig(domain="general", ratio=0.25, epochs=2, lr=1e-4),
            StageConfig(ratio=1.0, warmup=0),
        ],
    )
    first, second = planned(own, ratio=None)
    assert len(examples([first])) == 60
    assert (
        sum(mode == "reasoning" for _, mode in examples([first])) == 2 * 8
    )  # of 30, a half rounded up
    assert len(examples([second])) == 60


@pytest.mark.parametrize(
    ("stage", "more", "message"),
    [
        (
            {"domain": "math"},
            {"batch_size": 31},
            "batch_size=31: 30 examples do not fill one global batch; at most 30 is possible",
        ),
        (
            {"pairs": "elsewhere"},
            {},
            "stage 1: none of the pairs is of domain=None, pairs=elsewhere",
        ),
    ],
)
def test_a_plan_that_cannot_be(stage: dict, more: dict, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        planned(ScenarioConfig(name="own", stages=[StageConfig(**stage)]), **more)


def test_the_schedule_of_the_published_study() -> None:
    """150 steps up, 300 steps down to a tenth."""
    rates = wsd(1000, 2e-5, 150, 300)
    assert rates[0] == pytest.approx(2e-5 / 150)
    assert rates[149] == rates[150] == rates[700] == 2e-5
    assert rates[850] == pytest.approx(2e-5 * (0.1 + 0.9 * 150 / 300))
    assert rates[-1] == pytest.approx(2e-5 * (0.1 + 0.9 / 300))
    assert wsd(10, 1.0, 0.2, 0.5) == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.82, 0.64, 0.46, 0.28])
    assert wsd(3, 1.0, 0, 0) == [1.0, 1.0, 1.0]


def metrics(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> str:
    return hashlib.sha256((out / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_rates_and_losses_by_format_are_logged(pairs: Path, tmp_path: Path) -> None:
    words = ("model=tiny", f"pairs={pairs}", "batch_size=8", "lr=1e-3", "decay=0")
    done("train", "ratio=0.5", "scenario=sequential", *words, f"out={tmp_path / 'sequential'}")
    rows = metrics(tmp_path / "sequential")
    assert [row["loss_reasoning"] is None for row in rows] == [True] * 3 + [False] * 3
    assert [row["loss_ift"] is None for row in rows] == [False] * 3 + [True] * 3
    assert all(
        row["loss"] == pytest.approx(row["loss_ift"] or row["loss_reasoning"], rel=1e-4)
        for row in rows
    )
    assert [row["lr"] for row in rows] == pytest.approx([1e-3] * 6)  # warm-up of one step
    done("train", "ratio=0.5", *words, f"out={tmp_path / 'mixed'}")
    hashes = {
        json.loads((tmp_path / n / "mixture.json").read_text())["examples_hash"]
        for n in ("mixed", "sequential")
    }
    assert len(hashes) == 1


def test_the_loss_of_an_example_may_count_once(pairs: Path, tmp_path: Path) -> None:
    """The first loss is then the mean over examples of their mean token loss, as plain transformers
    has it."""
    import torch

    from ratiocine.models import ModelConfig, load_model, load_tokenizer
    from ratiocine.rendering import Rendering
    from train.batches import row_of
    from train.collation import collate
    from train.mixture import mix

    tiny = ModelConfig(name="tiny", kind="tiny")
    by_id = {pair.id: pair for pair in read_pairs(pairs / "pairs.parquet")}
    mixture, tokenizer, model = (
        mix({i: p.category for i, p in by_id.items()}, 0.5, 0),
        load_tokenizer(tiny),
        load_model(tiny, "cpu"),
    )
    with torch.no_grad():
        each = [
            model(**collate([row_of(Rendering(tokenizer), by_id[i], mixture.mode(i))])).loss.item()
            for i in mixture.order[:16]
        ]
    words = (
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=16",
        "max_steps=1",
        "loss_weight=example",
    )
    done("train", *words, "micro_batch_size=3", f"out={tmp_path / 'run'}")
    assert metrics(tmp_path / "run")[0]["loss"] == pytest.approx(sum(each) / 16, abs=1e-4)


def test_domains_of_two_sets(pairs: Path, tmp_path: Path) -> None:
    """Two sets of pairs; a stage may name one of them."""
    refused = command(
        "train", "scenario=general_ift+math_ift", "ratio=0.5", "model=tiny", f"pairs={pairs}"
    )
    assert (
        refused.returncode,
        "every stage of scenario=general_ift+math_ift sets its own; leave it out" in refused.stderr,
    ) == (
        2,
        True,
    )
    missing = "scenario.stages=[{pairs: nowhere}]"
    refused = command(
        "train", "ratio=0.5", "model=tiny", f"pairs={pairs}", missing, f"out={tmp_path / 'x'}"
    )
    assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
        2,
        "train: pairs=nowhere does not exist",
    )
    refused = command(
        "train",
        "ratio=0.5",
        "model=tiny",
        f"pairs=[{pairs},{pairs}/../pairs]",
        f"out={tmp_path / 'x'}",
    )
    assert refused.returncode == 2


def test_the_steps_between_checkpoints_count_where_the_best_is_taken(tmp_path: Path) -> None:
    """Validation loss is taken at checkpoints, so they decide which one is the best."""
    run = open_run("distill", conftest.settings(out=str(tmp_path / "pairs")), {})
    with run.writing("pairs.parquet") as path:
        path.write_text("a")
    run.finish(data="demo")
    words = ["ratio=0.5", "model=tiny", f"pairs={tmp_path / 'pairs'}", "val_size=4"]

    def named(*more: str) -> str:
        config = cli.compose("train", Config, [*words, *more])
        return run_hash("train", identity(config), inputs(config))

    assert named("save_steps=3") == named("save_steps=4")
    best = [named("checkpoint=best", f"save_steps={n}") for n in (3, 3, 4)]
    assert best[0] == best[1] != best[2]


def test_which_set_a_stage_has_is_part_of_a_run(tmp_path: Path) -> None:
    folders = {name: str(tmp_path / name) for name in "ab"}
    for name, folder in folders.items():
        run = open_run("distill", conftest.settings(out=folder), {})
        with run.writing("pairs.parquet") as path:
            path.write_text(name)
        run.finish(data="demo")

    def named(order: str) -> str:
        stages = ",".join(f"{{pairs: {folders[name]}, ratio: 0.5}}" for name in order)
        config = cli.compose(
            "train", Config, ["model=tiny", "ratio=null", f"scenario.stages=[{stages}]"]
        )
        return run_hash("train", identity(config), inputs(config))

    assert len({named(order) for order in ("aba", "abb", "aab", "bab")}) == 4


RESUMED = (
    "ratio=0.5",
    "model=tiny",
    "batch_size=8",
    "micro_batch_size=3",
    "epochs=6",
    "save_steps=4",
    "seed=3",
    "val_size=4",
    "checkpoint=best",
    "val_samples=1",
    "val_max_new_tokens=3",
    "precision=float32",
)


@pytest.fixture(scope="module")
def whole(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    done("train", *RESUMED, f"pairs={pairs}", f"out={out}")
    return out


def same(a: Path, b: Path) -> None:
    timed = {"seconds", "tokens_per_second", "mfu", "memory_gb"}
    kept = [
        [{k: v for k, v in row.items() if k not in timed} for row in metrics(out)] for out in (a, b)
    ]
    assert kept[0] == kept[1]
    assert weights(a) == weights(b)
    assert (a / "samples.jsonl").read_bytes() == (b / "samples.jsonl").read_bytes()


@pytest.mark.parametrize(
    "step", [5, *(pytest.param(one, marks=pytest.mark.slow) for one in (13, 26))]
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    step: int, whole: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stopped(out, pairs, step, signal.SIGKILL)
    done_steps = len(metrics(out))
    assert step <= done_steps < 30
    saved = [int(f.name) for f in (out / "checkpoints").glob("[0-9]*")]
    assert saved and max(saved) in (done_steps - done_steps % 4, done_steps - done_steps % 4 - 4)
    for log in ("metrics.jsonl", "samples.jsonl"):  # a row after the checkpoint, and a torn one
        with open(out / log, "a") as file:
            file.write('{"step": 99, "id": "late"}\n{"step": 99, "i')
    half = out / "checkpoints" / ".partial" / "checkpoint-28"
    half.mkdir(parents=True, exist_ok=True)
    (half / "trainer_state.json").write_text("{")
    said = done("train", *RESUMED, f"pairs={pairs}", f"out={out}")
    assert f"resuming from the checkpoint of step {max(saved)}\n" in said
    same(out, whole)
    assert not (out / "checkpoints").exists()


def test_a_log_without_its_rows_is_not_continued(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped(out, pairs, 6, signal.SIGTERM)
    log = out / "metrics.jsonl"
    log.write_text(log.read_text().splitlines()[0] + "\n")
    refused = command("train", *RESUMED, f"pairs={pairs}", f"out={out}")
    assert refused.returncode == 1
    assert "metrics.jsonl ends before step" in refused.stderr.splitlines()[-1]


def test_sigterm_saves_and_ends(whole: Path, pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert stopped(out, pairs, 6, signal.SIGTERM) == 130
    assert "ending after this step, with a checkpoint" in (tmp_path / "stderr").read_text()
    step = len(metrics(out))
    assert {f.name for f in (out / "checkpoints").glob("[0-9]*")} == {
        "4",
        str(step),
    }  # the best so far, and the newest
    refused = command("train", *RESUMED, f"pairs={pairs}", "lr=0.5", f"out={out}")
    told = (
        "of a different configuration (lr); remove it or choose another out, or continue it with "
        "the new values: resume_overrides=[lr]\n"
    )
    assert (refused.returncode, told in refused.stderr) == (2, True), refused.stderr
    done("train", *RESUMED, f"pairs={pairs}", f"out={out}")
    same(out, whole)


@pytest.mark.slow
def test_a_named_change_may_be_made(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    stopped(out, pairs, 6, signal.SIGTERM)
    before = len(metrics(out))
    done("train", *RESUMED, f"pairs={pairs}", "lr=1e-5", "resume_overrides=[lr]", f"out={out}")
    rates = [row["lr"] for row in metrics(out)]
    assert max(rates[:before]) == pytest.approx(1e-3)
    assert rates[before:] == pytest.approx(wsd(30, 1e-5, 0.1, 0.3)[before:])
    other = tmp_path / "other"
    done("distill", "data=demo", "limit=5", "seed=9", "model=tiny", f"out={other}")
    stopped(tmp_path / "second", pairs, 6, signal.SIGTERM)
    words = (
        *RESUMED,
        f"pairs={other}",
        "lr=1e-5",
        "resume_overrides=[lr]",
        f"out={tmp_path / 'second'}",
    )
    refused = command("train", *words)
    assert refused.returncode == 2
    assert refused.stderr.endswith("(lr, its inputs); remove it or choose another out\n")
    assert rates[-9] == pytest.approx(1e-5)


def stopped(out: Path, pairs: Path, step: int, number: int) -> int:
    """Run until a step is in the log, then send a signal; returns the exit code. What it says is in
    `stderr` beside `out`."""
    stderr = out.parent / "stderr"
    stderr.unlink(missing_ok=True)
    process = started("train", *RESUMED, f"pairs={pairs}", f"out={out}", err=stderr)
    log = out / "metrics.jsonl"
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < step):
        time.sleep(0.01)
    process.send_signal(number)
    return process.wait(60)


def test_a_loss_that_is_no_number_stops_the_run(pairs: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    result = command(
        "train",
        *RESUMED,
        f"pairs={pairs}",
        "lr=1e30",
        "save_steps=1",
        "max_grad_norm=1e30",
        f"out={out}",
    )
    assert result.returncode == 1
    last, rows = result.stderr.splitlines()[-1], metrics(out)
    assert f"the loss of step {len(rows) + 1} is" in last
    named = last.split("problems: ")[1].split(", ")
    assert len(named) == 8
    assert set(named) <= {pair.id for pair in read_pairs(pairs / "pairs.parquet")}
    assert all(row["loss"] < float("inf") and row["grad_norm"] < float("inf") for row in rows)
    assert not (out / "DONE").exists()


def test_gradients_that_are_no_numbers_stop_before_the_step(tmp_path: Path) -> None:
    import torch

    log = StepLog(
        tmp_path / "metrics.jsonl",
        tmp_path,
        SimpleNamespace(update=lambda n: None, disable=True),
        [[("a", "ift")]],
        lambda batch: (1, 1),
        peak=1.0,
        tracker=NoTracker(),
    )
    log.add_micro_batch(torch.ones(5), 1)
    log.norm = float("nan")
    rate = SimpleNamespace(get_last_lr=lambda: [1.0])
    with pytest.raises(
        Failure, match="gradient norm of nan; earlier checkpoints are kept; its problems: a"
    ):
        log.on_pre_optimizer_step(None, SimpleNamespace(global_step=0), None, lr_scheduler=rate)
