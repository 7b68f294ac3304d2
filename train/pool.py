"""The pairs of a run: ids, categories and lengths are held, texts stay on disk until they are trained on."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine import lengths, models
from ratiocine.errors import BadInput
from ratiocine.problems import digest
from ratiocine.runs import check_finished
from ratiocine.traces import MODES, Mode, Pair, check_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Pool:
    """Pairs of one or more sets, by id. `tokens` holds the rendered lengths of each id's prompt, ift and reasoning side, and
    `places` where its texts are."""

    ids: list[str]
    categories: dict[str, str]
    sources: dict[str, str]
    tokens: dict[str, tuple[int, int, int]]
    places: dict[str, tuple[int, int]]
    folders: Sequence[str]
    tables: list[Any]

    def length(self, name: str, mode: Mode) -> int:
        """Tokens of a pair in one format, prompt included."""
        prompt, *sides = self.tokens[name]
        return prompt + sides[MODES.index(mode)]

    def supervised(self, name: str, mode: Mode) -> int:
        return self.tokens[name][1 + MODES.index(mode)]

    def pair(self, name: str) -> Pair:
        table, row = self.places[name]
        return Pair(**self.tables[table][row])

    def folder(self, name: str) -> str:
        return self.folders[self.places[name][0]]


def pairs_file(folder: str) -> Path:
    """The pairs of a folder; raises BadInput where it is missing, unfinished or corrupt."""
    check_finished(Path(folder))
    file = Path(folder) / "pairs.parquet"
    if not file.exists():
        raise BadInput(f"pairs={folder} holds no pairs.parquet")
    return file


def read_pool(folders: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, seed: int, limit: int | None) -> Pool:
    """All pairs of these sets, or the `limit` of each whose seeded hash is smallest. Raises BadInput where a set is
    damaged or two pairs have one id."""
    pool = Pool([], {}, {}, {}, {}, folders, [])
    for number, folder in enumerate(folders):
        file = pairs_file(folder)
        columns = check_pairs(file)
        counts = _counts(Path(folder), file, tokenizer, len(columns["id"]))
        rows = range(len(columns["id"]))
        if limit is not None:
            rows = sorted(rows, key=lambda row: digest(seed, columns["id"][row]))[:limit]  # type: ignore[assignment]
        for row in rows:
            name = columns["id"][row]
            if name in pool.categories:
                raise BadInput(f"pairs={folder}: the id '{name}' is in {pool.folder(name)} too")
            pool.ids.append(name)
            pool.categories[name], pool.sources[name] = columns["category"][row], columns["source"][row]
            pool.tokens[name] = tuple(counts[side][row] for side in lengths.SIDES)  # type: ignore[assignment]
            pool.places[name] = number, row
        pool.tables.append(_texts(file))
    return pool


def _counts(folder: Path, file: Path, tokenizer: PreTrainedTokenizerBase, n: int) -> Mapping[str, Sequence[int]]:
    """Tokens of each side as the set has stored them for this tokenizer, or as they were counted here before."""
    manifest, wanted = check_finished(folder), lengths.tokenizer_hash(tokenizer)
    if manifest.get("tokenizer") == wanted:
        return lengths.columns(file, {side: f"n_tokens_{side}" for side in lengths.SIDES})
    stored = folder / "lengths.parquet"
    if wanted not in (manifest.get("other_tokenizers") or {}).values():
        stored = models.cache_folder() / "lengths" / f"{manifest['outputs']['pairs.parquet'][:16]}-{wanted}.parquet"
        if not stored.exists():
            print(f"pairs={folder} was counted by another tokenizer than this model's; counting once", flush=True)
            lengths.write_lengths(stored, file, n, {"this model": tokenizer})
    return lengths.columns(stored, {side: f"{wanted}.{side}" for side in lengths.SIDES})


def _texts(file: Path) -> Any:
    """The rows of a parquet file, any of them at once, from disk."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.Dataset.from_parquet(str(file), cache_dir=str(models.cache_folder() / "pairs"))


def fitting(pool: Pool, max_length: int) -> tuple[list[str], dict[str, int]]:
    """The ids of which *both* sides fit, so that every ratio has the same problems, and how many sides did not, by format.
    Nothing is ever cut short."""
    over = {mode: array("b", (pool.length(i, mode) > max_length for i in pool.ids)) for mode in MODES}
    kept = [name for name, *long in zip(pool.ids, *over.values(), strict=True) if not any(long)]
    return kept, {"pairs": len(pool.ids) - len(kept), **{mode: sum(over[mode]) for mode in MODES}}
