"""The pairs of a run as columns: ids, categories and token counts are in memory, texts stay on disk
until they are needed."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine import cli
from ratiocine.data import token_counts
from ratiocine.errors import BadInput, near
from ratiocine.hashing import digest
from ratiocine.models import packaged
from ratiocine.records import MODES, SIDES, Mode, Pair
from ratiocine.runs import PairSource, check_finished, read_config, read_manifest, verb_and_hash
from ratiocine.stores import PLAN, ROW_GROUP, check_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class PairDataset:
    """Pairs of one or more folders; `index` gives the position of each id in the columns."""

    folders: Sequence[str]
    index: dict[str, int] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    prompt_tokens: array[int] = field(default_factory=lambda: array("i"))
    """Of the prompt, rendered in plain form."""
    completion_tokens: dict[Mode, array[int]] = field(
        default_factory=lambda: {mode: array("i") for mode in MODES}
    )
    """Of both completions in plain form."""
    folder_numbers: array[int] = field(default_factory=lambda: array("i"))
    row_numbers: array[int] = field(default_factory=lambda: array("i"))
    """In the folder's table."""
    tables: list[Any] = field(default_factory=list)
    """Texts on disk, by folder."""
    form_tokens: dict[Mode, tuple[int, int]] = field(
        default_factory=lambda: dict.fromkeys(MODES, (0, 0))
    )
    """Tokens of prompts and completions beyond the plain form, by mode."""

    def add(
        self,
        number: int,
        rows: Sequence[int],
        columns: Mapping[str, Sequence[str]],
        counts: Mapping[str, Sequence[int]],
    ) -> None:
        """Add `rows` of folder `number`; `columns` and `counts` (tokens by side) hold all rows of
        the folder. Raises BadInput for an id that occurs in an earlier folder."""
        names = [columns["id"][row] for row in rows]
        if repeated := next(iter(self.index.keys() & set(names) if self.index else ()), None):
            raise BadInput(
                f"pairs={self.folders[number]}: the id '{repeated}' is in "
                f"{self.folder(repeated)} too"
            )
        self.index.update(zip(names, count(len(self.index)), strict=False))
        self.categories.extend(columns["category"][row] for row in rows)
        self.sources.extend(columns["source"][row] for row in rows)
        self.prompt_tokens.extend(counts["prompt"][row] for row in rows)
        for mode in MODES:
            self.completion_tokens[mode].extend(counts[mode][row] for row in rows)
        self.folder_numbers.extend(repeat(number, len(names)))
        self.row_numbers.extend(rows)

    def length(self, name: str, mode: Mode) -> int:
        """Tokens of a pair in one mode, prompt included."""
        at = self.index[name]
        tokens = self.prompt_tokens[at] + self.completion_tokens[mode][at]
        return tokens + sum(self.form_tokens[mode])

    def supervised(self, name: str, mode: Mode) -> int:
        """Tokens of a pair's completion in one mode."""
        return self.completion_tokens[mode][self.index[name]] + self.form_tokens[mode][1]

    def category(self, name: str) -> str:
        return self.categories[self.index[name]]

    def source(self, name: str) -> str:
        return self.sources[self.index[name]]

    def folder(self, name: str) -> str:
        return self.folders[self.folder_numbers[self.index[name]]]

    def pair(self, name: str) -> Pair:
        at = self.index[name]
        table = self.tables[self.folder_numbers[at]]
        return Pair(**table.slice(self.row_numbers[at], 1).to_pylist()[0])


def dataset_name(folder: str) -> str:
    """The name of the data of a folder of pairs, and its `verify` setting if it has one."""
    facts = check_finished(Path(folder), "distill").pairs
    return facts.data if facts.verify is None else f"{facts.data} verify={facts.verify}"


def test_split(folders: Sequence[str]) -> str:
    """The value of `benchmarks=` for the test splits of the pairs; BENCHMARK where none has one."""
    held_out = [
        cli.quoted(one) for one in folders if read_manifest(Path(one)).pairs.disjoint.get("test")
    ]
    return f"[{','.join(held_out)}]" if held_out else "BENCHMARK"


def pair_source(folder: str) -> PairSource:
    """Who wrote a folder of pairs, from which problems and at what cost."""
    config, facts = read_config(Path(folder)), read_manifest(Path(folder)).pairs
    teacher = config.get("teacher") or {}
    model = teacher.get("model") or (teacher.get("engine") or {}).get("model")
    spent = facts.spent or {}
    return PairSource(
        teacher=Path(str(model or teacher.get("name", "unknown"))).name,
        is_model=model is not None,
        n=facts.n or None,
        teacher_license=facts.teacher_license,
        license=facts.license,
        tokens=int(spent.get("prompt", 0) + spent.get("completion", 0)) or None,
        money=spent.get("money") or None,
    )


def pairs_file(folder: str) -> Path:
    """The pairs of a folder; raises BadInput where it is missing, unfinished or corrupt."""
    if not Path(folder).exists():
        raise BadInput(f"pairs={folder} does not exist{near(Path(folder))}")
    if (Path(folder) / PLAN).exists():
        raise BadInput(
            f"pairs={folder} is the folder of a study; its pairs are in {folder}/pairs-…"
        )
    if verb_and_hash(Path(folder)) is None:
        data = cli.shell_line("distill", f"data={cli.quoted(folder)}")
        raise BadInput(
            f"pairs={folder} is no folder of pairs, but may be data to make them of; next: {data} "
            "teacher=TEACHER out=runs/pairs, where TEACHER is reference for worked solutions in a "
            "column, published for both answers in columns, else a model: openai (a server), "
            "transformers or vllm"
        )
    if (manifest := check_finished(Path(folder))).verb != "distill":
        raise BadInput(f"pairs={folder} is a run of {manifest.verb}, not of distill")
    file = Path(folder) / "pairs.parquet"
    if not file.exists():
        raise BadInput(f"pairs={folder} holds no pairs.parquet")
    return file


def read_dataset(
    folders: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, seed: int, limit: int | None
) -> PairDataset:
    """All pairs of these folders, or `limit` of each, those of the smallest seeded hash. Raises
    BadInput where a folder is damaged or an id occurs twice."""
    dataset = PairDataset(folders)
    for number, folder in enumerate(folders):
        file = pairs_file(folder)
        columns = check_pairs(file)
        counts = _token_counts(Path(folder), file, tokenizer, len(columns["id"]))
        rows: Sequence[int] = range(len(columns["id"]))
        if limit is not None:
            rows = sorted(rows, key=lambda row: digest(seed, columns["id"][row]))[:limit]
        dataset.add(number, rows, columns, counts)
        dataset.tables.append(_table(file, read_manifest(Path(folder)).outputs[file.name]))
    return dataset


def _token_counts(
    folder: Path, file: Path, tokenizer: PreTrainedTokenizerBase, n: int
) -> Mapping[str, Sequence[int]]:
    """Token counts by side, stored with the pairs for this tokenizer or in the cache."""
    manifest, wanted = check_finished(folder), token_counts.tokenizer_hash(tokenizer)
    facts = manifest.pairs
    if facts.tokenizer == wanted:
        return token_counts.columns(file, {side: f"n_tokens_{side}" for side in SIDES})
    stored = folder / "lengths.parquet"
    if wanted not in facts.other_tokenizers.values():
        name = f"{manifest.outputs['pairs.parquet'][:16]}-{wanted}.parquet"
        stored = packaged.cache_folder() / "lengths" / name
        if not stored.exists():
            print(
                f"pairs={folder} was counted by another tokenizer than this model's; counting once",
                flush=True,
            )
            token_counts.write_lengths(stored, file, n, {"this model": tokenizer})
    return token_counts.columns(stored, {side: f"{wanted}.{side}" for side in SIDES})


def _table(file: Path, content: str) -> Any:
    """The rows of a parquet file with this hash, memory-mapped: decoded once, into the cache."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stored = packaged.cache_folder() / "pairs" / f"{content[:16]}.arrow"
    if not stored.exists():
        stored.parent.mkdir(parents=True, exist_ok=True)
        source = pq.ParquetFile(file)
        temporary = stored.with_name(f".{stored.name}.{os.getpid()}")
        with pa.ipc.new_file(temporary, source.schema_arrow) as decoded:
            for batch in source.iter_batches(ROW_GROUP):
                decoded.write_batch(batch)
        os.replace(temporary, stored)
    return pa.ipc.open_file(pa.memory_map(str(stored))).read_all()


def _lengths(dataset: PairDataset, mode: Mode) -> Iterator[int]:
    """Tokens of the rows of a mode."""
    form = sum(dataset.form_tokens[mode])
    both = zip(dataset.prompt_tokens, dataset.completion_tokens[mode], strict=True)
    return (prompt + completion + form for prompt, completion in both)


def longest(dataset: PairDataset) -> int:
    """Tokens of the longest row."""
    return max(max(_lengths(dataset, mode)) for mode in dataset.completion_tokens)


def drop_too_long(dataset: PairDataset, max_length: int) -> tuple[list[str], dict[str, int]]:
    """Ids of pairs of which *both* completions fit, so that every ratio has the same problems, and
    the numbers of pairs and of completions by mode that do not. Nothing is truncated."""
    too_long = {
        mode: array("b", (length > max_length for length in _lengths(dataset, mode)))
        for mode in dataset.completion_tokens
    }
    ids = [
        name
        for name, *exceeds in zip(dataset.index, *too_long.values(), strict=True)
        if not any(exceeds)
    ]
    dropped = {"pairs": len(dataset.index) - len(ids)}
    return ids, dropped | {mode: sum(too_long[mode]) for mode in MODES}
