"""The identity of a run: which settings name it, and that every field states whether it does."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from ratiocine import cli
from ratiocine.config import Hashed, Identity, StrictConfig, Unhashed, identity, marker
from ratiocine.models import ModelConfig
from ratiocine.runs import run_hash
from ratiocine.runs.hashes import settings_hash

VERBS = ("distill", "train", "rl", "eval")


def schema_of(verb: str) -> type[BaseModel]:
    schema: type[BaseModel] = importlib.import_module(f"{verb}.config").Config
    return schema


def nested(annotation: Any) -> Iterator[type[BaseModel]]:
    """The configurations in a type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from nested(inner)


def faults(schema: type[BaseModel], within: str = "value") -> Iterator[str]:
    """Fields without exactly one marker, and hashed fields within a part that is not hashed."""
    for name, field in schema.model_fields.items():
        markers = [one.by for one in field.metadata if isinstance(one, Identity)]
        if len(markers) != 1:
            yield f"{schema.__name__}.{name} has {len(markers)} identity markers"
            continue
        if within == "nothing" and markers[0] != "nothing":
            yield f"{schema.__name__}.{name} is hashed within an unhashed part"
        for inner in nested(field.annotation):
            yield from faults(inner, "nothing" if "nothing" in (within, markers[0]) else "value")


@pytest.mark.parametrize("verb", VERBS)
def test_every_field_states_whether_it_is_part_of_a_runs_identity(verb: str) -> None:
    assert set(faults(schema_of(verb))) == set()


class Inner(StrictConfig):
    twice: Unhashed[Hashed[int]] = 0
    fine: Hashed[int] = 0


class Outer(StrictConfig):
    unmarked: int = 0
    price: Unhashed[Inner] = Inner()
    inner: Hashed[list[Inner] | None] = None


def test_the_rule_bites() -> None:
    assert sorted(faults(Outer)) == [
        "Inner.fine is hashed within an unhashed part",
        "Inner.twice has 2 identity markers",
        "Inner.twice has 2 identity markers",
        "Outer.unmarked has 0 identity markers",
    ]
    with pytest.raises(AssertionError, match=r"Outer\.unmarked should have one identity marker"):
        marker(Outer, "unmarked")


BASE = {
    "distill": ("model=tiny", "data=demo", "teacher=transformers", "teacher.model=tiny"),
    "train": ("model=tiny", "ratio=0.5", "pairs=[a]"),
    "rl": ("model=tiny", "data=demo"),
    "eval": ("model=tiny", "benchmarks=demo"),
}
MACHINE = ("threads=3", "device=cpu", "out=elsewhere")
TRACKED = ("tracker=wandb", "project=mine", "group=g")
TRAINING = (
    "deepspeed=zero2",
    "ddp_timeout=60",
    "save_steps=7",
    "save_total_limit=3",
    "resume_overrides=[lr]",
    "executor=slurm",
    "executor.nproc_per_node=2",
)
SAME = {
    "distill": (
        *MACHINE,
        "teacher.engine.max_batch_size=3",
        "teacher.engine.max_cache_tokens=999",
        "price={prompt: 1, completion: 2}",
        "max_spend.tokens=5",
        "answer_cache=other.sqlite",
        "+data.license=mit",
        "+model.license=mit",
        "push_to_hub=me/x",
        "executor=ray",
    ),
    "train": (
        *MACHINE,
        *TRACKED,
        *TRAINING,
        "pairs=[b]",
        "export=folder",
        "preflight=true",
        "push_to_hub=me/x",
        "+model.license=mit",
        "scenario.stages=[{pairs: a}]",
        "micro_batch_size=4",  # what auto is on a CPU
    ),
    "rl": (
        *MACHINE,
        *TRACKED,
        *TRAINING,
        "engine.max_batch_size=3",
        "engine.max_cache_tokens=999",
        "constant_reward_steps=3",
        "tables=false",
        "+data.license=mit",
        "micro_batch_size=8",
    ),
    "eval": (
        *MACHINE,
        *TRACKED,
        "data_dir=local",
        "engine.max_batch_size=3",
        "engine.max_cache_tokens=999",
        "validate_only=true",
        "+model.license=mit",
        "executor.nproc_per_node=2",
    ),
}
OTHER = {
    "distill": (
        "seed=1",
        "samples=2",
        "data.instruction=Answer.",
        "thinking_prompt=suffix",
        "teacher.engine.attention=eager",
        "select.exact=false",
        "verify=none",
        "dtype=float32",
    ),
    "train": (
        "seed=1",
        "ratio=0.25",
        "lr=1e-3",
        "precision=float32",
        "attention=eager",
        "micro_batch_size=8",
        "val_size=3",
        "scenario=sequential",
        "model.chat_template=chatml",
    ),
    "rl": (
        "seed=1",
        "reward=short",
        "objective.beta=0.5",
        "engine=vllm",
        "engine.attention=eager",
        "eval_steps=3",
        "rollout_dtype=float32",
    ),
    "eval": (
        "seed=1",
        "engine=vllm",
        "engine.attention=sdpa",
        "dtype=float32",
        "limit=3",
        "num_fewshot=3",
        "max_new_tokens=7",
        "logprobs=true",
        "thinking=true",
        "model.chat_template=chatml",
    ),
}


@cache
def named(verb: str, *words: str) -> str:
    config = cli.compose(verb, schema_of(verb), [*BASE[verb], *words])
    return run_hash(verb, identity(config), {})


@pytest.mark.parametrize(("verb", "word"), [(verb, w) for verb, ws in SAME.items() for w in ws])
def test_machine_price_and_place_are_no_part_of_a_run(verb: str, word: str) -> None:
    plain = named(verb, *(["scenario.stages=[{}]"] if word.startswith("scenario") else []))
    words = ["executor=slurm", word] if word.startswith("executor.") else [word]
    words = words if "deepspeed" not in word else [word, "executor.nproc_per_node=2"]
    assert named(verb, *words) == plain


@pytest.mark.parametrize("verb", VERBS)
def test_settings_that_change_the_result_name_a_run(verb: str) -> None:
    names = [named(verb, word) for word in ("seed=0", *OTHER[verb])]
    assert len(set(names)) == len(names)


def test_evaluations_by_different_engines_are_different_runs() -> None:
    """Once they had one hash, and the second "was finished" with the completions of the first."""
    engines = ("engine=transformers", "engine=vllm", "engine.attention=sdpa")
    assert len({named("eval", word) for word in engines}) == 3


def test_the_steps_of_checkpoints_count_where_the_best_is_kept(pairs: Path) -> None:
    from train.config import Config, inputs

    def of(*words: str) -> dict[str, str]:
        config = cli.compose("train", Config, ["model=tiny", "ratio=0", f"pairs={pairs}", *words])
        return inputs(config)

    assert of("save_steps=5") == of("save_steps=7")
    best = ("checkpoint=best", "val_size=4")
    assert of(*best, "save_steps=5") != of(*best, "save_steps=7")


def test_the_data_of_rewards_is_a_setting_of_its_own() -> None:
    """The axis `data` of a study is that of the pairs; other problems make another arm."""
    schema = schema_of("rl")

    def settings(*words: str) -> str:
        return settings_hash("rl", identity(cli.compose("rl", schema, ["model=tiny", *words])))

    assert settings("data=demo") != settings("data=sums")
    assert settings("data=demo") == settings("data=demo", "lr=1e-3", "reward=short", "seed=7")


def test_the_package_of_a_model_counts_where_it_is_not_the_first_one() -> None:
    """Runs of earlier releases, which had one packaged model, keep their names."""
    smol, gemma = (
        identity(cli.named("model", name, ModelConfig)) for name in ("smollm2-135m", "gemma-3-270m")
    )
    assert "package" not in smol and gemma["package"] == "gemma-3-270m"


def test_a_pairs_folder_counts_by_content_and_not_by_name() -> None:
    rules = "[{{run: {run}, mode: ift, max_rate: {rate}}}]"
    one, moved, other = (
        named("distill", "select.pass_rates=" + rules.format(run=run, rate=rate))
        for run, rate in (("here", 0.5), ("there", 0.5), ("here", 0.25))
    )
    assert one == moved != other
