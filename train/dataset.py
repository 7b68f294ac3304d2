"""The pairs of a run: ids, categories and lengths are held, texts stay on disk until they are trained on."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine.data import token_counts
from ratiocine.errors import BadInput
from ratiocine.hashing import digest
from ratiocine.models import packaged
from ratiocine.records import MODES, SIDES, Mode, Pair
from ratiocine.runs import check_finished
from ratiocine.stores import check_pairs

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Pool:
    """Pairs of one or more sets. `index` gives the place of each id in the columns: categories, sources, rendered lengths of
    the prompt and of both sides in plain form, the set it is in and its row there. `more` is what prompts and completions have
    beyond the plain form, by format."""

    folders: Sequence[str]
    index: dict[str, int] = field(default_factory=dict)
    categories: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    prompts: array[int] = field(default_factory=lambda: array("i"))
    sides: dict[Mode, array[int]] = field(
        default_factory=lambda: {mode: array("i") for mode in MODES}
    )
    sets: array[int] = field(default_factory=lambda: array("i"))
    rows: array[int] = field(default_factory=lambda: array("i"))
    tables: list[Any] = field(default_factory=list)
    more: dict[Mode, tuple[int, int]] = field(default_factory=lambda: dict.fromkeys(MODES, (0, 0)))

    def add(
        self,
        number: int,
        rows: Sequence[int],
        columns: Mapping[str, Sequence[str]],
        counts: Mapping[str, Sequence[int]],
    ) -> None:
        """Rows of one set, of which `columns` and `counts` hold all. Raises BadInput where an id is there already."""
        names = [columns["id"][row] for row in rows]
        if repeated := next(iter(self.index.keys() & set(names) if self.index else ()), None):
            raise BadInput(
                f"pairs={self.folders[number]}: the id '{repeated}' is in {self.folder(repeated)} too"
            )
        self.index.update(zip(names, count(len(self.index)), strict=False))
        self.categories.extend(columns["category"][row] for row in rows)
        self.sources.extend(columns["source"][row] for row in rows)
        for mine, side in ((self.prompts, "prompt"), *((self.sides[mode], mode) for mode in MODES)):
            mine.extend(counts[side][row] for row in rows)
        self.sets.extend(repeat(number, len(names)))
        self.rows.extend(rows)

    def length(self, name: str, mode: Mode) -> int:
        """Tokens of a pair in one format, prompt included."""
        place = self.index[name]
        return self.prompts[place] + self.sides[mode][place] + sum(self.more[mode])

    def supervised(self, name: str, mode: Mode) -> int:
        return self.sides[mode][self.index[name]] + self.more[mode][1]

    def category(self, name: str) -> str:
        return self.categories[self.index[name]]

    def source(self, name: str) -> str:
        return self.sources[self.index[name]]

    def folder(self, name: str) -> str:
        return self.folders[self.sets[self.index[name]]]

    def pair(self, name: str) -> Pair:
        place = self.index[name]
        return Pair(**self.tables[self.sets[place]][self.rows[place]])


def taught_from(folder: str) -> str:
    """What a set of pairs is called: its data, and where answers were chosen by their verdicts how."""
    manifest = check_finished(Path(folder))
    return " ".join(
        [manifest["data"], *([f"verify={manifest['verify']}"] if "verify" in manifest else [])]
    )


def pairs_file(folder: str) -> Path:
    """The pairs of a folder; raises BadInput where it is missing, unfinished or corrupt."""
    check_finished(Path(folder))
    file = Path(folder) / "pairs.parquet"
    if not file.exists():
        raise BadInput(f"pairs={folder} holds no pairs.parquet")
    return file


def read_pool(
    folders: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, seed: int, limit: int | None
) -> Pool:
    """All pairs of these sets, or the `limit` of each whose seeded hash is smallest. Raises BadInput where a set is
    damaged or two pairs have one id."""
    pool = Pool(folders)
    for number, folder in enumerate(folders):
        file = pairs_file(folder)
        columns = check_pairs(file)
        counts = _counts(Path(folder), file, tokenizer, len(columns["id"]))
        rows = range(len(columns["id"]))
        if limit is not None:
            rows = sorted(rows, key=lambda row: digest(seed, columns["id"][row]))[:limit]  # type: ignore[assignment]
        pool.add(number, rows, columns, counts)
        pool.tables.append(_texts(file))
    return pool


def _counts(
    folder: Path, file: Path, tokenizer: PreTrainedTokenizerBase, n: int
) -> Mapping[str, Sequence[int]]:
    """Tokens of each side as the set has stored them for this tokenizer, or as they were counted here before."""
    manifest, wanted = check_finished(folder), token_counts.tokenizer_hash(tokenizer)
    if manifest.get("tokenizer") == wanted:
        return token_counts.columns(file, {side: f"n_tokens_{side}" for side in SIDES})
    stored = folder / "lengths.parquet"
    if wanted not in (manifest.get("other_tokenizers") or {}).values():
        stored = (
            packaged.cache_folder()
            / "lengths"
            / f"{manifest['outputs']['pairs.parquet'][:16]}-{wanted}.parquet"
        )
        if not stored.exists():
            print(
                f"pairs={folder} was counted by another tokenizer than this model's; counting once",
                flush=True,
            )
            token_counts.write_lengths(stored, file, n, {"this model": tokenizer})
    return token_counts.columns(stored, {side: f"{wanted}.{side}" for side in SIDES})


def _texts(file: Path) -> Any:
    """The rows of a parquet file, any of them at once, from disk."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.Dataset.from_parquet(
        str(file), cache_dir=str(packaged.cache_folder() / "pairs")
    )


def fitting(pool: Pool, max_length: int) -> tuple[list[str], dict[str, int]]:
    """The ids of which *both* sides fit, so that every ratio has the same problems, and how many sides did not, by format.
    Nothing is ever cut short."""
    over = {
        mode: array(
            "b",
            (
                a + b + sum(pool.more[mode]) > max_length
                for a, b in zip(pool.prompts, side, strict=True)
            ),
        )
        for mode, side in pool.sides.items()
    }
    kept = [name for name, *long in zip(pool.index, *over.values(), strict=True) if not any(long)]
    return kept, {"pairs": len(pool.index) - len(kept), **{mode: sum(over[mode]) for mode in MODES}}
