"""Rows in the hub's own columns become problems whose own reference is right. The downloads
themselves cannot run here."""

import base64
import json
import os
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import command, command_in, done
from huggingface_hub import ModelCard

from ratiocine import cli
from ratiocine.completion_parts import Parts, split
from ratiocine.data import ROWS, DataConfig, adapted, gradable, load, problem_of
from ratiocine.data.row_files import read_rows
from ratiocine.errors import BadInput
from ratiocine.grading import grade
from ratiocine.prompts import user_text
from ratiocine.runs import lineage

HAND_WRITTEN: dict[str, dict[str, Any]] = {
    "gsm8k": {"question": "2 and 3?", "answer": "2+3=<<2+3=5>>5\n#### 5"},
    "mmlu-misc": {
        "question": "Which barks?",
        "subject": "miscellaneous",
        "choices": ["cat", "dog", "cow", "hen"],
        "answer": 1,
    },
    "mmlu-math": {
        "question": "2+2?",
        "subject": "abstract_algebra",
        "choices": ["3", "4", "5", "6"],
        "answer": 1,
    },
    "mmlu-pro-math": {
        "question_id": 7,
        "question": "3*3?",
        "options": ["6", "9", "N/A", "12"],
        "answer": "B",
        "answer_index": 1,
        "category": "math",
    },
    "winogrande": {
        "sentence": "Ann was taller than Bea, so _ reached it.",
        "option1": "Ann",
        "option2": "Bea",
        "answer": "1",
    },
    "openbookqa": {
        "id": "7-1",
        "question_stem": "Ice is",
        "choices": {"text": ["hot", "cold", "loud", "old"], "label": ["A", "B", "C", "D"]},
        "answerKey": "B",
    },
    "aqua-rat": {
        "question": "1+1?",
        "options": ["A)1", "B)2", "C)3", "D)4", "E)5"],
        "rationale": "count",
        "correct": "B",
    },
    "squad": {
        "id": "s1",
        "title": "T",
        "context": "Ann met Bea in Rome.",
        "question": "Where?",
        "answers": {"text": ["Rome", "in Rome", "Rome"], "answer_start": [15, 12, 15]},
    },
    "coqa": {
        "source": "x",
        "story": "Ann met Bea in Rome.",
        "questions": ["Who met Bea?", "Where?"],
        "answers": {
            "input_text": ["Ann", "in Rome"],
            "answer_start": [0, 12],
            "answer_end": [3, 19],
        },
    },
    "ifeval": {
        "key": 1,
        "prompt": "Say hello without commas.",
        "instruction_id_list": ["punctuation:no_comma"],
        "kwargs": [{"num_words": None}],
    },
    "math-500": {
        "problem": "Half of $x$?",
        "solution": "Divide.",
        "answer": "\\frac{x}{2}",
        "subject": "Algebra",
        "level": 1,
        "unique_id": "test/algebra/1.json",
    },
    "aime": {"problem": "What?", "answer": "070", "id": "3"},
    "aime-2024": {
        "id": 60,
        "problem": "What?",
        "solution": "",
        "answer": "204",
        "url": "u",
        "year": "2024",
    },
}


# Sets of training prompts, with what becomes of the row: question, reference, category.
PROMPTS: dict[str, tuple[dict[str, Any], tuple[str, str | None, str]]] = {
    "math": (
        {"problem": "2+2?", "level": "Level 1", "type": "Algebra", "solution": "So $\\boxed{4}$."},
        ("2+2?", "4", "math-oe"),
    ),
    "openr1-math": (
        {
            "problem": "Prove it.",
            "answer": "proof",
            "solution": "",
            "problem_type": "Algebra",
            "generations": None,
        },
        ("Prove it.", None, "math-oe"),
    ),
    "numina": (
        {
            "problem": "3+3?",
            "answer": "6",
            "solution": "",
            "problem_type": "Algebra",
            "synthetic": False,
        },
        ("3+3?", "6", "math-oe"),
    ),
    "infinity-instruct": (
        {
            "id": 1,
            "conversations": [
                {"from": "system", "value": "S"},
                {"from": "human", "value": "Hi?"},
                {"from": "gpt", "value": "Ho."},
            ],
            "source": "x",
        },
        ("Hi?", None, "general-oe"),
    ),
    "llama-nemotron": (
        {
            "input": [{"role": "user", "content": "Which?\nA) 1\nB) 2\nC) 3"}],
            "output": "A",
            "category": "math",
        },
        ("Which?\nA) 1\nB) 2\nC) 3", None, "math-mc"),
    ),
    "general-reasoning-ift-pairs": (
        {"prompt": "Hi?", "reasoning": "<think>Ho</think>Ho.", "ift": "Ho."},
        ("Hi?", None, "general-oe"),
    ),
    "math-reasoning-ift-pairs": (
        {"prompt": "1+1?", "reasoning": "<think>2</think>2", "ift": "2"},
        ("1+1?", None, "math-oe"),
    ),
}


def with_hub() -> list[str]:
    """The benchmarks: what has a test split there."""
    configs = {name: cli.named("data", name, DataConfig) for name in cli.options("data")}
    return [name for name, data in configs.items() if data.hub and data.hub.has("test")]


def test_every_set_on_the_hub_has_a_row_here() -> None:
    on_hub = {name for name in cli.options("data") if cli.named("data", name, DataConfig).hub}
    assert on_hub == {*HAND_WRITTEN, *PROMPTS}
    assert set(with_hub()) == set(HAND_WRITTEN)


@pytest.mark.parametrize("name", PROMPTS)
def test_a_local_copy_of_a_hub_file_becomes_prompts(name: str, tmp_path: Path) -> None:
    row, expected = PROMPTS[name]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "copy.parquet")
    data = cli.named("data", name, DataConfig).model_copy(
        update={"path": str(tmp_path / "copy.parquet")}
    )
    (problem,) = load(data, "train").problems
    assert (problem.question, problem.reference, problem.category) == expected
    assert "pairs" not in name or (problem.meta["ift"], problem.meta["reasoning"]) == (
        row["ift"],
        row["reasoning"],
    )


@pytest.mark.parametrize("name", with_hub())
def test_a_row_of_the_hub_becomes_a_problem(name: str) -> None:
    data = cli.named("data", name, DataConfig)
    assert data.hub is not None
    assert data.hub.rows in ROWS
    rows = list(adapted(data.hub, HAND_WRITTEN[name]))
    problems = [problem_of(data, row, str(i)) for i, row in enumerate(rows)]
    assert len(problems) == (2 if name == "coqa" else 1)
    for problem in problems:
        assert problem.category == data.category
        assert user_text(problem).startswith(data.instruction)
        if problem.kind == "instructions":
            assert grade(problem, split("Hello")).verdict == "right"
            assert grade(problem, split("Hello, you")).verdict == "wrong"
        else:
            assert gradable(problem)
            assert grade(problem, Parts(None, "", "certainly not", True)).verdict == "wrong"


def test_rows_of_other_subjects_are_not_mathematics() -> None:
    data = cli.named("data", "mmlu-pro-math", DataConfig)
    assert data.hub is not None
    assert not list(adapted(data.hub, {**HAND_WRITTEN["mmlu-pro-math"], "category": "law"}))


def test_the_turns_before_a_question_are_in_its_prompt() -> None:
    data = cli.named("data", "coqa", DataConfig)
    assert data.hub is not None
    first, second = (
        problem_of(data, row, str(i))
        for i, row in enumerate(adapted(data.hub, HAND_WRITTEN["coqa"]))
    )
    assert "Q: Who met Bea?\nA: Ann" in user_text(second)
    assert "Q:" not in user_text(first)


def test_every_benchmark_pins_its_revision() -> None:
    loose = [
        name
        for name in with_hub()
        if len(cli.named("data", name, DataConfig).hub.revision or "") != 40
    ]
    assert loose == ["coqa"]  # its revision could not be looked up


class Hub(BaseHTTPRequestHandler):
    """As much of the hub as an upload needs; it keeps what it is sent."""

    got: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self._say({"name": "me", "type": "user", "orgs": [], "auth": {}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Hub.got[self.path] = body
        if "preupload" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(body)["files"]
            ]
            self._say({"files": files})
        else:
            url = f"http://{self.headers['Host']}/datasets/me/pairs"
            said = {"errors": [], "warnings": [], "success": True, "hookOutput": ""}
            self._say({"url": url, "commitUrl": f"{url}/commit/0", "commitOid": "0" * 40, **said})

    def _say(self, answer: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *words: Any) -> None: ...


def pushed(*words: str, to: str) -> tuple[str, dict[str, bytes]]:
    """The output of a command that uploads to a repository, and the content of its files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub = {
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_TOKEN": "hf_secret",
        "HF_HUB_DISABLE_XET": "1",
    }
    run = command_in({**os.environ, **hub}, *words)
    server.shutdown()
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in Hub.got[f"/api/{to}/commit/main"].splitlines()]
    return run.stdout, {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in lines
        if line["key"] == "file"
    }


def test_a_damaged_parquet_file_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.parquet"
    pq.write_table(pa.Table.from_pylist([{"question": f"What is {i}?"} for i in range(999)]), file)
    content = bytearray(file.read_bytes())
    content[100:140] = bytes(40)
    file.write_bytes(bytes(content))
    with pytest.raises(BadInput, match=r"mine\.parquet is no readable parquet file"):
        list(read_rows(file))


@pytest.mark.slow
def test_pairs_are_pushed_to_the_hub(tmp_path: Path) -> None:
    words = ("distill", "limit=1", "model=tiny", "push_to_hub=me/pairs", f"out={tmp_path / 'run'}")
    shown, sent = pushed(*words, to="datasets/me/pairs")
    assert "pushed to me/pairs" in shown
    assert (
        json.loads(Hub.got["/api/repos/create"]).items()
        >= {"name": "pairs", "type": "dataset", "visibility": "private"}.items()
    )
    assert set(sent) == {"README.md", "pairs.parquet", "lengths.svg", "manifest.json"}
    assert sent["pairs.parquet"] == (tmp_path / "run" / "pairs.parquet").read_bytes()
    assert not any(b"hf_secret" in file.read_bytes() for file in (tmp_path / "run").iterdir())


def test_a_path_beside_a_name_has_its_settings_alone(
    student: Path, pairs: Path, tmp_path: Path
) -> None:
    weights, run = tmp_path / "weights", tmp_path / "run"
    shutil.copytree(student / "model", weights)
    for name in ("rendering.json", "NOTICE"):
        (weights / name).unlink(missing_ok=True)
    words = ("model=qwen2.5-0.5b", f"model.path={weights}", f"pairs={pairs}", "ratio=0.5")
    more = ("batch_size=4", "max_steps=1")
    rates = "learning rates 1e-05 (ift) and 2e-05 (reasoning) of model=qwen2.5-0.5b"
    said = done("train", *words, *more, "preflight=true")
    assert f"model.path={weights}: {rates}; license unknown (model.license=NAME)\n" in said
    (weights / "README.md").write_text("---\nlicense: other\nlicense_name: ours\n---\n")
    said = done("train", *words, *more, f"out={run}")
    assert f"model.path={weights}: {rates}; license ours\n" in said
    card, manifest = (
        (run / "README.md").read_text(),
        json.loads((run / "manifest.json").read_text()),
    )
    assert f"| base model | {weights}, license: ours |" in card
    assert "# weights, taught at reasoning ratio 0.5" in card
    assert "base_model" not in card and "qwen" not in card and "apache-2.0\n" not in card
    assert (manifest["license"], manifest["identity"]["model"]["name"]) == ("ours", "qwen2.5-0.5b")
    trained = lineage.student(str(run / "model"))
    assert (trained.base, trained.base_path) == ("weights", str(weights))
    stated = done("train", *words, *more, "model.license=mit", "lr=1e-4", "preflight=true")
    assert f"model.path={weights}: lr=0.0001 as given; license mit\n" in stated


def test_a_folder_of_the_hubs_cache_is_the_model_of_its_name() -> None:
    cached = "/hub/models--Qwen--Qwen2.5-0.5B/snapshots/ab12"
    assert lineage.base_name("qwen2.5-0.5b", cached) == "qwen2.5-0.5b"
    assert lineage.base_name("qwen2.5-1.5b", cached) == "Qwen2.5-0.5B"
    assert cli.normalise(["model=qwen2.5-0.5b", f"model.path={cached}"])[2:] == []
    other = cli.normalise(["model=qwen2.5-1.5b", f"model.path={cached}"])
    assert other[2:] == ["++model.license=null"]


@pytest.mark.slow
def test_a_student_is_pushed_with_its_card_and_scores(pairs: Path, tmp_path: Path) -> None:
    run, scored = tmp_path / "run", tmp_path / "scored"
    done(
        "train",
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "batch_size=8",
        "max_steps=2",
        "val_size=4",
        f"out={run}",
    )
    done(
        "eval",
        f"model={run / 'model'}",
        "benchmarks=[demo]",
        "limit=1",
        "max_new_tokens=4",
        f"out={scored}",
    )
    words = ("train.card", str(run), "--scores", str(scored), "--push-to-hub", "me/student")
    shown, sent = pushed(*words, to="models/me/student")
    assert set(sent) >= {
        "model.safetensors",
        "config.json",
        "rendering.json",
        "README.md",
        "mixture.json",
        "manifest.json",
    }
    card, manifest = sent["README.md"].decode(), json.loads((run / "manifest.json").read_text())
    assert card in shown
    assert "# tiny, taught at reasoning ratio 0.5" in card
    assert f"| validation loss | {manifest['val_loss']:.4f}, at step 2 |" in card
    assert f"| {pairs.name} | demo | oracle |" in card
    assert manifest["examples_hash"][:16] in card
    scores = json.loads((scored / "scores.json").read_text())
    for name, row in scores["categories"].items():
        assert f"| scored | {name} | {row['n']} | {row['accuracy']:.1%} |" in card
    plain, body = (run / "README.md").read_text(), card.partition("\n## Scores")[0]
    assert plain.split("---\n", 2)[2] == body.split("---\n", 2)[2]
    results = {one.dataset_name: one for one in ModelCard(card).data.eval_results}
    assert {name: one.metric_value for name, one in results.items()} == {
        name: pytest.approx(row["accuracy"], abs=1e-4) for name, row in scores["benchmarks"].items()
    }
    assert {one.metric_name for one in results.values()} == {"accuracy (scored)"}
    refused = command("train.card", str(run), "--scores", str(pairs))
    assert (refused.returncode, "holds the scores of another model" in refused.stderr) == (2, True)
    nobody = command(
        "train",
        "ratio=0.5",
        "model=tiny",
        f"pairs={pairs}",
        "push_to_hub=me/x",
        f"out={tmp_path / 'x'}",
    )
    assert (nobody.returncode, "HF_TOKEN should hold a token" in nobody.stderr) == (2, True)
