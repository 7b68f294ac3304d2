"""A planned mixture in the formats of other trainers, in training order, so that losses can be
compared with theirs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ratiocine.prompts import SWITCH
from ratiocine.rendering import Rendering
from ratiocine.runs import check_writable
from train.dataset import PairDataset
from train.scenario import Stage

Row = dict[str, Any]
LLAMA_FACTORY = {
    "mixture": {
        "file_name": "messages.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
        },
    }
}


def export(
    folder: Path, dataset: PairDataset, stages: Sequence[Stage], rendering: Rendering
) -> int:
    """Write `messages.jsonl` (Axolotl's `chat_template` type, LLaMA-Factory by the
    `dataset_info.json` beside it) and `prompt_completion.jsonl` (TRL, which then takes the loss on
    completions only). Returns the number of rows."""
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    n = 0
    with (
        open(folder / "messages.jsonl", "w", encoding="utf-8") as messages,
        open(folder / "prompt_completion.jsonl", "w", encoding="utf-8") as completions,
    ):
        for row in _rows(dataset, stages, rendering):
            prompt, completion = row.pop("prompt"), row.pop("completion")
            conversation = {"messages": prompt + completion, **row}
            split = {"prompt": prompt, "completion": completion, **row}
            messages.write(json.dumps(conversation, ensure_ascii=False) + "\n")
            completions.write(json.dumps(split, ensure_ascii=False) + "\n")
            n += 1
    (folder / "dataset_info.json").write_text(
        json.dumps(LLAMA_FACTORY, indent=2) + "\n", encoding="utf-8"
    )
    return n


def _rows(dataset: PairDataset, stages: Sequence[Stage], rendering: Rendering) -> Iterator[Row]:
    for number, stage in enumerate(stages, 1):
        for name, mode in (example for batch in stage.batches for example in batch):
            pair = dataset.pair(name)
            answer = rendering.message(pair.side(mode), mode)
            row: Row = {
                "prompt": [{"role": "user", "content": pair.prompt}],
                "completion": [{"role": "assistant", "content": answer}],
                "id": name,
                "format": mode,
                "stage": number,
            }
            if (thinking := rendering.thinking(mode)) is not None:
                row["chat_template_kwargs"] = {SWITCH: thinking}
            yield row
