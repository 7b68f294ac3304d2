"""Old words: each key, group, flag and tool of the earlier release gives one line with its new
name."""

from typing import Annotated, Any, get_args, get_origin

import pytest
from conftest import command
from pydantic import BaseModel

from distill.config import Config as Distill
from eval.config import Config as Eval
from launch.config import Config as Launch
from ratiocine import cli
from ratiocine.errors import BadInput
from ratiocine.renames import RENAMED, new_key
from rl.config import Config as Rl
from train.config import Config as Train

VERBS = {"distill": Distill, "train": Train, "rl": Rl, "eval": Eval, "launch": Launch}
KEYS = [(verb, old) for verb, table in RENAMED.items() for old in table]


def schemas(annotation: Any) -> list[Any]:
    """The types in an annotation, of which models and mappings have keys."""
    if get_origin(annotation) is Annotated:
        return schemas(get_args(annotation)[0])
    if get_origin(annotation) is dict:
        return [annotation]
    return [found for part in get_args(annotation) for found in schemas(part)] or [annotation]


def has_key(annotation: Any, path: list[str]) -> bool:
    """Whether a dotted key can be given in a configuration; `*` is a key of a mapping."""
    if not path:
        return True
    key, *rest = path
    for schema in schemas(annotation):
        if get_origin(schema) is dict:
            if has_key(get_args(schema)[1], rest):
                return True
        elif isinstance(schema, type) and issubclass(schema, BaseModel):
            field = schema.model_fields.get(key)
            if field is not None and has_key(field.annotation, rest):
                return True
    return False


@pytest.mark.parametrize(("verb", "old"), KEYS)
def test_an_old_key_is_answered_with_a_key_that_there_is(verb: str, old: str) -> None:
    new = new_key(verb, old)
    assert new is not None
    assert has_key(VERBS[verb], new.split(".")), new
    with pytest.raises(BadInput) as refused:
        cli.compose(verb, VERBS[verb], [f"{old.replace('*', 'sums')}=1"])
    assert str(refused.value) == f"{old}= is now {new}=".replace("*", "sums")


@pytest.mark.parametrize("verb", VERBS)
def test_no_key_of_today_is_an_old_word(verb: str) -> None:
    """Else it could not be given."""
    for key in VERBS[verb].model_fields:
        assert new_key(verb, key) is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "ratio=0.5", "on=ray"), "train: on= is now executor="),
        (("train", "ratio=0.5", "on.gpus=8"), "train: on.gpus= is now executor.gpus_per_node="),
        (("distill", "switch=suffix"), "distill: switch= is now thinking_prompt="),
        (("distill", "+budget=3"), "distill: budget= is now max_new_tokens="),
        (("eval", "engine.batch=4"), "eval: engine.batch= is now engine.max_batch_size="),
        (("eval", "data.root=benchmarks"), "eval: data.root= is now data_dir="),
        (("eval", "shots=3"), "eval: shots= is now num_fewshot="),
        (("rl", "objective.kl=0.1"), "rl: objective.kl= is now objective.beta="),
        (("launch", "study.beside=demo"), "launch: study.beside= is now study.base_study="),
        (
            ("launch", "study.name=x", "study.stages=[{name: a, verb: eval, set: ['model=tiny']}]"),
            "launch: study.stages.0.set is now study.stages.0.overrides",
        ),
        (
            ("launch", "+study.grid={models: [tiny], pairs: [demo], ratios: [0], untrained: null}"),
            "launch: study.grid.untrained is now study.grid.baseline",
        ),
        (
            ("distill", "data.families.needle={train: 1, test: 1, expect: gain}"),
            "distill: data.families.needle.expect is now data.families.needle.hypothesis",
        ),
        (("launch.run", "--gpus", "8", "--", "train"), "launch.run: --gpus is now --gpus-per-node"),
        (("launch.run", "--ranks=2", "--", "train"), "launch.run: --ranks is now --nproc-per-node"),
        (("launch.run", "--on", "slurm", "--", "train"), "launch.run: --on is now --executor"),
        (
            ("launch.run", "--rendezvous", "a:1", "--", "train"),
            "launch.run: --rendezvous is now --rdzv-endpoint",
        ),
        (("eval.chat", "tiny", "--budget", "9"), "chat: --budget is now --max-new-tokens"),
        (("eval.judge", "runs/x", "--budget=9"), "judge: --budget is now --max-new-tokens"),
        (("eval.power", "--agreement", "0.5"), "power: --agreement is now --correlation"),
        (
            ("eval.recommend", "x", "--questions", "9"),
            "recommend: --questions is now --num-queries",
        ),
        (("eval.recommend", "x", "--budget", "9"), "recommend: --budget is now --max-flops"),
        (("eval.ask", "model"), "eval.ask: this tool is now eval.chat"),
        (("eval.advise", "runs/x"), "eval.advise: this tool is now eval.recommend"),
    ],
)
def test_an_old_word_is_one_line(words: tuple[str, ...], said: str) -> None:
    refused = command(*words)
    assert (refused.returncode, refused.stderr) == (2, f"{said}\n")
