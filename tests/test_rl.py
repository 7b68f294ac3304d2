"""Reinforcement learning from rules: whether it computes what it says, keeps what it shows, and
goes on where it was killed."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from conftest import command, done, started, tiny_gemma
from hypothesis import given
from hypothesis import strategies as st
from test_tracking import records, rows_of

from ratiocine import cli, cost, models
from ratiocine.engines import Request
from ratiocine.errors import BadInput, Failure
from ratiocine.prompts import PREFILLED, prompt_ids
from ratiocine.records import Completion, Problem
from ratiocine.rewards import Rollout
from ratiocine.runs import GROUP_KEYS
from ratiocine.training import resolve_compute, truncate_log
from rl.alarms import Alarms, risen
from rl.config import Config
from rl.metrics import step_flops, step_metrics
from rl.objectives import advantages, equal_rewards, mirror_descent
from rl.policy import Policy, merged_weights
from rl.policy_trainer import PolicyTrainer
from rl.preparation import check_prompt, prepare
from rl.rollouts import Group, Rollouts, Step
from rl.trl_arguments import arguments

pytestmark = pytest.mark.filterwarnings("ignore:.*checkpointing.*:FutureWarning")
PROBLEMS = [
    Problem(f"p{i}", f"What is {i} + 1?", str(i + 1), "number", "math-oe", "sums") for i in range(8)
]


def config(*words: str) -> Config:
    return cli.compose(
        "rl",
        Config,
        ["model=tiny", "precision=float32", "rollout_dtype=float32", "max_new_tokens=12", *words],
    )


# Advantages


def test_advantages_of_the_table_of_r1() -> None:
    rewards = (0.1, 1.1, 1.0, 0.1)
    assert advantages(rewards, "population") == pytest.approx(
        [-0.9972, 1.1022, 0.8923, -0.9972], abs=5e-5
    )
    assert advantages(rewards, "sample") == pytest.approx(
        [-0.8636, 0.9545, 0.7727, -0.8636], abs=5e-5
    )
    assert advantages(rewards, "none") == pytest.approx([-0.475, 0.525, 0.425, -0.475])


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=16), st.floats(-5, 5), st.floats(0.1, 5))
def test_advantages_do_not_depend_on_where_rewards_begin(
    rewards: list[float], shift: float, scale: float
) -> None:
    found = advantages(rewards, "population")
    assert sum(found) == pytest.approx(0, abs=1e-6)
    if max(rewards) - min(rewards) > 1e-3:
        moved = advantages([scale * reward + shift for reward in rewards], "population")
        assert moved == pytest.approx(found, abs=1e-5)
        assert sum(value**2 for value in found) == pytest.approx(len(rewards))


def test_a_group_without_a_difference_teaches_nothing() -> None:
    assert advantages([0.3, 0.3, 0.1 + 0.2], "population") == [0, 0, 0]
    assert advantages([None, None], "population") == [0, 0] and equal_rewards([None, None])
    assert advantages([1.0, None, 0.0], "none") == [0, 0, 0]


# Losses and gradients


def trace(
    ids: Sequence[int], name: str, sample: int, logprobs: Sequence[float] | None = None
) -> Completion:
    return Completion(
        name,
        "x",
        "stop",
        3,
        len(ids),
        0.0,
        tuple(ids),
        None if logprobs is None else tuple(logprobs),
        sample,
    )


def step_of(
    groups: Sequence[tuple[Sequence[int], Sequence[Sequence[int]], Sequence[float]]],
    std: str = "population",
) -> Step:
    """A step made by hand: prompts, answers and rewards."""
    made = []
    for number, (prompt, answers, rewards) in enumerate(groups):
        problem = PROBLEMS[number]
        traces = tuple(
            trace(ids, problem.id, at, [0.0] * len(ids)) for at, ids in enumerate(answers)
        )
        rollouts = tuple(Rollout(problem, "x", len(ids)) for ids in answers)
        made.append(
            Group(
                problem,
                tuple(prompt),
                traces,
                rollouts,
                (0,) * len(answers),
                {"accuracy": list(rewards)},
                tuple(rewards),
                tuple(advantages(rewards, std)),
            )  # type: ignore[arg-type]
        )
    return Step(made, made, 0.0, 0.0)


def trainer_of(settings: Config, step: Step, folder: Path) -> PolicyTrainer:
    model = models.load_model(settings.model, "cpu", attention="eager")
    model.save_pretrained(folder / "start")
    model.config._name_or_path = str(folder / "start")
    tokenizer = models.load_tokenizer(settings.model)
    compute = resolve_compute(settings)
    args = arguments(settings, compute, folder)
    return PolicyTrainer(
        settings, args, model, tokenizer, compute, lambda number: step, lambda number: 1e-3, []
    )


def gradients(trainer: PolicyTrainer) -> dict[str, torch.Tensor]:
    """Of one update, as training adds them up over its micro-batches."""
    trainer.model.train()
    trainer.model.zero_grad()
    n = trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps
    for _ in range(n):
        inputs = trainer._prepare_inputs([dict(row) for row in trainer.rows])
        trainer.compute_loss(trainer.model, inputs).backward()
        trainer._step += 1
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in trainer.model.named_parameters()
    }


def logprobs_of(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *answer]])
    found = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return found.gather(-1, torch.tensor(answer)[:, None])[:, 0]


ANSWERS = (
    (
        (5, 6, 7),
        ([9, 8, 1], [30, 31, 32, 33, 34, 1], [40, 1], [50, 51, 52, 1]),
        (0.1, 1.1, 1.0, 0.1),
    ),
    ((5, 6, 7, 8, 9), ([20, 21, 22, 1], [60, 1], [70, 71, 1], [80, 1]), (1.0, 1.0, 1.0, 1.0)),
)


@pytest.mark.parametrize("micro", [2, 8])
@pytest.mark.parametrize("loss", ["sequence-mean", "token-mean", "constant"])
def test_the_first_gradient_is_reinforce_with_the_groups_baseline(
    loss: str, micro: int, tmp_path: Path
) -> None:
    """Every answer counts in the mean, those of the group without a difference too, which are not
    computed at all."""
    settings = config(
        "batch_size=8", "num_generations=4", f"micro_batch_size={micro}", f"objective.loss={loss}"
    )
    trainer = trainer_of(settings, step_of(ANSWERS), tmp_path)
    found = gradients(trainer)
    model, total = trainer.model, torch.zeros(())
    model.zero_grad()
    tokens = sum(len(answer) for _, answers, _ in ANSWERS for answer in answers)
    for prompt, answers, rewards in ANSWERS:
        for answer, advantage in zip(answers, advantages(rewards, "population"), strict=True):
            scale = {
                "sequence-mean": 1 / (8 * len(answer)),
                "token-mean": 1 / tokens,
                "constant": 1 / (8 * 12),
            }[loss]
            total = total - scale * advantage * logprobs_of(model, prompt, answer).sum()
    total.backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(found[name], parameter.grad, atol=1e-6), name
    assert sum(float(g.abs().sum()) for g in found.values()) > 0.1


def test_groups_of_equal_rewards_move_nothing(tmp_path: Path) -> None:
    same = [(prompt, answers, (0.7,) * 4) for prompt, answers, _ in ANSWERS]
    trainer = trainer_of(
        config("batch_size=8", "num_generations=4", "micro_batch_size=4"), step_of(same), tmp_path
    )
    assert all(not gradient.any() for gradient in gradients(trainer).values())


def test_a_micro_batch_beyond_memory_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = [(prompt, answers, (0.7,) * 4) for prompt, answers, _ in ANSWERS]
    settings = config(
        "batch_size=8", "num_generations=4", "micro_batch_size=4", "max_new_tokens=12"
    )
    trainer = trainer_of(settings, step_of(same), tmp_path)
    trainer.trial_step(6)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())

    def too_large(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trainer, "_compute_loss", too_large)
    told = "micro_batch_size=4: answers of 12 tokens to prompts of 6 do not fit into memory"
    with pytest.raises(BadInput, match=f"{told}; try a smaller one, or a smaller max_new_tokens"):
        trainer.trial_step(6)


def fixture(
    trainer: PolicyTrainer, now: torch.Tensor, old: torch.Tensor, **more: Any
) -> dict[str, Any]:
    """Two answers, of one and of three tokens, with advantages 1 and −1, whose log-probabilities
    are given."""
    given = (now, torch.zeros_like(now), None)
    trainer._get_per_token_logps_and_entropies = (  # type: ignore[method-assign]
        lambda *a, **k: given
    )
    trainer._last_logprobs = now.detach(), torch.zeros_like(now)
    mask = torch.tensor([[1, 0, 0], [1, 1, 1]])
    ids = torch.ones(2, 3, dtype=torch.long)
    trainer.current_gradient_accumulation_steps = 1
    return {
        "prompt_ids": ids,
        "prompt_mask": ids,
        "completion_ids": ids,
        "completion_mask": mask,
        "num_items_in_batch": torch.tensor(4),
        "advantages": torch.tensor([1.0, -1.0]),
        "old_per_token_logps": old,
        "counts": True,
        "idle": False,
        **more,
    }


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        # ratios: 1.5 -> clipped to 1.2 (or 1.28); and of −1: 0.5 -> clipped to 0.8, 1, 1.5 (not
        # clipped: it got worse)
        ("grpo", (-1.2 + (0.8 + 1 + 1.5) / 3) / 2),
        ("dr_grpo", (-1.2 + 0.8 + 1 + 1.5) / (2 * 12)),
        ("dapo", (-1.28 + 0.8 + 1 + 1.5) / 4),
    ],
)
def test_losses_of_two_answers_by_hand(objective: str, expected: float, tmp_path: Path) -> None:
    from trl import GRPOTrainer

    settings = config(
        f"objective={objective}", "batch_size=2", "num_generations=2", "micro_batch_size=2"
    )
    trainer = trainer_of(settings, step_of(ANSWERS), tmp_path)
    ratios = torch.tensor([[1.5, 1.0, 1.0], [0.5, 1.0, 1.5]])
    inputs = fixture(trainer, ratios.log(), torch.zeros(2, 3))
    trainer.model.train()
    assert float(trainer.compute_loss(trainer.model, inputs)) == pytest.approx(expected, abs=1e-6)
    theirs = GRPOTrainer._compute_loss(trainer, trainer.model, inputs)
    assert float(theirs) == pytest.approx(expected, abs=1e-6)
    assert trainer.sums.totals["loss"] == pytest.approx(expected, abs=1e-6)
    assert (trainer.sums.totals["clipped"], trainer.sums.totals["tokens"]) == (2, 4)


def test_the_divergence_from_the_reference(tmp_path: Path) -> None:
    settings = config(
        "objective.beta=0.5", "batch_size=2", "num_generations=2", "micro_batch_size=2"
    )
    trainer = trainer_of(settings, step_of(ANSWERS), tmp_path)
    now, reference = torch.full((2, 3), -1.0), torch.full((2, 3), -1.2)
    inputs = fixture(trainer, now, now, ref_per_token_logps=reference)
    trainer.model.train()
    divergence = exp(-0.2) + 0.2 - 1  # of every token
    assert float(trainer.compute_loss(trainer.model, inputs)) == pytest.approx(
        0.5 * divergence, abs=1e-6
    )
    assert trainer.sums.totals["kl"] / trainer.sums.totals["tokens"] == pytest.approx(
        divergence, abs=1e-6
    )


def test_mirror_descent_follows_its_gradient() -> None:
    mask, before = torch.tensor([[1, 0], [1, 1]]), torch.tensor([[-1.0, 0.0], [-2.0, -1.0]])
    now = torch.tensor([[-0.5, 9.0], [-2.5, -1.0]], requires_grad=True)
    mirror_descent(now, before, mask, torch.tensor([0.5, -0.5]), tau=0.2).backward()
    # −1/k (advantage − τ · log-ratio of the whole answer), for each of its tokens
    assert now.grad is not None
    assert now.grad.flatten().tolist() == pytest.approx(
        [-(0.5 - 0.1) / 2, 0, -(-0.5 + 0.1) / 2, -(-0.5 + 0.1) / 2]
    )


def test_the_update_sees_answers_as_the_sampler_made_them(tmp_path: Path) -> None:
    """Log-probabilities of the engine's own answers, batched, trimmed and left-padded, against
    those it reported."""
    settings = config(
        "batch_size=8", "num_generations=4", "micro_batch_size=2", "objective.beta=0.01"
    )
    model = models.load_model(settings.model, "cpu")
    tokenizer = models.load_tokenizer(settings.model)
    policy = Policy(settings, model.device, tokenizer)
    policy.refresh(model)
    rollouts = Rollouts(settings, PROBLEMS, tokenizer, policy.generate, None)
    trainer = trainer_of(settings, rollouts.step(0), tmp_path)
    gradients(trainer)
    assert (
        trainer.sums.totals["compared"]
        == trainer.sums.totals["tokens"]
        == sum(r.length for g in rollouts.step(0).groups for r in g.rollouts)
    )
    assert trainer.sums.worst < 2e-4  # they are reported to five places


# Adapters and the copy that answers


@pytest.mark.parametrize("tied", [False, True])
def test_the_copy_answers_with_merged_adapters_and_leaves_the_weights_alone(tied: bool) -> None:
    settings = config("lora=true", "lora_rank=4")
    model = tiny_gemma() if tied else models.load_model(settings.model, "cpu")
    adapted = models.add_lora(model, 4, "all-linear", seed=0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    before = {name: parameter.clone() for name, parameter in adapted.named_parameters()}
    found = {name: weight.clone() for name, weight in merged_weights(adapted)}
    assert all(
        torch.equal(before[name], parameter) for name, parameter in adapted.named_parameters()
    )
    plain = dict(adapted.merge_and_unload().named_parameters())
    assert set(found) == set(plain)
    assert all(torch.allclose(found[name], plain[name], atol=1e-6) for name in plain)


def test_the_copy_leaves_the_attention_of_the_update_alone() -> None:
    settings = config()
    model = models.load_model(settings.model, "cpu")
    before = model.config._attn_implementation
    policy = Policy(settings, model.device, models.load_tokenizer(settings.model))
    assert model.config._attn_implementation == before != policy.model.config._attn_implementation


def test_four_bit_weights_are_dequantized_where_no_adapter_is(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    settings = config()
    tiny = models.load_model(settings.model, "cpu")
    models.save_student(tiny, models.load_tokenizer(settings.model), tmp_path / "model", None)
    folder = settings.model.model_copy(update={"kind": "hub", "path": str(tmp_path / "model")})
    model = models.add_lora(
        models.load_model(folder, "cpu", four_bit=torch.float32), 4, ["q_proj", "v_proj"], seed=0
    )
    shapes = {name: weight.shape for name, weight in merged_weights(model)}
    assert shapes == {name: weight.shape for name, weight in tiny.named_parameters()}


# Which problems, and what they are worth


def scripted(settings: Config, worth: dict[str, list[str]]) -> Rollouts:
    """Rollouts whose answers are given by problem, `0` being a wrong one."""

    def sample(requests: Sequence[Request]) -> Any:
        for request in requests:
            texts = worth[request.id.split("/")[1]]
            yield [
                Completion(request.id, text, "stop", 3, 4, 0.0, (9, 9, 9, 1), (0.0,) * 4, i)
                for i, text in enumerate(texts)
            ]

    return Rollouts(settings, PROBLEMS, models.load_tokenizer(settings.model), sample, None)


@pytest.mark.parametrize(
    ("batch", "minibatches", "sizes", "on_cpu"),
    [(32, 1, [1, 2, 4, 8, 16, 32], 8), (24, 2, [1, 2, 4], 4), (12, 1, [1, 2, 4], 4)],
)
def test_micro_batches_divide_the_answers_of_an_update(
    batch: int, minibatches: int, sizes: list[int], on_cpu: int
) -> None:
    settings = config(
        f"batch_size={batch}", f"num_minibatches={minibatches}", "num_generations=4", "device=cpu"
    )
    assert settings.micro_batch_sizes == sizes
    assert resolve_compute(settings).micro_batch_size == on_cpu


def test_every_problem_is_asked_once_in_a_pass() -> None:
    settings = config("batch_size=8", "num_generations=4", "micro_batch_size=4")
    rollouts = scripted(settings, {})
    passes = [
        [name for step in range(4 * n, 4 * n + 4) for name in rollouts._names(step)]
        for n in range(3)
    ]
    assert all(sorted(names) == sorted(f"sums/{p.id}" for p in PROBLEMS) for names in passes)
    assert passes[0] != passes[1] and passes[0] == [
        name for step in range(4) for name in scripted(settings, {})._names(step)
    ]


def test_no_problem_is_in_a_step_twice() -> None:
    rollouts = scripted(config("batch_size=12", "num_generations=4", "micro_batch_size=4"), {})
    assert all(len(set(rollouts._names(step))) == 3 for step in range(20))


def test_groups_without_a_difference_are_drawn_again_whole() -> None:
    """Only p6 has both right and wrong answers: whatever a step begins with, it ends up in it, and
    no group is mixed."""
    worth = {p.id: ["\\boxed{0}"] * 2 for p in PROBLEMS} | {
        "p6": ["\\boxed{7}", "\\boxed{0}"],
        "p1": ["\\boxed{2}"] * 2,
    }
    settings = config(
        "objective=dapo",
        "reward=accuracy",
        "batch_size=4",
        "num_generations=2",
        "micro_batch_size=2",
        "objective.dynamic_sampling_rounds=8",
    )
    step = scripted(settings, worth).step(0)
    assert [g.problem.id for g in step.groups if not g.has_equal_rewards] == ["p6"]
    assert len({g.problem.id for g in step.sampled}) == len(step.sampled) == 8
    for group in step.groups:
        assert all(
            r.problem is group.problem and t.id == f"sums/{group.problem.id}"
            for r, t in zip(group.rollouts, group.completions)
        )
        assert [r.text for r in group.rollouts] == worth[group.problem.id]
    seen = step_metrics(step, settings)
    assert (seen["all_right"], seen["all_wrong"], seen["frac_reward_zero_std"], seen["groups"]) == (
        1 / 8,
        6 / 8,
        7 / 8,
        8,
    )
    assert (
        scripted(
            settings.model_copy(
                update={
                    "objective": settings.objective.model_copy(
                        update={"dynamic_sampling_rounds": 0}
                    )
                }
            ),
            worth,
        )
        .step(0)
        .sampled
        == scripted(settings, worth).step(0).sampled[:2]
    )


def test_the_control_permutes_the_same_rewards() -> None:
    worth = {
        p.id: [f"\\boxed{{{p.reference}}}", "\\boxed{-1}", "\\boxed{-1}", "\\boxed{-1}"]
        for p in PROBLEMS
    }
    words = ("reward=accuracy", "batch_size=32", "num_generations=4", "micro_batch_size=4")
    plain, shuffled = (
        scripted(config(*words, f"shuffle_rewards={on}"), worth).step(0) for on in ("false", "true")
    )
    spread = [Counter(r for g in step.groups for r in g.rewards) for step in (plain, shuffled)]
    assert spread[0] == spread[1] == {1.0: 8, 0.0: 24}
    assert [g.rewards for g in plain.groups] != [g.rewards for g in shuffled.groups]


def test_a_problem_at_fault_leaves_and_an_answer_at_fault_is_wrong() -> None:
    """A reference that cannot be judged leaves its group without rewards; an unreadable answer is
    wrong like any other."""
    bad = Problem("bad", "?", None, "number", "math-oe", "sums")
    settings = config("reward=accuracy", "batch_size=2", "num_generations=2", "micro_batch_size=2")
    rollouts = scripted(settings, {})
    traces = [
        Completion("sums/x", text, "stop", 3, 4, 0.0, (9,), (0.0,), i)
        for i, text in enumerate(("\\boxed{\ud800", "7"))
    ]
    assert rollouts._rewarded(bad, traces).rewards == (None, None)
    assert rollouts._rewarded(PROBLEMS[6], traces).rewards == (0.0, 1.0)


def test_rewards_that_rise_are_told_from_noise() -> None:
    assert risen([0.1, 0.2, 0.1, 0.2], [0.5, 0.6, 0.5, 0.6])
    assert not risen([0.1, 0.5, 0.0, 0.4], [0.3, 0.1, 0.6, 0.2])


# The prompt


def test_a_prompt_that_opens_the_think_block_counts_for_the_format() -> None:
    tokenizer = models.load_tokenizer(config().model)
    tokenizer.chat_template += PREFILLED
    check_prompt(config("reward=r1"), tokenizer, None)
    assert tokenizer.decode(prompt_ids(tokenizer, "?")).endswith("<|im_start|>assistant\n<think>\n")
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "<think>\\n", "<think>\\n\\n</think>\\n\\n"
    )
    with pytest.raises(BadInput, match="requires a think block, which the prompt has closed"):
        check_prompt(config("reward=r1"), tokenizer, None)
    check_prompt(config("reward=accuracy"), tokenizer, None)


# The command


RUN = (
    "data=demo",
    "limit=8",
    "reward=e2h",
    "reward.terms=[{name: accuracy}, {name: overlong, limit: 40, cache: 39, weight: 0.3}]",
    "max_new_tokens=24",
    "batch_size=16",
    "num_generations=4",
    "micro_batch_size=4",
    "max_steps=6",
    "lr=1e-3",
    "val_size=12",
    "eval_steps=3",
    "save_steps=2",
    "seed=1",
    "precision=float32",
    "rollout_dtype=float32",
)


def run_of(chooser: Path, out: Path, *words: str) -> tuple[str, ...]:
    return ("rl", f"model={chooser}", *RUN, *words, f"out={out}")


@pytest.fixture(scope="module")
def whole(chooser: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rl") / "run"
    print(done(*run_of(chooser, out, "tracker=wandb")))
    return out


def test_a_run_shows_what_it_does(whole: Path) -> None:
    rows = rows_of(whole / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 7))
    wanted = {
        "reward",
        "reward_accuracy",
        "reward_overlong",
        "accuracy",
        "format",
        "all_right",
        "all_wrong",
        "frac_reward_zero_std",
        "entropy",
        "clip_ratio",
        "kl",
        "sampling_logp_difference",
        "length",
        "thinking_right",
        "thinking_wrong",
        "truncated",
        "loops",
        "tokens",
        "loss",
        "grad_norm",
        "lr",
        "rollout_seconds",
        "reward_seconds",
        "update_seconds",
    }
    assert all(wanted <= set(row) for row in rows)
    assert all((row["sampling_logp_difference_max"] or 0) < 1e-3 for row in rows)
    held = rows_of(whole / "val_accuracy.jsonl")
    assert [row["step"] for row in held] == [0, 3, 6] and all(row["n"] == 12 for row in held)
    assert rows[2]["val_accuracy"] == held[1]["accuracy"]
    answers = rows_of(whole / "completions.jsonl")
    assert len(answers) == 6 * 16 and len({(row["step"], row["id"]) for row in answers}) == 6 * 4
    for row in rows:
        own = [answer for answer in answers if answer["step"] == row["step"]]
        assert row["reward"] == pytest.approx(sum(answer["reward"] for answer in own) / 16)
        assert row["accuracy"] == pytest.approx(sum(answer["right"] for answer in own) / 16)
        assert sum(answer["advantage"] for answer in own) == pytest.approx(0, abs=1e-6)
    ElementTree.parse(whole / "curves.svg")
    manifest = json.loads((whole / "manifest.json").read_text())
    assert manifest["val_accuracy"]["n"] == 12 and manifest["steps"] == 6


def test_a_tracker_is_told_what_the_files_hold(whole: Path) -> None:
    found = records(next((whole / "wandb").glob("offline-run-*/*.wandb")))
    history = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            history.append(
                {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            )
    local = rows_of(whole / "metrics.jsonl")
    rewards = [json.loads(row["reward"]) for row in history if "reward" in row]
    assert rewards == [row["reward"] for row in local]
    run = next(record.run for record in found if record.WhichOneof("record_type") == "run")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {key: config[key] for key in GROUP_KEYS} == {
        "study": None,
        "verb": "rl",
        "model_name": "tiny",
        "size": 107_072,
        "scenario": "mixed",
        "ratio": 0,
        "seed": 1,
        "reward": "e2h",
    }
    assert sum("completions" in row for row in history) == 6


def test_the_student_is_an_ordinary_model(whole: Path, tmp_path: Path) -> None:
    done(
        "eval",
        f"model={whole / 'model'}",
        "benchmarks=demo",
        "limit=1",
        "max_new_tokens=8",
        f"out={tmp_path / 'eval'}",
    )
    manifest = json.loads((tmp_path / "eval" / "manifest.json").read_text())
    assert manifest["student"]["reward"] == "e2h" and manifest["student"]["objective"] == "grpo"
    assert manifest["student"]["base"] == manifest["student"]["parent"]["base"] == "tiny"


KILLED = """
import os, signal, sys
sys.argv = ["rl", *sys.argv[1:]]
def killing(owner, name, at):
    inner, seen = getattr(owner, name), [0]
    def wrapped(*a, **k):
        seen[0] += 1
        if seen[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*a, **k)
    setattr(owner, name, wrapped)
where = os.environ["KILLED"]
if where == "rollout":
    from rl.rollouts import Rollouts
    killing(Rollouts, "_rewarded", 4 * 3 + 2)  # the second group of the fourth step
elif where == "update":
    from rl.policy_trainer import PolicyTrainer
    killing(PolicyTrainer, "compute_loss", 4 * 3 + 2)
else:
    from ratiocine.training import Checkpoints
    killing(Checkpoints, "on_save", 2)  # written, and not yet under its name
import runpy
runpy.run_module("rl", run_name="__main__", alter_sys=True)
"""
TIMED = {"seconds", "rollout_seconds", "reward_seconds", "update_seconds", "memory_gb"}


def same(a: Path, b: Path) -> None:
    kept = [
        [{k: v for k, v in row.items() if k not in TIMED} for row in rows_of(out / "metrics.jsonl")]
        for out in (a, b)
    ]
    assert kept[0] == kept[1]
    for name in ("completions.jsonl", "val_accuracy.jsonl", "model/model.safetensors"):
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


MOVING = (
    "objective.beta=0.1",
    "objective.ref_model_sync_steps=1",
    "num_minibatches=2",
    "num_iterations=2",
    "micro_batch_size=8",
    "lr=1e-4",
)


@pytest.mark.parametrize(
    ("where", "more"),
    [
        ("saving", ()),
        pytest.param("rollout", (), marks=pytest.mark.slow),
        pytest.param("update", (), marks=pytest.mark.slow),
        pytest.param("update", ("lora=true", "lora_rank=4"), marks=pytest.mark.slow),
        pytest.param("rollout", MOVING, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_as_if_nothing_had_been(
    where: str,
    more: tuple[str, ...],
    whole: Path,
    chooser: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Adapters are merged once; a reference that moves is the one that it was; a step is gone on
    from whole."""
    reference = whole
    if more:
        reference = tmp_path / "reference"
        done(*run_of(chooser, reference, *more))
    out = tmp_path / "run"
    monkeypatch.setenv("KILLED", where)
    process = started("-c", KILLED, *run_of(chooser, out, *more)[1:], err=tmp_path / "stderr")
    assert process.wait() == -signal.SIGKILL, (tmp_path / "stderr").read_text()[-2000:]
    assert not (out / "DONE").exists() and any((out / "checkpoints").glob("[0-9]*"))
    done(*run_of(chooser, out, *more))
    same(out, reference)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("reward=best",), "unknown reward 'best'; known: accuracy, e2h, r1"),
        (("reward.terms=[{name: accuracy, bonus: 2}]",), "bonus"),
        (("reward.terms=[{name: detection}]",), "problems of data=demo lack meta.boxes"),
        (("num_generations=1",), "num_generations=1: an answer's advantage is relative to others"),
        (("batch_size=30",), "batch_size=30 is no multiple of num_generations=8"),
        (
            ("batch_size=24", "micro_batch_size=16"),
            "batch_size=24 is no multiple of num_minibatches=1 times micro_batch_size=16",
        ),
        (("engine=vllm",), "engine=vllm needs the package vllm"),
        (
            ("engine=vllm", "engine.merge_adapter=false"),
            "engine.merge_adapter=false has no effect in rl",
        ),
        (("objective.tau=1",), "tau=1 is for loss=mirror-descent"),
        (
            ("objective=kimi", "objective.epsilon=0.1"),
            "epsilon=0.1, epsilon_high=0.2: loss=mirror-descent does not clip its ratios",
        ),
        (("resume_overrides=[num_iterations]",), "keeps its number of updates per step"),
        (("resume_overrides=[lora]",), "keeps the weights that it trains"),
        (("resume_overrides=[num]",), "'num' is no key of the configuration"),
        (("objective=ppo",), "unknown objective 'ppo'; known: dapo, dr_grpo, grpo, kimi"),
        (("val_size=100000",), "for validation are fewer than the 4 of a step"),
        (("max_new_tokens=3",), "truncated all 32 answers of the first step (100 %)"),
        (("thinking=true",), "has no switch"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    result = command("rl", "model=tiny", "limit=5", "val_size=4", f"out={tmp_path / 'x'}", *words)
    assert result.returncode == 2, result.stdout + result.stderr
    assert said in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_problems_without_references_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": f"q{i}", "question": f"Say {i}.", "answer": str(i) if i % 2 else None}
        for i in range(20)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = command("rl", "model=tiny", f"data={file}", f"out={tmp_path / 'x'}")
    assert result.returncode == 2
    assert (
        "10 of 20 problems of data=rows lack a reference that can be graded: q0, q2, q4, q6, q8 …"
        in result.stderr
    )


@pytest.mark.parametrize(
    "words",
    [
        ("objective=kimi", "num_iterations=2"),
        ("objective=dapo",),
        ("objective=dr_grpo", "temperature=0.9"),
    ],
)
def test_every_objective_runs(words: tuple[str, ...], chooser: Path, tmp_path: Path) -> None:
    done(*run_of(chooser, tmp_path / "run", "max_steps=2", "val_size=0", *words))
    rows = rows_of(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == 2 and all(
        row["grad_norm"] > 0 for row in rows if row["frac_reward_zero_std"] < 1
    )
    # A sampler that draws at another temperature tells other log-probabilities than those that are
    # trained.
    assert "temperature=0.9" not in words or all(
        row["sampling_logp_difference"] is None for row in rows
    )


def test_a_term_without_signal_is_named(chooser: Path, tmp_path: Path) -> None:
    """The student has learned to answer directly: no answer ever has a think block."""
    out = tmp_path / "run"
    said = done(
        *run_of(
            chooser,
            out,
            "max_steps=3",
            "constant_reward_steps=3",
            "reward.terms=[{name: accuracy}, {name: format}]",
        )
    )
    alarm = "the reward term 'format' has been 0 for all answers of 3 steps"
    assert said.count(f"warning: {alarm}") == 1
    assert [
        alarm in line for line in json.loads((out / "manifest.json").read_text())["alarms"]
    ] == [True]


def test_a_log_is_cut_whole_or_not_at_all(tmp_path: Path) -> None:
    """What a separator of lines stands in, a line that a kill has torn, and rows that are not
    there."""
    file = tmp_path / "log.jsonl"
    rows = [{"step": step, "text": "a\u2028b\x85\n"} for step in (1, 1, 2, 3)]
    file.write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + '{"step": 4, "te'
    )
    assert truncate_log(file, file.parent, 2) == rows[:3]
    assert [json.loads(line) for line in file.open()] == rows[:3]
    with pytest.raises(Failure, match="ends before step 3"):
        truncate_log(file, file.parent, 3)
    assert [json.loads(line) for line in file.open()] == rows[:3]


def test_flops_count_what_is_sampled_and_what_is_trained_on() -> None:
    shape = cost.Shape.of(models.load_model(config().model, "cpu").config)
    made = step_of([((1, 2, 3), [(4, 5), (6, 7, 8)], [1.0, 0.0]), ((1,), [(4,), (5,)], [1.0, 1.0])])
    whole, cut = made.groups[0].completions
    cut = replace(cut, stop="length")
    groups = [replace(made.groups[0], completions=(whole, cut)), made.groups[1]]
    step = replace(made, groups=groups)
    sampled = sum(cost.generation(shape, *n) for n in ((3, 2), (3, 3), (1, 1), (1, 1)))
    all_read = sum(cost.forward(shape, n) for n in (5, 6, 2, 2))
    for words, trained, read in (
        ("", (5, 6), 0),  # equal rewards: no gradient
        ("objective.mask_truncated_completions=true", (5,), 0),
        ("objective.beta=0.1", (5, 6, 2, 2), all_read),
    ):
        paper = step_flops(step, config(*([words] if words else [])), shape)[1]
        assert paper == sampled + sum(cost.training(shape, n) for n in trained) + read


def alarms_of(rewards: Sequence[float], accuracies: Sequence[float | None]) -> list[str]:
    """The alarms of a run with these rewards and validation accuracies by step, the first of them
    before the first step."""
    alarms, rows = Alarms(config("constant_reward_steps=100")), []
    for step, reward in enumerate(rewards, 1):
        rows.append({"step": step, "reward": reward, "val_accuracy": accuracies[step]})
        alarms.check(rows, accuracies[0])
    return list(alarms.raised.values())


def test_rewards_that_rise_without_accuracy_are_told() -> None:
    rising = [0.1 + 0.02 * step + 0.01 * (step % 3) for step in range(30)]
    silent: list[float | None] = [None] * 31
    flat_accuracy, better = list(silent), list(silent)
    flat_accuracy[0] = flat_accuracy[30] = 0.4
    better[0], better[30] = 0.4, 0.6
    assert [
        "validation accuracy has not (from 40.0% to 40.0%)" in text
        for text in alarms_of(rising, flat_accuracy)
    ] == [True]
    assert (
        alarms_of(rising, better)
        == alarms_of([0.3 + 0.01 * (s % 3) for s in range(30)], flat_accuracy)
        == []
    )


@pytest.mark.slow
def test_the_report_shows_what_rewards_did(whole: Path, chooser: Path, tmp_path: Path) -> None:
    for name, model in (("before", chooser), ("after", whole / "model")):
        done(
            "eval",
            f"model={model}",
            "benchmarks=demo",
            "limit=2",
            "max_new_tokens=8",
            f"out={tmp_path / name}",
        )
    page = tmp_path / "report.html"
    done("eval.report", str(tmp_path / "before"), str(tmp_path / "after"), "--out", str(page))
    text = page.read_text()
    assert "ratio 0 + grpo e2h (changed), seed 1" in text and "against ratio 0, " in text
    assert (
        text.count('aria-label="Training curves"') == 2
        and "Rollouts of the group, the best first" in text
    )
    group = json.loads((whole / "manifest.json").read_text())["group"]
    assert len(group) == 4 and all(f"{row['advantage']:+.2f}" in text for row in group)
    one = done("eval.compare", str(tmp_path / "after"), "--against", str(tmp_path / "before"))
    assert any(line.startswith("all") for line in one.splitlines())


def test_the_student_keeps_the_prompt_that_it_was_taught_under(
    chooser: Path, tmp_path: Path
) -> None:
    local = cli.compose(
        "rl",
        Config,
        [f"model={chooser}", "data=demo", "limit=5", "val_size=4", "prefill_think=true"],
    )
    prepared = prepare(local)
    models.save_student(
        models.load_model(local.model, "cpu"), prepared.tokenizer, tmp_path / "model", None
    )
    asked = models.load_tokenizer(local.model.model_copy(update={"path": str(tmp_path / "model")}))
    assert prompt_ids(asked, "?") == prompt_ids(prepared.tokenizer, "?")
    assert asked.decode(prompt_ids(asked, "?")).endswith("<think>\n")
    assert Rollout(PROBLEMS[6], "7</think>\\boxed{7}", 9, opened=True).whole.startswith("<think>")
    with pytest.raises(BadInput, match="opens a think block already"):
        prepare(
            local.model_copy(
                update={"model": local.model.model_copy(update={"path": str(tmp_path / "model")})}
            )
        )


def test_the_template_of_r1_zero() -> None:
    tokenizer = models.load_tokenizer(config("model.chat_template=r1-zero").model)
    text = tokenizer.decode(prompt_ids(tokenizer, "What is 3 + 4?"))
    assert text.startswith("A conversation between User and Assistant.")
    assert text.endswith("<answer> answer here </answer>. User: What is 3 + 4? Assistant:")
    check_prompt(config("model.chat_template=r1-zero", "reward=r1-zero"), tokenizer, None)


def test_a_start_without_a_chat_template_is_refused(chooser: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(
        chooser, bare, ignore=shutil.ignore_patterns("chat_template*", "rendering.json")
    )
    settings = json.loads((bare / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (bare / "tokenizer_config.json").write_text(json.dumps(settings))
    refused = command(
        "rl", f"model={bare}", "data=demo", "limit=5", "val_size=4", f"out={tmp_path / 'x'}"
    )
    assert refused.returncode == 2
    assert (
        "has no chat template; for a base model give model.chat_template=plain"
        in refused.stderr.splitlines()[-1]
    )
