"""Logs with rows by step, cut back to the checkpoint from which a run resumes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ratiocine.errors import Failure

Row = dict[str, Any]


def truncate_log(
    path: Path, previous: Path, done: int, *, keep: bool = True, every_step: bool = True
) -> list[Row]:
    """Copy the rows of the first `done` steps of the file of this name in the folder `previous` to
    `path`; later steps are computed again. Returns them, or an empty list without `keep` (a long
    file). With `every_step`, a log with a row per step, raises Failure where rows are missing.

    `path` may be that file, and other processes may be reading it: it is replaced in one step."""
    rows, last = list[Row](), 0
    temporary = path.with_name(f".{path.name}.partial")
    source = previous / path.name
    source.touch()
    with open(source, encoding="utf-8") as old, open(temporary, "w", encoding="utf-8") as new:
        for line in old:
            try:
                row = json.loads(line)
            except ValueError:  # torn by a kill
                break
            if row["step"] > done:
                break
            new.write(line)
            last = row["step"]
            if keep:
                rows.append(row)
    if every_step and last < done:
        raise Failure(
            f"{source} ends before step {done}, from which the run would resume; remove {previous} "
            "and start again"
        )
    os.replace(temporary, path)
    return rows
