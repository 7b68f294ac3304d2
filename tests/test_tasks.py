"""Tasks of lm-evaluation-harness as sources of problems, beside the harness itself."""

import json
from pathlib import Path

import pytest
import yaml
from conftest import command, done

from ratiocine.data import DataConfig, load
from ratiocine.data.tasks import read_task
from ratiocine.errors import BadInput

ARC = {
    "question": "Which {{ is }} hot?",
    "choices": {"text": ["ice", "a star"], "label": ["1", "2"]},
    "answerKey": "2",
}
DOCS = {
    "arc/arc_easy": ARC,
    "arc/arc_challenge": ARC,
    "openbookqa/openbookqa": {"question_stem": "Fire is", **ARC},
    "gsm8k/gsm8k": {"question": "What is 2 + 2?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"},
    "sciq/sciq": {
        "support": " Stars shine.",
        "question": "What shines?",
        **{f"distractor{n}": str(n) for n in (1, 2, 3)},
        "correct_answer": "stars",
    },
    "piqa/piqa": {"goal": "To cool tea,", "sol1": "wait", "sol2": "heat it", "label": 0},
}


def local_copy(name: str, doc: dict, folder: Path) -> Path:
    """A task of the installed harness that reads its documents from a local file."""
    harness = pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    source = Path(harness.__file__).parent / "tasks" / f"{name}.yaml"
    for file in source.parent.glob("*.yaml"):
        (folder / file.name).write_text(file.read_text())
    data = folder / "docs.jsonl"
    data.write_text(json.dumps(doc) + "\n")
    split = {name: str(data) for name in ("train", "validation", "test")}
    changes = {
        "include": source.name,
        "task": "local",
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": split},
    }
    file = folder / "local.yaml"
    file.write_text(yaml.safe_dump(changes))
    return file


@pytest.mark.long
@pytest.mark.parametrize("name", DOCS)
def test_questions_and_targets_are_those_of_the_harness(name: str, tmp_path: Path) -> None:
    file = local_copy(name, DOCS[name], tmp_path)
    task = read_task(file)
    from lm_eval.api.task import ConfigurableTask

    values = {key: value for key, value in task.values.items() if key != "tag"}
    peer = ConfigurableTask(config=values)
    (doc,) = peer.eval_docs
    (row,) = task.rows("test")
    assert row["question"] == peer.config.description + peer.doc_to_text(doc)
    target = peer.doc_to_target(doc)
    if task.values["output_type"] == "multiple_choice":
        assert (row["choices"], row["answer"]) == (peer.doc_to_choice(doc), target)
    else:
        assert (row["solution"], row["answer"]) == (target, "4")


TASK = """
dataset_path: json
dataset_kwargs: {data_files: {test: docs.jsonl}}
test_split: test
output_type: generate_until
description: "Add.\\n"
doc_to_text: "{{q}} = "
doc_to_target: a
"""


def write(folder: Path, text: str, **changes: object) -> Path:
    (folder / "docs.jsonl").write_text('{"q": "{{ 3 + 4 }}", "a": "7"}\n')
    (folder / "my_task.yaml").write_text(text + yaml.safe_dump(changes) if changes else text)
    return folder / "my_task.yaml"


def test_a_task_is_a_benchmark(tmp_path: Path) -> None:
    """Text of a document is data: a template in it is not rendered."""
    file = write(tmp_path, TASK)
    (problem,) = load(DataConfig(name="my_task", path=str(file)), "test").problems
    assert (problem.question, problem.reference, problem.kind) == (
        "Add.\n{{ 3 + 4 }} = ",
        "7",
        "number",
    )
    done("eval", "model=tiny", f"benchmarks=[{file}]", "validate_only=true")
    refused = command("distill", "teacher=reference", f"data={file}", "model=tiny")
    assert (refused.returncode, "has no training_split" in refused.stderr) == (2, True)


def test_options_in_the_question_are_listed_once(tmp_path: Path) -> None:
    text = TASK.replace("generate_until", "multiple_choice").replace(
        " = ", "\\nA. 6\\nB. 7\\nAnswer:"
    )
    file = write(tmp_path, text.replace("_target: a", "_target: B"), doc_to_choice=["A", "B"])
    (row,) = read_task(file).rows("test")
    assert row == {
        "question": "Add.\n{{ 3 + 4 }}\nAnswer:",
        "choices": ["6", "7"],
        "answer": 1,
    }


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (TASK + "process_docs: !function utils.process\n", "!function utils.process is Python"),
        (TASK + "include: none.yaml\n", "none.yaml cannot be read"),
        (TASK + "include: my_task.yaml\n", "includes itself"),
        (TASK + "custom_dataset: x\n", "custom_dataset is not supported"),
        (TASK.replace("generate_until", "loglikelihood"), "output_type 'loglikelihood' is not one"),
        (TASK.replace("generate_until", "multiple_choice"), "needs doc_to_choice"),
        (TASK.replace("doc_to_target: a", ""), "needs doc_to_target"),
        (TASK.replace("{{q}}", "{{missing}}"), "row 1 of its data: the template"),
        (TASK.replace("{{q}}", "{{ q.__class__.__mro__ }}"), "is unsafe"),
        (TASK.replace("{{q}}", "{{"), "the template '{{ = ' fails"),
        (TASK.replace("docs.jsonl", "none.jsonl"), "none.jsonl"),
        ("[1, 2]", "holds no task"),
        ("a: [", "cannot be read"),
    ],
)
def test_an_unusable_task_is_one_line(text: str, wrong: str, tmp_path: Path) -> None:
    file = write(tmp_path, text)
    with pytest.raises(BadInput) as refused:
        load(DataConfig(name="my_task", path=str(file)), "test")
    assert wrong in str(refused.value)
    assert "\n" not in str(refused.value)
