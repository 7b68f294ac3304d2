"""Column mappings of hub data sets: one function each in `ROWS`, from a row of the hub to rows of
the shared schema of `rows`. `HubConfig.rows` names the function.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ratiocine.completion_parts import last_boxed
from ratiocine.data.config import HubConfig
from ratiocine.data.row_files import Row

NO_ANSWER = ("", "proof", "notfound")  # of NuminaMath and OpenR1-Math, for a missing answer


def adapted(hub: HubConfig, row: Row) -> Iterator[Row]:
    """Rows of the shared schema from one of the hub: mostly one, none if it is left out."""
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
