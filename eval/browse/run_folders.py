"""The runs in a folder: which there are, their state, and a line about each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from eval.browse.file_cache import FileCache
from eval.browse.run_progress import METRICS, Progress, progress_of
from eval.report import arm_label, percent, strategy_words
from ratiocine.data import stem
from ratiocine.errors import BadInput
from ratiocine.records import JsonObject
from ratiocine.runs import CONFIG, Manifest, locks, read_config, read_manifest, verb_and_hash
from ratiocine.scores import FILE as SCORES
from ratiocine.scores import read_scores
from ratiocine.stores import COMPLETIONS, PARTIAL_COMPLETIONS, PLAN, read_object

State = Literal["running", "finished", "unfinished", "damaged"]
STATES: tuple[State, ...] = ("running", "finished", "unfinished", "damaged")
VERBS = ("distill", "train", "rl", "eval", "launch")
PAIRS, MIXTURE = "pairs.parquet", "mixture.json"
VAL_ACCURACY = ("val_accuracy.jsonl", "held_out.jsonl")  # the latter before schema 2
STATED = (CONFIG, "DONE", "manifest.json", SCORES)  # what the line about a finished run is from
# Files that a page reads, of any run.
READ = (
    *STATED,
    *("REMOVED", "GONE", locks.LOCK, PAIRS, MIXTURE, PLAN),
    *(COMPLETIONS, "traces.jsonl", PARTIAL_COMPLETIONS, METRICS, *VAL_ACCURACY),
)
SKIPPED = ("model", "checkpoints", "wandb", "figures", "tables")  # folders without runs
STAGE = re.compile(r".+-[0-9a-f]{8}")  # the folder of a stage of a study
# What a reader raises for a file that was changed by hand.
DAMAGES = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
KEPT = 4096  # lines about finished runs


class UnknownRun(LookupError):
    """There is no run of this name."""


@dataclass(frozen=True)
class RunInfo:
    """A run, or the folder of a study (verb `launch`)."""

    name: str
    """Its path in the served folder; `.` for that folder itself."""
    folder: Path
    verb: str
    state: State
    changed: float
    """Time of its end, or of its last change, in seconds since 1970."""
    model: str = ""
    arm: str = ""
    """How its model was trained, or what it trains or makes."""
    result: str = ""
    progress: Progress | None = None
    problem: str | None = None
    """What is damaged."""


class RunFolders:
    """The runs in `root` and below. No link is followed, so that nothing outside it is read."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._finished = FileCache[RunInfo](KEPT)

    def all(self) -> list[RunInfo]:
        """All runs: those that are running first, then the newest."""
        found = [self._info(folder, verb) for folder, verb in self._walk()]
        return sorted(found, key=lambda run: (run.state != "running", -run.changed, run.name))

    def get(self, name: str) -> RunInfo:
        """The run of this name. Raises UnknownRun where there is none."""
        folder = self.root / name
        inside = not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name
        if inside and folder.resolve() == folder and folder.is_dir():
            names = [entry.name for entry in os.scandir(folder)]
            if (verb := _verb(folder, names)) is not None:
                return self._info(folder, verb)
        raise UnknownRun(f"there is no run {name}")

    def _walk(self) -> Iterator[tuple[Path, str]]:
        for path, folders, files in os.walk(self.root):
            if (verb := _verb(Path(path), [*folders, *files])) is not None:
                yield Path(path), verb
            folders[:] = [name for name in folders if name not in SKIPPED and name[0] != "."]

    def _info(self, folder: Path, verb: str) -> RunInfo:
        name = folder.relative_to(self.root).as_posix()
        if unsafe := _unsafe_name(name) or _unsafe_file(folder):
            return RunInfo(name, folder, verb, "damaged", _changed(folder), problem=unsafe)
        if verb == "launch":
            return _study(name, folder)
        done = (folder / "DONE").exists()
        state: State = "running" if locks.is_locked(folder) else "unfinished"
        make = _finished if done else _unfinished

        def info() -> RunInfo:
            try:
                return make(name, folder, verb, "finished" if done else state)
            except DAMAGES as error:
                text = problem_of(error, folder)
                return RunInfo(name, folder, verb, "damaged", _changed(folder), problem=text)

        if not done:
            return info()
        return self._finished.get(folder, [folder / file for file in STATED], info)


def problem_of(error: BaseException, folder: Path) -> str:
    """One line about a damaged run: the reader's own, or the kind of error."""
    if isinstance(error, BadInput | UnknownRun):
        return str(error).replace(f"{folder}", folder.name)
    if isinstance(error, OSError):
        return f"{Path(error.filename or folder).name} cannot be read: {error.strerror}"
    return f"a file has unexpected content ({type(error).__name__})"


def _verb(folder: Path, names: Sequence[str]) -> str | None:
    """The verb of the run in a folder with these entries; None where there is none."""
    if CONFIG in names:
        # Another file than a regular one could be a pipe, which never ends.
        head = verb_and_hash(folder) if (folder / CONFIG).is_file() else None
        return head[0] if head and head[0] in VERBS else None
    has_stages = any(STAGE.fullmatch(name) and (folder / name / CONFIG).exists() for name in names)
    is_study = PLAN in names or locks.LOCK in names or "report.html" in names
    return "launch" if is_study and has_stages else None


def _unsafe_name(name: str) -> str | None:
    """Why a run of this name has no page."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "the name of its folder is not in UTF-8"
    return None


def _unsafe_file(folder: Path) -> str | None:
    """Why a file of the run must not be read."""
    for name in READ:
        file = folder / name
        if file.is_symlink():
            return f"{name} is a link, and links are not followed"
        if file.exists() and not file.is_file():
            return f"{name} is no regular file"
    return None


def _changed(folder: Path) -> float:
    """Time of the last change of a file that a page reads."""
    times = [file.stat().st_mtime for name in READ if (file := folder / name).exists()]
    return max(times, default=0.0)


def _finished(name: str, folder: Path, verb: str, state: State) -> RunInfo:
    manifest, config = read_manifest(folder), read_config(folder)
    if manifest.verb != verb:
        raise BadInput(f"{CONFIG} is of a run of {verb}, manifest.json of {manifest.verb}")
    model, arm = _trained(verb, config)
    if verb == "eval":
        student = manifest.evaluation.student
        model = str((student and student.base) or manifest.evaluation.model)
        trained = student and (arm_label(manifest.evaluation), f"seed {student.seed}")
        strategy = strategy_words(manifest.identity.get("strategy"))
        arm = ", ".join(word for word in (*(trained or ("untrained",)), strategy) if word)
    ended = (folder / "DONE").stat().st_mtime
    result = RESULTS[verb](folder, manifest)
    return RunInfo(name, folder, verb, state, ended, model, arm, result)


def _unfinished(name: str, folder: Path, verb: str, state: State) -> RunInfo:
    config = read_object(folder / CONFIG)
    model, arm = _trained(verb, config)
    progress = progress_of(verb, folder, config)
    return RunInfo(name, folder, verb, state, _changed(folder), model, arm, progress=progress)


def _trained(verb: str, config: JsonObject) -> tuple[str, str]:
    """The model in a configuration, and what is done with it, in words."""
    model = config.get("model") or {}
    path = model.get("path")
    own = f"{Path(path).parent.name}/{Path(path).name}" if path else "local"
    name = str(model.get("name") or "") if model.get("name") != "local" else own
    if verb == "distill":  # `model` counts tokens alone
        teacher = config.get("teacher") or {}
        name = str((teacher.get("engine") or {}).get("model") or teacher.get("model") or "")
    named = {key: (config.get(key) or {}).get("name") for key in ("teacher", "reward")}
    data = config.get("data") or {}
    source = data.get("path") or (data.get("hub") or {}).get("repo")
    problems = stem(source) if data.get("name") == "local" and source else data.get("name")
    scenario = (config.get("scenario") or {}).get("name")
    words = {
        "distill": [named["teacher"] and f"{named['teacher']} on {problems}"],
        "train": [
            scenario if scenario != "mixed" else None,
            None if config.get("ratio") is None else f"ratio {config['ratio']:g}",
        ],
        "rl": [named["reward"] and f"reward {named['reward']}"],
        "eval": [],
    }[verb]
    seed = f"seed {config['seed']}" if verb in ("train", "rl") and "seed" in config else None
    return name, ", ".join(str(word) for word in (*words, seed) if word)


def _accuracy(folder: Path, manifest: Manifest) -> str:
    total = read_scores(folder).all
    low, high = (100 * end for end in total.ci95)
    return f"{percent(total.accuracy)} ({low:.1f} to {high:.1f}), {total.n} problems"


def _loss(folder: Path, manifest: Manifest) -> str:
    facts = manifest.training
    loss = "" if facts.final_loss is None else f", loss {facts.final_loss:.3f}"
    return f"{facts.steps} steps{loss}"


def _pairs(folder: Path, manifest: Manifest) -> str:
    return f"{manifest.pairs.n} pairs"


RESULTS: dict[str, Callable[[Path, Manifest], str]] = {
    "distill": _pairs,
    "train": _loss,
    "rl": _loss,
    "eval": _accuracy,
}


def _study(name: str, folder: Path) -> RunInfo:
    """The folder of a study; of its stages those count that have begun."""
    begun = [one for one in folder.iterdir() if STAGE.fullmatch(one.name) and not one.is_symlink()]
    begun = [one for one in begun if (one / CONFIG).exists()]
    done = sum((one / "DONE").exists() for one in begun)
    reports = sorted(file for file in folder.glob("*.html") if file.is_file())
    finished = done == len(begun) and bool(reports)
    state: State = "finished" if finished else "unfinished"
    state = "running" if locks.is_locked(folder) else state
    times = [_changed(folder), *map(_changed, begun)]
    result = f"{done} of {len(begun)} begun stages finished"
    return RunInfo(name, folder, "launch", state, max(times), result=result)
