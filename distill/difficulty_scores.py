"""The file of `python -m distill.difficulty`: a score for each problem, with its samples."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from ratiocine.errors import BadInput
from ratiocine.records import Mode

LOWEST, HIGHEST = 1.0, 10.0
Difficulty = Annotated[float, Field(ge=LOWEST, le=HIGHEST)]


@dataclass(frozen=True)
class ProblemScore:
    """What a judge says about one problem."""

    score: Difficulty | None
    """Mean of the parsed samples; None without any."""
    samples: list[Difficulty | None]
    """One per reply; None for an unparsable one."""
    unparsable: dict[str, str]
    """Why a reply has no score, by its number."""


@dataclass(frozen=True)
class Correlation:
    """Spearman's, of the scores with 1 − pass rate."""

    run: str
    """Folder of the pass rates."""
    mode: Mode
    n: int
    """Problems with a score and a pass rate."""
    rho: float | None
    """None where either never varies."""
    p: float | None
    """Two-sided, of no correlation."""


@dataclass(frozen=True)
class Scores:
    """The JSON file."""

    schema_version: int
    judge: str
    """As in the answer cache."""
    data: str
    samples: int
    """Replies per problem."""
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int
    unparsable: dict[str, int]
    """Replies without a score, by reason."""
    without_score: int
    """Problems without a parsable reply."""
    correlation: Correlation | None
    problems: dict[str, ProblemScore]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def existing(file: str) -> Path:
    """The path of a file of scores. Raises BadInput where there is none."""
    if not Path(file).is_file():
        raise BadInput(f"select.difficulty={file} is not a file")
    return Path(file)


def read(file: str) -> dict[str, float]:
    """The scores by problem, without the problems that have none. Raises BadInput where the file
    holds no scores."""
    try:
        found = TypeAdapter(Scores).validate_json(existing(file).read_bytes())
    except (OSError, ValidationError):
        raise BadInput(
            f"select.difficulty={file} is no file of `python -m distill.difficulty`"
        ) from None
    return {name: row.score for name, row in found.problems.items() if row.score is not None}
