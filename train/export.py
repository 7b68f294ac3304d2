"""A planned mixture as files that other trainers read, in training order, so that anyone can check ours by theirs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ratiocine.prompts import SWITCH
from ratiocine.rendering import Rendering
from ratiocine.runs import check_writable
from train.dataset import Pool
from train.scenario import Stage

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


def export(folder: Path, pool: Pool, stages: Sequence[Stage], rendering: Rendering) -> int:
    """Write `messages.jsonl` (Axolotl's `chat_template` type, LLaMA-Factory by the `dataset_info.json` beside it) and
    `prompt_completion.jsonl` (TRL, which then takes the loss on completions only). Returns the number of rows."""
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    n = 0
    names = ("messages.jsonl", "prompt_completion.jsonl")
    with (
        open(folder / names[0], "w", encoding="utf-8") as messages,
        open(folder / names[1], "w", encoding="utf-8") as pairs,
    ):
        for number, stage in enumerate(stages, 1):
            for name, mode in (example for batch in stage.batches for example in batch):
                pair = pool.pair(name)
                prompt = [{"role": "user", "content": pair.prompt}]
                completion = [
                    {"role": "assistant", "content": rendering.message(pair.side(mode), mode)}
                ]
                about: dict[str, Any] = {"id": name, "format": mode, "stage": number}
                if (thinking := rendering.thinking(mode)) is not None:
                    about["chat_template_kwargs"] = {SWITCH: thinking}
                messages.write(
                    json.dumps({"messages": prompt + completion, **about}, ensure_ascii=False)
                    + "\n"
                )
                pairs.write(
                    json.dumps(
                        {"prompt": prompt, "completion": completion, **about}, ensure_ascii=False
                    )
                    + "\n"
                )
                n += 1
    (folder / "dataset_info.json").write_text(
        json.dumps(LLAMA_FACTORY, indent=2) + "\n", encoding="utf-8"
    )
    return n
