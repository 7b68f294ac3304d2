"""The command line: configurations that compose; bad input is one line, exit code 2, no output."""

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from conftest import ROOT, command, done, started
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from distill.config import Config as Distill
from distill.config import ThinkingPromptConfig
from eval.config import Config as Eval
from launch.config import Config as Launch
from launch.planner import plan
from ratiocine import cli
from ratiocine.cli import composition
from ratiocine.data import FAMILIES, DataConfig
from ratiocine.engines import OpenAIConfig, TransformersConfig, VLLMConfig
from ratiocine.models import ModelConfig
from ratiocine.progress import speed
from ratiocine.rewards import RewardConfig
from ratiocine.training import DeepSpeedConfig
from rl.config import Config as Rl
from rl.config import ObjectiveConfig
from train.config import Config as Train

SCHEMAS = {
    "model": ModelConfig,
    "data": DataConfig,
    "thinking_prompt": ThinkingPromptConfig,
    "reward": RewardConfig,
    "objective": ObjectiveConfig,
    "deepspeed": DeepSpeedConfig,
}
GROUPED = [(group, name) for group in SCHEMAS for name in cli.options(group)]


@pytest.mark.parametrize(("group", "name"), GROUPED)
def test_every_group_file_is_valid(group: str, name: str) -> None:
    found = cli.named(group, name, SCHEMAS[group])
    assert found.name == name
    if group == "data":
        assert {family.family or key for key, family in found.families.items()} <= set(FAMILIES)


VERBS = {"distill": Distill, "train": Train, "rl": Rl, "eval": Eval, "launch": Launch}
ENGINES = {"transformers": TransformersConfig, "vllm": VLLMConfig, "openai": OpenAIConfig}


@pytest.mark.parametrize(
    ("file", "schema"), [*VERBS.items(), *((f"engine/{name}", e) for name, e in ENGINES.items())]
)
def test_conf_says_every_key_and_the_defaults_of_the_code(
    file: str, schema: type[BaseModel]
) -> None:
    said = yaml.safe_load((cli.CONF / f"{file}.yaml").read_text(encoding="utf-8"))
    groups = {
        name for entry in said.pop("defaults", []) if isinstance(entry, dict) for name in entry
    }
    assert set(schema.model_fields) == set(said) | groups
    coded = {
        key: field.default
        for key, field in schema.model_fields.items()
        if not field.is_required() and key in said
    }
    assert {key: d.model_dump() if isinstance(d, BaseModel) else d for key, d in coded.items()} == {
        k: said[k] for k in coded
    }


@pytest.mark.parametrize("name", cli.options("model"))
def test_every_verb_composes_with_every_model(name: str) -> None:
    assert cli.compose("train", Train, ["+ratio=0.5", f"model={name}"]).model.name == name
    assert cli.compose("rl", Rl, [f"model={name}"]).model.name == name
    assert cli.compose("eval", Eval, [f"model={name}"]).model.name == name


@pytest.mark.parametrize("name", cli.options("data"))
def test_every_data_set_composes(name: str) -> None:
    assert cli.compose("distill", Distill, [f"data={name}"]).data.name == name


@pytest.mark.parametrize("name", cli.options("teacher"))
def test_every_teacher_composes(name: str) -> None:
    needed = {
        "openai": ["teacher.engine.base_url=http://x/v1", "teacher.engine.model=y"],
        "oracle": [],
        "reference": [],
        "published": [],
    }
    found = cli.compose(
        "distill", Distill, [f"teacher={name}", *needed.get(name, ["teacher.model=tiny"])]
    ).teacher
    assert found.name == name
    assert (found.engine.name if found.engine else name) == name


@pytest.mark.long
@pytest.mark.parametrize(
    "name", sorted({*cli.options("study")} - {"local", "paper"})
)  # in test_study
def test_every_study_plans(name: str) -> None:
    stages = plan(cli.compose("launch", Launch, [f"study={name}"]).study)
    assert len({stage.name for stage in stages}) == len(stages) >= 4


@pytest.mark.parametrize("name", sorted({*cli.options("study")} - {"local"}))
def test_a_study_may_be_a_file(name: str, tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    shutil.copyfile(cli.CONF / "study" / f"{name}.yaml", file)
    more = ["study.retain=weights"]
    own, known = (cli.compose("launch", Launch, [f"study={one}", *more]) for one in (file, name))
    assert own == known
    assert own == cli.compose("launch", Launch, [*more, f"study={file}"])


def test_a_study_file_is_named_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "it's own.yaml"
    file.write_text("grid:\n  models: [tiny]\n  ratios: [0, 1]\n  benchmarks: ['a \\ b.csv']\n")
    words = [f"study={file}", "study.grid.pairs=[demo]", "study.grid.train=[lr=1e-4]"]
    study = cli.compose("launch", Launch, words).study
    assert (study.name, study.grid.train) == ("it-s-own", ["lr=1e-4"])
    assert study.grid.benchmarks == ["a \\ b.csv"]
    file.write_text("- a list\n")
    for words, message in (
        ((f"study={file}",), "holds no keys, such as grid:"),
        ((f"study={tmp_path}/it's.yaml",), "is not a file"),
        ((f"study={'a' * 300}.yaml",), "is not a file"),
        ((f"study={tmp_path}/it's own.yml",), f"did you mean {file}?"),
    ):
        refused = command("launch", *words)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert message in refused.stderr


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("train", ("ratio=0.5", "model=qwen2.5-1.5b", "pairs=x", "lora=true", "lr=1e-3")),
        ("train", ("ratio=1", "model.path=a/b", "pairs={a: 1}", "deepspeed=zero2")),
        ("eval", ("benchmarks=[a,b]", "model=tiny", "engine=vllm", "limit=3")),
        ("eval", ("++engine.max_batch_size=3", "model.revision=x", "columns={question: q}")),
        ("distill", ("teacher=openai", "teacher.engine.model=m", "data=gsm8k", "data.kind=number")),
        ("rl", ("reward=r1", "reward.terms=[{name: format}]", "objective.beta=0.1")),
        ("launch", ("study=mini", "study.grid.train=[lr=1]", "study.grid.models=[tiny]")),
        ("launch", ("study=demo", "study.assumptions.gpu=h100", "executor=slurm")),
    ],
)
def test_values_change_a_composition_as_hydra_changes_them(
    verb: str, words: tuple[str, ...]
) -> None:
    normal = tuple(cli.normalise(words))
    changed = composition._changed(verb, normal)
    assert changed is not None
    assert changed == composition._composed(verb, normal)
    assert composition._changed(verb, (*normal, "~seed")) is None
    assert composition._changed(verb, (*normal, "model={name: x}")) is None


def test_both_forms_of_ratio_compose() -> None:
    for form in ("+ratio=0.5", "ratio=0.5"):
        shown = done("train", form, "model=qwen2.5-1.5b", "--cfg", "job")
        assert "ratio: 0.5" in shown
        assert "Qwen/Qwen2.5-1.5B" in shown


@pytest.mark.parametrize("verb", ["distill", "train", "eval", "launch"])
def test_help_shows_the_keys(verb: str) -> None:
    shown = done(verb, "--help")
    assert "out: null" in shown


def test_help_shows_the_keys_of_an_option() -> None:
    shown = done("distill", "--help", "teacher=openai")
    assert "\nKeys of teacher=openai:\n\nteacher.engine.base_url: ???" in shown
    assert "\nteacher.engine.retry_seconds: 600" in shown
    assert "retry_seconds" not in done("distill", "--help")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("eval", "executor=8"), "unknown executor '8'; known: local, ray, slurm"),
        (("launch", "study=1"), "unknown study '1'; known: demo, demo-rl"),
        (("eval", "model=null"), "unknown model 'null'; known: "),
        (("train", "ratio=0.5", "scenario=true"), "unknown scenario 'true'; known: "),
        (("train", "ratio=0.5", "=3"), "'=3' names no key; write key=value"),
        (("train", "ratio=0.5", "lr=inf"), "lr=inf: should be a finite number"),
        (("train", "ratio=0.5", "lora=true", "lora_targets=[]"), "lora_targets"),
        (("eval", "benchmarks=[x/demo.jsonl,demo]"), "another benchmark is called 'demo' too"),
        (("eval", "benchmarks=demo", "+model.path=x"), "path=x is for model=local"),
        (
            ("eval", "engine=openai", "engine.model=m", "engine.base_url='http://[x'", "limit=1"),
            "engine.base_url=http://[x is no address such as http://localhost:8000/v1",
        ),
        (("launch.memory", "no-such-model"), "model=no-such-model is not a local folder"),
        (("launch.memory", "--rows", "0"), "--rows 0 is not at least 1"),
        (("launch.run", "--nodes", "-3", "--", "train"), "--nodes -3 is no number"),
    ],
)
def test_odd_words_are_one_line(words: tuple[str, ...], message: str) -> None:
    refused = command(*words)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert message in refused.stderr


@pytest.mark.parametrize("text", [b"name: own\nstages: [", b"name: \xff\n"])
def test_a_broken_configuration_file_is_named(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "own.yaml").write_bytes(text)
    refused = command("launch", "--config-dir", str(tmp_path), "study=own", "dry_run=true")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "a configuration file cannot be read" in refused.stderr


def test_a_model_without_its_tokenizer_is_told(student: Path, pairs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(student / "model", folder)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    for verb in (("eval", "limit=1"), ("train", "ratio=1", "lr=1e-4", f"pairs={pairs}")):
        refused = command(*verb, f"model={folder}", f"out={tmp_path / 'run'}")
        told = f"{verb[0]}: model={folder} holds no tokenizer (tokenizer.json and"
        assert refused.returncode == 2 and refused.stderr.startswith(told), refused.stderr
    (folder / "vocab.json").write_text("{}")
    refused = command("eval", f"model={folder}", "limit=1", f"out={tmp_path / 'run'}").stderr
    assert "cannot be read" in refused and not refused.strip().endswith(":"), refused


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "rendering.json"])
def test_a_damaged_model_is_one_line(file: str, student: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(student / "model", folder)
    (folder / file).write_text("")
    refused = command("eval", f"model={folder}", "benchmarks=demo", "limit=1")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
    assert "cannot be read" in refused.stderr and str(folder) in refused.stderr


def test_a_path_is_a_model() -> None:
    assert cli.normalise(["model=a/b c", "data=x.jsonl", "model=tiny"]) == [
        "model=local",
        "model.path='a/b c'",
        "data=x.jsonl",
        "model=tiny",
    ]


ANY = st.characters(codec="utf-8", exclude_characters="$", exclude_categories=["C"])
ODD = st.sampled_from("\\'\" /,=:a1[](){}#")


@settings(max_examples=400, deadline=None)
@given(st.text(ANY, min_size=1) | st.text(ODD, min_size=1, max_size=8))
def test_a_quoted_text_is_read_as_it_is(text: str) -> None:
    quoted = cli.quoted(text)
    read = OverridesParser.create().parse_override(f"data.path={quoted}").value()
    assert getattr(read, "text", read) == text
    if "/" in text:
        assert cli.normalise([f"model={quoted}"]) == ["model=local", f"model.path={quoted}"]


BAD = {
    ("train", "ratio=1.5"): "ratio=1.5: should be a number from 0 to 1",
    ("train", "ratio=nan"): "ratio=nan",
    ("train", "ratio=half"): "ratio='half': should be a number from 0 to 1",
    ("train",): "a number from 0 to 1 is needed",
    ("train", "ratio=0", "x.csv]"): "'x.csv]' is no key=value; a shell ends a word at a blank",
    ("launch", "study.grid.eval.limit=5"): "study.grid.eval is a list of settings; write "
    "study.grid.eval=[limit=5]",
    ("train", "+ratoi=0.5"): "unknown key 'ratoi'; did you mean 'ratio'?",
    ("train", "ratoi=0.5"): "unknown key 'ratoi'; did you mean 'ratio'?",
    ("train", "+ratio=0.5", "+model.pth=x"): "unknown key 'model.pth'; did you mean 'model.path'?",
    ("train", "--ratio", "1"): "unknown option '--ratio'; write ratio=…",
    ("train", "--batch-size=4"): "unknown option '--batch-size'; write batch_size=4",
    ("train", "out=a}b"): "out=a}b cannot be read; brackets in pairs, and other values in quotes: "
    "\"out='a}b'\"",
    ("train", "model=[a"): "model=[a",
    (
        "launch",
        "study=demo",
        "executor=slurm",
        "executor.sbatch_args=qos=long",
    ): "executor.sbatch_args='qos=long': should be a mapping, such as {key: value}",
    (
        "launch",
        "study=demo",
        "+study.grids.ratios=[0,1]",
    ): "unknown key 'study.grids'; did you mean 'study.grid'?",
    ("distill", "data=[a.csv,b.csv]"): "data is one name or path, no list",
    ("launch", "study=ratio_sweep", "study.grid.models=[{qwen2.5-7b: [deepspeed=zero3]}]"): "study."
    "grid.models, qwen2.5-7b: deepspeed is a key of train and rl alone: train.deepspeed=zero3",
    ("launch", "study=demo", "executor=slurm", "executor.sbatch_args=[qos=long]"): "executor."
    "sbatch_args=['qos=long']: should have the form of its default",
    (
        "launch",
        "study=ratio_sweep",
        "study.grid.train=[seed=4]",
    ): "study.grid.train=['batch_size=8', 'seed=4']: seed=4 is an axis: study.grid.seeds",
    ("distill", "data=word.csv"): "data=word.csv: there is no such file",
    (
        "train",
        "pairs=nothing/there",
        "+ratio=0.5",
        "model=tiny",
    ): "pairs=nothing/there does not exist",
    ("train", "+ratio=0.5", "tracker=wandb", "project=my/proj?"): "project='my/proj?': W&B takes",
    ("train", "-m", "ratio=0,0.4,2", "model=tiny"): "ratio=2: should be a number from 0 to 1",
    (
        "eval.compare",
        "a",
        "--agianst",
        "b",
    ): "unknown option '--agianst'; did you mean '--against'?",
    ("train", "learning_rate=1e-4"): "unknown key 'learning_rate'; did you mean 'lr'?",
    ("train", "ratio=0,5"): "ratio=0,5: several values are a sweep, which needs -m; a decimal has "
    "a point: 0.5",
    ("distill", "data=gsm8k", "data.limit=5"): "unknown key 'data.limit'; did you mean 'limit'?",
    ("train", "+optim.lr=1"): "unknown key 'optim.lr'; did you mean",
    ("distill", "teacher=openai", "teacher.base_url=http://x/v1"): "did you mean 'teacher.engine.b",
    ("distill", "teacher.base_url=http://x/v1"): "unknown key 'teacher.base_url'; did you mean "
    "'teacher.engine.base_url'?",
    ("distill", "base_url=http://x/v1"): "did you mean 'teacher.engine.base_url'?",
    ("distill", "engine.drop_params=[seed]"): "unknown key 'engine.drop_params'; did you mean "
    "'teacher.engine.drop_params'?",
    ("distill", "teacher.engine.drop_params=[seed]"): "teacher.engine.drop_params: no "
    "teacher.engine is chosen",
    (
        "distill",
        "teacher=openai",
        "teacher.engine.model=m",
        "teacher.engine.base_url=http://x/v1",
        "teacher.engine.retry_secs=1",
    ): "unknown key 'teacher.engine.retry_secs'; did you mean 'teacher.engine.retry_seconds'?",
    (
        "distill",
        "data.test_szie=0.2",
    ): "unknown key 'data.test_szie'; did you mean 'data.test_size'?",
    ("distill", "select.xyz=1"): "unknown key 'select.xyz'; known: ",
    ("eval", "data.columns={question: q}"): "unknown key 'data.columns'",
    ("eval", "data.path=x.csv"): "unknown key 'data.path'; did you mean 'benchmarks'?",
    ("eval", "engine.base_url=http://x/v1"): "unknown key 'engine.base_url', which is one of "
    "engine=openai; known: attention, enforce_eager, max_batch_size, max_cache_tokens, name",
    ("train", "+ratio=0.5", "batch_size=0"): "batch_size=0",
    ("train", "+ratio=0.5", "model=qwen2.5-1.5"): "did you mean 'qwen2.5-1.5b'?",
    (
        "train",
        "+ratio=0.5",
        "model=qwen2.5-1.5b",
        "pairs=PAIRS",
    ): "give a local folder instead: model=/path/to/folder",
    (
        "train",
        "+ratio=0.5",
        "model=no/such/folder",
        "lr=1e-4",
        "pairs=PAIRS",
    ): "model=no/such/folder is not a local folder",
    ("train", "+ratio=0.5", "model=qwen3-0.6b", "pairs=PAIRS"): "give lr=",
    ("train", "+ratio=0.5", "model=tiny"): "pairs= is needed",
    ("train", "+ratio=0.5", "model=tiny", "pairs=no/such"): "no/such does not exist",
    ("train", "+ratio=0.5", "model=tiny", "pairs=pyproject.toml"): "is no folder of pairs, but may "
    "be data to make them of; next: python -m distill \"data='pyproject.toml'\" teacher=TEACHER "
    "out=runs/pairs, where TEACHER is reference for worked solutions in a column, published for "
    "both answers in columns, else a model: openai (a server), transformers or vllm",
    ("train", "+ratio=0.5", "model=tiny", "pairs=docs"): "data='docs'",
    (
        "train",
        "+ratio=0.5",
        "model=tiny",
        "pairs=PAIRS",
        "max_length=3",
    ): "no pair fits max_length=3",
    (
        "train",
        "+ratio=0.5",
        "model=tiny",
        "pairs=PAIRS",
        "device=cuda",
    ): "device=cuda is not available on this machine",
    ("train", "+ratio=0.5", "model=tiny", "pairs=PAIRS", "out=/dev/null/x"): "cannot be written",
    ("train", "ratio=0.5", "ratio=="): "ratio",
    (
        "distill",
        "teacher=oracel",
    ): "unknown teacher 'oracel'; known: openai, oracle, published, reference, transformers, vllm; "
    "did you mean 'oracle'?",
    ("distill", "data=dem"): "unknown data 'dem'",
    ("distill", "samples=4"): "samples=4 means nothing with teacher=oracle, which is no model",
    ("distill", "verify=none"): "verify=none means nothing with teacher=oracle",
    (
        "distill",
        "data=local",
        "data.columns={qestion: q}",
    ): "'qestion' is no field; known: id, question, context, answer, choices, kind, category, "
    "tolerance, decimal, solution, meta",
    (
        "distill",
        "data=mix",
        "teacher=published",
        "data.mix={gsm8k: 1}",
    ): "a mixture needs its size: data.n=10000",
    ("distill", "data=mix", "teacher=published"): "data=mix names no source: give data.path=FILE",
    ("distill", "select=s1", "select.per_domain=3"): "leave per_domain out",
    ("distill", "select.decontaminate=[gsm9k]"): "unknown benchmark 'gsm9k'",
    ("distill", "select.pass_rates=[{run: no/such}]"): "no/such does not exist",
    ("distill", "select.pass_rates=[{run: PAIRS}]"): "holds no `distill` run of a model",
    ("distill", "push_to_hub=me/pairs"): "HF_TOKEN",
    (
        "distill",
        "teacher=transformers",
        "teacher.model=tiny",
    ): "has no switch (enable_thinking); another way to tell it: "
    "thinking_prompt=suffix, system or template",
    (
        "distill",
        "teacher=transformers",
        "teacher.model=tiny",
        "samples=2",
        "temperature=0",
    ): "would be the same answer 2 times",
    (
        "distill",
        "teacher=openai",
        "teacher.engine.base_url=http://127.0.0.1:9/v1",
        "teacher.engine.model=m",
    ): "distill: teacher.engine.base_url=http://127.0.0.1:9/v1 does not answer",
    (
        "distill",
        "teacher=openai",
        "teacher.engine.base_url=http://127.0.0.1:9/v1",
    ): "distill: teacher.engine.model must be given: teacher.engine.model=…",
    ("eval", "engine=openai"): "engine.base_url and engine.model must be given",
    ("eval", "engine=openai", "engine.model=m", "+engine.baseurl=http://x/v1"): (
        "unknown key 'engine.baseurl'; did you mean 'engine.base_url'?"
    ),
    ("eval", "engine=openai", "model=mine"): "the model of the server is engine.model=NAME",
    (
        "eval",
        "engine=openai",
        "engine.model=m",
        "engine.base_url=http://x/v1/chat/completions",
    ): "is an endpoint; its base is http://x/v1",
    ("distill", "teacher=transformers"): "teacher.model must be given",
    (
        "distill",
        "teacher=openai",
        "teacher.engine.base_url=http://x/v1",
        "teacher.engine.model=m",
        "max_spend.money=3",
    ): "needs price.prompt",
    (
        "distill",
        "teacher=reference",
        "data=gsm8k",
        "data.data_dir=no/such",
    ): "no/such/gsm8k_train.jsonl is not a file",
    ("distill", "data=gsm8k"): "teacher=oracle solves embedded families only",
    (
        "distill",
        "data=gsm8k",
        "teacher=reference",
    ): "give a folder with local copies instead: data_dir=DIR",
    ("eval", "model=tiny", "benchmarks=gsm9k"): "unknown benchmark 'gsm9k'",
    (
        "eval",
        "model=tiny",
        "benchmarks=demo",
        "engine=vllm",
    ): "engine=vllm needs the package vllm: pip install -e '.[vllm]'",
    (
        "eval",
        "model=tiny",
        "benchmarks=demo",
        "engine=vllm",
        "device=cuda",
    ): "device=cuda is not available on this machine; available: cpu",
    ("eval", "model=tiny", "benchmarks=[]"): "should name one benchmark or more",
    (
        "eval",
        "model=tiny",
        "engine.max_batch_size=0",
    ): "engine.max_batch_size=0: should be greater than 0",
    (
        "eval",
        "engine=openai",
        "engine.base_url=x",
        "engine.model=y",
        "+engine.max_batch_size=1",
    ): "unknown key 'engine.max_batch_size'",
    ("eval", "model=qwen2.5-0.5b"): "cannot be reached from here",
    ("launch", "study=demoo"): "unknown study 'demoo'",
    ("eval.report", "no/such"): "no/such does not exist",
}


@pytest.mark.parametrize("words", BAD, ids=" ".join)
def test_bad_input_is_one_line_and_exit_2(
    words: tuple[str, ...], pairs: Path, tmp_path: Path
) -> None:
    arguments = [word.replace("PAIRS", str(pairs)) for word in words]
    if "eval.report" not in words and not any(word.startswith("out=") for word in words):
        arguments.append(f"out={tmp_path / 'run'}")
    result = command(*arguments)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert BAD[words] in result.stderr
    assert not (tmp_path / "run").exists()


def test_the_next_command_is_one_that_a_shell_reads(tmp_path: Path) -> None:
    for folder in ("runs/mes paires été", "runs/a", "it's", 'a"b', "$HOME/x"):
        word = f"pairs={cli.quoted(folder)}"
        line = cli.shell_line("train", "ratio=RATIO", word)
        assert shlex.split(line)[-1] == word
    shown = cli.shell_line("train", f"pairs={cli.quoted('runs/mes paires été')}")
    assert shown.endswith("\"pairs='runs/mes paires été'\"")


def test_counts_are_checked_before_torch_is_imported(pairs: Path, tmp_path: Path) -> None:
    words = ["train", "ratio=1", "model=tiny", f"pairs={pairs}", f"out={tmp_path / 'run'}"]
    words += ["val_size=2", "limit=7", "batch_size=6"]
    script = f"""import runpy, sys
sys.argv = {words}
try:
    runpy.run_module("train", run_name="__main__", alter_sys=True)
finally:
    assert not {{"torch", "transformers"}} & set(sys.modules)"""
    refused = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True)
    told = "train: batch_size=6: 5 examples do not fill one global batch; at most 5 is possible\n"
    assert (refused.returncode, refused.stderr.decode()) == (2, told)


def broken_copy(pairs: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "pairs"
    shutil.copytree(pairs, copy)
    return copy


def told(copy: Path) -> str:
    result = command(
        "train", "+ratio=0.5", "model=tiny", f"pairs={copy}", f"out={copy.parent / 'run'}"
    )
    assert result.returncode == 2
    assert not (copy.parent / "run").exists()
    return result.stderr


def test_pairs_that_are_unfinished_corrupt_or_repeat_an_id_are_refused(
    pairs: Path, tmp_path: Path
) -> None:
    copy = broken_copy(pairs, tmp_path)
    (copy / "DONE").unlink()
    assert "no finished run" in told(copy)
    copy = broken_copy(pairs, tmp_path / "b")
    (copy / "pairs.parquet").write_bytes(b"no")
    assert "corrupt: pairs.parquet" in told(copy)


def test_a_run_of_another_configuration_is_not_overwritten(student: Path, pairs: Path) -> None:
    before = (student / "manifest.json").read_bytes()
    result = command(
        "train",
        "+ratio=0.75",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "max_steps=2",
        f"out={student}",
    )
    assert (result.returncode, "a finished run of a different configuration" in result.stderr) == (
        2,
        True,
    )
    assert (student / "manifest.json").read_bytes() == before


def test_the_same_work_again_does_nothing(student: Path, pairs: Path) -> None:
    before = (student / "manifest.json").stat().st_mtime_ns
    shown = done(
        "train",
        "+ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "max_steps=2",
        f"out={student}",
    )
    assert "is finished" in shown
    assert (student / "manifest.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_a_sweep_runs_each_job_in_a_folder_of_its_own(pairs: Path, tmp_path: Path) -> None:
    done(
        "train",
        "-m",
        "+ratio=0,1",
        "model=tiny",
        f"pairs={pairs}",
        "max_steps=1",
        f"out={tmp_path / 'sweep'}",
    )
    found = {json.loads(f.read_text())["ratio"] for f in tmp_path.glob("sweep/*/mixture.json")}
    assert found == {0, 1}
    assert not (ROOT / "multirun.yaml").exists()


def test_a_job_that_fails_leaves_the_others_of_a_sweep(pairs: Path, tmp_path: Path) -> None:
    words = (f"pairs={pairs}", "model=tiny", "max_steps=1", f"out={tmp_path / 'sweep'}")
    swept = command("train", "-m", "ratio=0", "batch_size=4000,8", *words)
    assert swept.returncode == 2 and "batch_size=4000" in swept.stderr
    assert [done.parent.name for done in tmp_path.glob("sweep/*/DONE")] == ["batch_size=8"]
    invalid = command("train", "-m", "ratio=0,2", *words[:-1], f"out={tmp_path / 'invalid'}")
    assert invalid.returncode == 2 and "ratio=2" in invalid.stderr
    assert not (tmp_path / "invalid").exists(), "no job runs before all are valid"


@pytest.mark.slow
@pytest.mark.long
def test_a_stopped_sweep_leaves_no_job_behind(pairs: Path, tmp_path: Path) -> None:
    words = (f"pairs={pairs}", "model=tiny", "batch_size=8", "epochs=9999")
    out = tmp_path / "sweep"
    sweep = started("train", "-m", "ratio=0,1", *words, f"out={out}", err=tmp_path / "stderr")
    while not list(out.glob("*/metrics.jsonl")):
        assert sweep.poll() is None, (tmp_path / "stderr").read_text()
        time.sleep(0.05)
    jobs = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(signal.SIGTERM)
    assert sweep.wait(60) == 130
    assert jobs and not psutil.wait_procs(jobs, timeout=5)[1]
    assert [run.name for run in out.iterdir()] == ["ratio=0"], "the second job was not begun"


def test_one_row_with_one_side_missing_is_refused(pairs: Path, tmp_path: Path) -> None:
    from ratiocine.runs import hash_path

    copy = broken_copy(pairs, tmp_path)
    rows = pq.read_table(copy / "pairs.parquet").to_pylist()
    rows[3]["ift"] = ""
    import pyarrow as pa

    pq.write_table(pa.Table.from_pylist(rows), copy / "pairs.parquet")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["outputs"]["pairs.parquet"] = hash_path(copy / "pairs.parquet")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "DONE").write_text(hash_path(copy / "manifest.json") + "\n")
    assert f"pair '{rows[3]['id']}' has no ift" in told(copy)


def test_rates_have_the_digits_they_deserve() -> None:
    assert [speed(n, seconds, " steps") for n, seconds in ((1e6, 1e-3), (0, 9), (5000, 4))] == [
        "",
        "",
        ", 1,250 steps/s",
    ]
    assert speed(7, 2, " steps") == ", 3.5 steps/s"
    assert speed(3, 12, " steps") == ", 4 s each"
