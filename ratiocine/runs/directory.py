"""Run directories: one folder for each run, with its configuration, artefacts, manifest and DONE.

The hash of a run covers the `Hashed` fields of its configuration (those that change results), the
content hashes of its inputs and a schema version. A directory without DONE is unfinished and is
read by no verb; an artefact that does not match the manifest is corrupt.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from pydantic import BaseModel, ValidationError

from ratiocine import cli
from ratiocine.config import flattened, identity
from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.runs import locks, migration
from ratiocine.runs.artefacts import REMOVED, check_writable, delete, partial_path, sync
from ratiocine.runs.finished import (
    CONFIG,
    DONE,
    MANIFEST,
    check_finished,
    hash_of,
    read_config,
    read_manifest,
)
from ratiocine.runs.hashes import SCHEMA_VERSION, hash_path, run_hash, value_hash
from ratiocine.runs.versions import machine, revision, versions
from ratiocine.stores import read_object

# By a run that was refused, or gave no pair: another configuration may take its folder.
LEFT_BEHIND = frozenset({CONFIG, "rejected.jsonl"})


@dataclass
class Run:
    """One run directory. `open_run` creates it; `finish` writes the manifest and, last, DONE."""

    verb: str
    out: Path
    """Where this rank writes."""
    hash: str
    config: BaseModel
    inputs: Mapping[str, str]
    finished: bool = False
    home: Path | None = None
    """Where the first rank writes; None on the first rank."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Content hashes of the artefacts so far, by name."""
    created: bool = False
    """Whether `out` did not exist before."""

    @property
    def shared(self) -> Path:
        """The folder that all ranks see."""
        return self.home or self.out

    @property
    def facts(self) -> dict[str, str]:
        """Values that must be equal on all ranks: configuration, inputs and versions, by name.
        They are not those of `finish`."""
        flat = flattened(self.config.model_dump())
        config = {
            f"{name}=": str(value) for name, value in flat.items() if name not in ("out", "tracker")
        }
        return {**config, **self.inputs, **versions()}

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path that becomes the artefact `name` if the block ends without an error."""
        final = self.out / name
        temporary = partial_path(final)
        delete(temporary)
        try:
            yield temporary
        except BadInput:
            delete(temporary)
            raise
        for file in [temporary] if temporary.is_file() else sorted(temporary.rglob("*")):
            if file.is_file():
                sync(file)
        if final.is_dir():  # a file is replaced in one step
            delete(final)
        os.replace(temporary, final)
        self.outputs[name] = hash_path(final)

    def write_json(self, name: str, value: object) -> None:
        with self.writing(name) as path:
            text = json.dumps(value, indent=2, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")

    def finish(self, **facts: object) -> None:
        """Write `manifest.json` (inputs, outputs, versions and the results `facts`), then DONE."""
        manifest = {
            "schema_version": SCHEMA_VERSION,
            "verb": self.verb,
            "hash": self.hash,
            "identity": identity(self.config),
            "inputs": dict(self.inputs),
            "outputs": self.outputs,
            "seed": getattr(self.config, "seed", None),
            "versions": versions(),
            "revision": revision(),
            "machine": machine(),
            **facts,
        }
        self.write_json(MANIFEST, manifest)
        with self.writing(DONE) as path:
            path.write_text(hash_path(self.out / MANIFEST) + "\n")
        locks.release(self.out)

    def ended(self, error: BaseException) -> str:
        """What is said about the run when an error ends the command. After invalid input a folder
        with nothing but the configuration is removed."""
        if locks.is_held(self.out):
            if isinstance(error, KeyboardInterrupt):
                return f"; the same command continues {self.out}"
            files = {file for file in self.out.rglob("*") if not file.is_dir()}
            if files <= {self.out / CONFIG, self.out / locks.LOCK}:
                locks.release(self.out)
                (self.out / CONFIG).unlink(missing_ok=True)
                if self.created:
                    delete(self.out)
        return ""


def open_run(
    verb: str,
    config: BaseModel,
    inputs: Mapping[str, str],
    resume_overrides: Sequence[str] = (),
) -> Run:
    """The run directory of this configuration and inputs: `config.out`, or `runs/<verb>/<hash>`.

    A finished run with the same hash, of this or an earlier release, has `finished` set. An
    interrupted run may differ in the keys of `resume_overrides`. Raises BadInput where the
    directory holds a run with another hash, is locked by another process, or cannot be written to.
    """
    name = run_hash(verb, identity(config), inputs)
    out = Path(getattr(config, "out", None) or Path("runs") / verb / name)
    run = Run(verb, out, name, config.model_copy(update={"out": str(out)}), inputs)
    found = hash_of(verb, out)
    done = (out / DONE).exists()
    if not distributed.is_first():  # the first rank reports errors of the folder
        run.out, run.home, run.finished = distributed.scratch(), out, done and found == name
        return run
    names = [file.name for file in out.iterdir()] if out.is_dir() else []
    names = [file for file in names if not file.endswith(".partial")]
    if found is None and out.exists() and (names or not out.is_dir()):
        raise BadInput(f"out={out} is no empty folder and no run of this tool; choose another out")
    if found not in (None, name) and not LEFT_BEHIND.issuperset(names):
        _check_resumable(run, resume_overrides)
    elif found == name and done:
        check_finished(out)
        run.finished = True
        return run
    check_writable(out)
    run.created = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    locks.acquire(out)
    if hash_of(verb, out) != found or (out / DONE).exists():  # its previous owner changed it
        locks.release(out)
        return open_run(verb, config, inputs, resume_overrides)
    (out / REMOVED).unlink(missing_ok=True)
    _write_config(run)
    cli.on_error(run.ended)
    return run


def _write_config(run: Run) -> None:
    """The configuration, after two lines that identify an interrupted run."""
    head = f"# {run.verb} {run.hash}\n# inputs {value_hash(run.inputs)[:16]}\n"
    values = run.config.model_dump(mode="json")
    text = head + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    with run.writing(CONFIG) as path:
        path.write_text(text, encoding="utf-8")


def _check_resumable(run: Run, resume_overrides: Sequence[str]) -> None:
    """Raise BadInput where the run of another configuration in the folder cannot go on as this."""
    out, done = run.out, (run.out / DONE).exists()
    state = "a finished run" if done else "an interrupted run"
    stored = read_config(out) if done else read_object(out / CONFIG)
    text = (out / CONFIG).read_text(encoding="utf-8")
    if migration.is_earlier(stored):
        raise BadInput(
            f"out={out} holds an interrupted run of schema version 1, which this release cannot "
            "continue; finish it with the release that began it, remove it, or choose another out"
        )
    if (verb := text.split()[1]) != run.verb:
        raise BadInput(f"out={out} holds {state} of {verb}; remove it or choose another out")
    before, wanted = _hashed(type(run.config), stored), flattened(_json(identity(run.config)))
    differ = sorted(key for key, value in wanted.items() if before.get(key) != value)
    if done:
        same_inputs = read_manifest(out).inputs == run.inputs
    else:
        same_inputs = f"# inputs {value_hash(run.inputs)[:16]}" in text.splitlines()[:2]
    if not same_inputs:
        differ.append("its inputs")
    if done or not set(differ) <= set(resume_overrides):
        go_on = "" if done else _go_on(run.config, differ)
        raise BadInput(
            f"out={out} holds {state} of a different configuration ({', '.join(differ)}); remove "
            f"it or choose another out{go_on}"
        )


def _go_on(config: BaseModel, differ: Sequence[str]) -> str:
    """How the interrupted run goes on in spite of these differences; empty where it cannot."""
    if "resume_overrides" not in type(config).model_fields:
        return ""
    try:  # a verb refuses differences that its checkpoints do not allow
        type(config).model_validate({**config.model_dump(), "resume_overrides": list(differ)})
    except ValidationError:
        return ""
    return f", or continue it with the new values: resume_overrides=[{','.join(differ)}]"


def _hashed(schema: type[BaseModel], stored: object) -> dict[str, object]:
    """The hashed fields of a stored configuration, by dotted key; none where it is not valid."""
    try:
        return flattened(_json(identity(schema.model_validate(stored))))
    except ValidationError:
        return {}


def _json(value: object) -> object:
    return json.loads(json.dumps(value, default=str))
