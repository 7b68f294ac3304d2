"""Hugging Face data sets: pinned files or streamed splits, and conversion of their rows to the
shared schema of `rows`.

A new benchmark needs a file in conf/data and, if its columns differ from the shared schema, one
function in `ROWS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from ratiocine.data.config import HubConfig
from ratiocine.data.rows import Row
from ratiocine.errors import BadInput
from ratiocine.prompts import last_boxed
from ratiocine.runs import hash_path

NO_ANSWER = ("", "proof", "notfound")  # of NuminaMath and OpenR1-Math, for a missing answer


def download(name: str, hub: HubConfig, split: str) -> list[Path]:
    """The files of a split, from the hub or its cache. Raises BadInput where neither has them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return _files(hub, split, cached=True)
    except LocalEntryNotFoundError:
        pass
    try:
        # A quick check first: without a network the download itself retries for minutes.
        HfApi().dataset_info(hub.repo, revision=hub.revision, timeout=5)
        return _files(hub, split, cached=False)
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        reason = type(error).__name__
        raise BadInput(f"data={name}: {hub.repo} at {hub.revision}: {reason}") from None
    except Exception:
        raise _unreachable(name, hub, "a folder with local copies", _FOLDER) from None


def _files(hub: HubConfig, split: str, *, cached: bool) -> list[Path]:
    from huggingface_hub import hf_hub_download

    where = {"repo_type": "dataset", "revision": hub.revision, "local_files_only": cached}
    return [Path(hf_hub_download(hub.repo, file, **where)) for file in hub.files[split]]


_FOLDER = "data_dir=DIR (eval) or data.data_dir=DIR"
_FILE = "data.path=FILE"


def _unreachable(name: str, hub: HubConfig, instead: str, key: str) -> BadInput:
    return BadInput(
        f"data={name} needs {hub.repo} from the Hugging Face hub, which cannot be reached from "
        f"here; give {instead} instead: {key}"
    )


def streamed(name: str, hub: HubConfig, split: str) -> Iterator[Row]:
    """The rows of a split, streamed from the hub. Raises BadInput where it is unreachable or has no
    such split."""
    from datasets import load_dataset

    try:
        yield from load_dataset(
            hub.repo, hub.subset, split=hub.splits[split], revision=hub.revision, streaming=True
        )
    except ValueError as error:
        raise BadInput(f"data={name}: {hub.repo}: {str(error).splitlines()[0]}") from None
    except Exception as error:
        raise BadInput(
            f"data={name} needs {hub.repo} from the Hugging Face hub, which failed with "
            f"{type(error).__name__}; give a local copy instead: {_FILE}"
        ) from None


def revision(name: str, hub: HubConfig) -> str:
    """The pinned revision, else the newest one; for a local folder the hash of its content."""
    from huggingface_hub import HfApi

    if hub.revision is not None:
        return hub.revision
    if Path(hub.repo).is_dir():
        return hash_path(Path(hub.repo))
    try:
        return str(HfApi().dataset_info(hub.repo, timeout=5).sha)
    except Exception:
        raise _unreachable(name, hub, "a local copy", _FILE) from None


def adapted(hub: HubConfig, row: Row) -> Iterator[Row]:
    """The problems of one row, mostly one, in the shared schema."""
    return iter([row]) if hub.rows is None else ROWS[hub.rows](row)


def _gsm8k(row: Row) -> Iterator[Row]:
    """`answer` is the worked solution, then `#### ` and the number."""
    solution, _, answer = row["answer"].partition("\n#### ")
    yield {"question": row["question"], "answer": answer, "meta": {"solution": solution}}


def _mmlu(row: Row) -> Iterator[Row]:
    yield {
        "question": row["question"],
        "choices": row["choices"],
        "answer": row["answer"],
        "meta": {"subject": row["subject"]},
    }


def _mmlu_pro_math(row: Row) -> Iterator[Row]:
    """`N/A` options fill unused places."""
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


def _winogrande(row: Row) -> Iterator[Row]:
    yield {
        "question": row["sentence"],
        "choices": [row["option1"], row["option2"]],
        "answer": int(row["answer"]) - 1,
    }


def _openbookqa(row: Row) -> Iterator[Row]:
    choices = row["choices"]
    answer = list(choices["label"]).index(row["answerKey"])
    yield {
        "id": row["id"],
        "question": row["question_stem"],
        "choices": choices["text"],
        "answer": answer,
    }


def _aqua_rat(row: Row) -> Iterator[Row]:
    options = [re.sub(r"^[A-E]\)\s*", "", option) for option in row["options"]]
    meta = {"solution": row["rationale"]}
    yield {
        "question": row["question"],
        "choices": options,
        "answer": "ABCDE".index(row["correct"]),
        "meta": meta,
    }


def _squad(row: Row) -> Iterator[Row]:
    answers = list(dict.fromkeys(row["answers"]["text"]))
    yield {
        "id": row["id"],
        "question": row["question"],
        "context": row["context"],
        "answer": answers,
    }


def _coqa(row: Row) -> Iterator[Row]:
    """One problem per turn of a story, with the earlier turns as context."""
    history: list[dict[str, str]] = []
    for question, answer in zip(row["questions"], row["answers"]["input_text"], strict=True):
        yield {
            "question": question,
            "context": row["story"],
            "answer": [answer],
            "meta": {"history": list(history)},
        }
        history.append({"q": question, "a": answer})


def _ifeval(row: Row) -> Iterator[Row]:
    meta = {
        "instruction_id_list": list(row["instruction_id_list"]),
        "kwargs": [dict(k) for k in row["kwargs"]],
    }
    yield {"id": f"ifeval-{row['key']}", "question": row["prompt"], "answer": None, "meta": meta}


def _math(row: Row) -> Iterator[Row]:
    """MATH and data sets like it. Without an `answer` column, the box of the solution is the
    answer."""
    domain = row.get("subject") or row.get("type") or row.get("problem_type")
    meta = {"solution": row.get("solution"), "level": row.get("level"), "domain": domain}
    answer = row["answer"] if "answer" in row else last_boxed(row["solution"])
    answer = None if answer in NO_ANSWER else answer
    yield {"id": row.get("unique_id"), "question": row["problem"], "answer": answer, "meta": meta}


def _conversations(row: Row) -> Iterator[Row]:
    """Infinity-Instruct: the first human turn is the prompt; no references."""
    question = next(turn["value"] for turn in row["conversations"] if turn["from"] == "human")
    yield {"question": question, "answer": None, "meta": {"domain": row.get("source")}}


def _nemotron(row: Row) -> Iterator[Row]:
    """Llama-Nemotron: the prompt is a text or messages; no references."""
    question = row["input"]
    if not isinstance(question, str):
        question = next(turn["content"] for turn in question if turn["role"] == "user")
    yield {"question": question, "answer": None, "meta": {"domain": row.get("category")}}


def _aime(row: Row) -> Iterator[Row]:
    yield {"id": f"aime-{row['id']}", "question": row["problem"], "answer": str(int(row["answer"]))}


ROWS: dict[str, Callable[[Row], Iterator[Row]]] = {
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
