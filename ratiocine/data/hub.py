"""Hugging Face data sets: pinned files of a repository, and what turns their rows into the shared schema.

The shared schema is that of `sources`: `question`, `answer`, and where they apply `id`, `choices`, `context`, `kind`, `meta`.
A new benchmark needs a file in conf/data and, where its columns are its own, one function here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ratiocine.config import Hashed, StrictConfig, Unhashed
from ratiocine.errors import BadInput
from ratiocine.prompts import last_boxed
from ratiocine.runs import hash_path

Row = dict[str, Any]
NO_ANSWER = ("", "proof", "notfound")  # what NuminaMath and OpenR1-Math write where there is none


class HubConfig(StrictConfig):
    """A data set `repo` at `revision` (its newest where None): either its `files`, by split, or its `splits` by their names
    there, in the subset `subset`, read as they come. `rows` names the function of `ROWS` that reads them, `count` says how many
    problems the test split has."""

    repo: Hashed[str]
    revision: Hashed[str | None] = None
    files: Hashed[dict[str, list[str]]] = {}
    splits: Hashed[dict[str, str]] = {}
    subset: Hashed[str | None] = None
    rows: Hashed[str | None] = None
    count: Unhashed[int | None] = None

    def has(self, split: str) -> bool:
        return split in self.files or split in self.splits


def download(name: str, hub: HubConfig, split: str) -> list[Path]:
    """The files of a split that lists them, from the hub or its cache; raises BadInput where neither has them."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    def fetched(*, cached: bool) -> list[Path]:
        return [
            Path(
                hf_hub_download(
                    hub.repo,
                    file,
                    repo_type="dataset",
                    revision=hub.revision,
                    local_files_only=cached,
                )
            )
            for file in hub.files[split]
        ]

    try:
        return fetched(cached=True)
    except LocalEntryNotFoundError:
        pass
    try:
        HfApi().dataset_info(
            hub.repo, revision=hub.revision, timeout=5
        )  # one short look: the download itself tries for long
        return fetched(cached=False)
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        raise BadInput(
            f"data={name}: {hub.repo} at {hub.revision}: {type(error).__name__}"
        ) from None
    except Exception:
        raise BadInput(
            f"data={name} needs {hub.repo} from the Hugging Face hub, which cannot be reached from here; "
            "give a folder with local copies instead: data_dir=DIR (eval) or data.data_dir=DIR"
        ) from None


def streamed(name: str, hub: HubConfig, split: str) -> Iterator[Row]:
    """The rows of a split, as they come from the hub; raises BadInput where it cannot be reached or has no such split."""
    from datasets import load_dataset

    try:
        yield from load_dataset(
            hub.repo, hub.subset, split=hub.splits[split], revision=hub.revision, streaming=True
        )
    except ValueError as error:
        raise BadInput(f"data={name}: {hub.repo}: {str(error).splitlines()[0]}") from None
    except Exception as error:
        raise BadInput(
            f"data={name} needs {hub.repo} from the Hugging Face hub, which does not give it ({type(error).__name__}); "
            "give a local copy instead: data.path=FILE"
        ) from None


def revision(name: str, hub: HubConfig) -> str:
    """The pinned revision, the newest one there is, or the content of a folder."""
    from huggingface_hub import HfApi

    if hub.revision is not None:
        return hub.revision
    if Path(hub.repo).is_dir():
        return hash_path(Path(hub.repo))
    try:
        return str(HfApi().dataset_info(hub.repo, timeout=5).sha)
    except Exception:
        raise BadInput(
            f"data={name} needs {hub.repo} from the Hugging Face hub, which cannot be reached from here; "
            "give a local copy instead: data.path=FILE"
        ) from None


def adapted(hub: HubConfig, row: Mapping[str, Any]) -> Iterator[Row]:
    """The problems that a row of the hub's holds, in the shared schema: mostly one."""
    return iter([dict(row)]) if hub.rows is None else ROWS[hub.rows](row)


def _gsm8k(row: Mapping[str, Any]) -> Iterator[Row]:
    """`answer` is the worked solution, then `#### ` and the number."""
    solution, _, answer = row["answer"].partition("\n#### ")
    yield {"question": row["question"], "answer": answer, "meta": {"solution": solution}}


def _mmlu(row: Mapping[str, Any]) -> Iterator[Row]:
    yield {
        "question": row["question"],
        "choices": row["choices"],
        "answer": row["answer"],
        "meta": {"subject": row["subject"]},
    }


def _mmlu_pro_math(row: Mapping[str, Any]) -> Iterator[Row]:
    """Options that say `N/A` fill up the places that a question does not use."""
    if row["category"] != "math":
        return
    choices = [option for option in row["options"] if option != "N/A"]
    answer = choices.index(row["options"][row["answer_index"]])
    yield {
        "id": f"mmlu-pro-{row['question_id']}",
        "question": row["question"],
        "choices": choices,
        "answer": answer,
    }


def _winogrande(row: Mapping[str, Any]) -> Iterator[Row]:
    yield {
        "question": row["sentence"],
        "choices": [row["option1"], row["option2"]],
        "answer": int(row["answer"]) - 1,
    }


def _openbookqa(row: Mapping[str, Any]) -> Iterator[Row]:
    choices = row["choices"]
    answer = list(choices["label"]).index(row["answerKey"])
    yield {
        "id": row["id"],
        "question": row["question_stem"],
        "choices": choices["text"],
        "answer": answer,
    }


def _aqua_rat(row: Mapping[str, Any]) -> Iterator[Row]:
    options = [re.sub(r"^[A-E]\)\s*", "", option) for option in row["options"]]
    meta = {"solution": row["rationale"]}
    yield {
        "question": row["question"],
        "choices": options,
        "answer": "ABCDE".index(row["correct"]),
        "meta": meta,
    }


def _squad(row: Mapping[str, Any]) -> Iterator[Row]:
    answers = list(dict.fromkeys(row["answers"]["text"]))
    yield {
        "id": row["id"],
        "question": row["question"],
        "context": row["context"],
        "answer": answers,
    }


def _coqa(row: Mapping[str, Any]) -> Iterator[Row]:
    """A story with its questions: one problem a turn, the turns before it in the prompt."""
    history: list[dict[str, str]] = []
    for question, answer in zip(row["questions"], row["answers"]["input_text"], strict=True):
        yield {
            "question": question,
            "context": row["story"],
            "answer": [answer],
            "meta": {"history": list(history)},
        }
        history.append({"q": question, "a": answer})


def _ifeval(row: Mapping[str, Any]) -> Iterator[Row]:
    meta = {
        "instruction_id_list": list(row["instruction_id_list"]),
        "kwargs": [dict(k) for k in row["kwargs"]],
    }
    yield {"id": f"ifeval-{row['key']}", "question": row["prompt"], "answer": None, "meta": meta}


def _math(row: Mapping[str, Any]) -> Iterator[Row]:
    """MATH, its subsets and sets like it; where no column holds the answer, the box in the solution does."""
    domain = row.get("subject") or row.get("type") or row.get("problem_type")
    meta = {"solution": row.get("solution"), "level": row.get("level"), "domain": domain}
    answer = row["answer"] if "answer" in row else last_boxed(row["solution"])
    answer = None if answer in NO_ANSWER else answer
    yield {"id": row.get("unique_id"), "question": row["problem"], "answer": answer, "meta": meta}


def _conversations(row: Mapping[str, Any]) -> Iterator[Row]:
    """Infinity-Instruct: the first human turn is the prompt; nothing says what is right."""
    question = next(turn["value"] for turn in row["conversations"] if turn["from"] == "human")
    yield {"question": question, "answer": None, "meta": {"domain": row.get("source")}}


def _nemotron(row: Mapping[str, Any]) -> Iterator[Row]:
    """Llama-Nemotron's post-training prompts: a text or its messages; nothing says what is right."""
    asked = row["input"]
    question = (
        asked
        if isinstance(asked, str)
        else next(turn["content"] for turn in asked if turn["role"] == "user")
    )
    yield {"question": question, "answer": None, "meta": {"domain": row.get("category")}}


def _aime(row: Mapping[str, Any]) -> Iterator[Row]:
    yield {"id": f"aime-{row['id']}", "question": row["problem"], "answer": str(int(row["answer"]))}


ROWS: dict[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "aime": _aime,
    "aqua_rat": _aqua_rat,
    "conversations": _conversations,
    "coqa": _coqa,
    "gsm8k": _gsm8k,
    "ifeval": _ifeval,
    "math": _math,
    "mmlu": _mmlu,
    "mmlu_pro_math": _mmlu_pro_math,
    "nemotron": _nemotron,
    "openbookqa": _openbookqa,
    "squad": _squad,
    "winogrande": _winogrande,
}
