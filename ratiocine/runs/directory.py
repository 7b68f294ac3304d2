"""Run directories: content hashes, manifest, atomic files, and the DONE marker that makes a run count.

A run's hash is made of the hashed fields of its configuration, its inputs' hashes and a schema version. A directory without DONE
is unfinished, and no verb reads from it; an artefact that no longer matches the manifest is corrupt.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from ratiocine import renames
from ratiocine.config import identity
from ratiocine.errors import BadInput
from ratiocine.executors import distributed
from ratiocine.runs import locks, migration

SCHEMA_VERSION = 2
CONFIG = "config.yaml"
REMOVED = "REMOVED"  # names artefacts that were removed on purpose, with their hashes
PACKAGES = ("torch", "transformers", "accelerate", "peft", "reasoning-gym", "hydra-core", "vllm")


def run_hash(verb: str, hashed: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """16 hex digits that name a run: equal for equal work, wherever and on whatever machine it is done. `hashed` is the
    `identity` of its configuration, `inputs` the content hashes of what it reads."""
    named = {"verb": verb, "config": hashed, "inputs": inputs, "schema": SCHEMA_VERSION}
    return _sha(named)[:16]


def _sha(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def hash_path(path: Path) -> str:
    """sha256 of a file, or of a folder's file names and contents."""
    if path.is_file():
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(f for f in path.rglob("*") if f.is_file())
    return _sha([(str(f.relative_to(path)), hash_path(f)) for f in files])


def content(path: Path) -> str:
    """`hash_path` of an artefact, also of one that its run has been relieved of."""
    gone = _gone(path.parent)
    return gone[path.name] if path.name in gone and not path.exists() else hash_path(path)


@dataclass
class Run:
    """One run directory. `open_run` makes it; `finish` writes the manifest and, last, DONE."""

    verb: str
    out: Path
    hash: str
    config: BaseModel
    inputs: Mapping[str, str]
    finished: bool = False
    home: Path | None = None  # where the first rank writes; set on the other ranks
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """The folder that all ranks see."""
        return self.home or self.out

    @property
    def facts(self) -> dict[str, str]:
        """What ranks have to agree on: configuration, inputs and versions, each by its name."""
        flat = _flat(self.config.model_dump())
        config = {
            f"{name}=": str(value) for name, value in flat.items() if name not in ("out", "tracker")
        }
        return {**config, **self.inputs, **versions()}

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary path that takes its final name only when the block ends without an error."""
        final = self.out / name
        temporary = self.out / f".{name}.partial"
        _remove(temporary)
        yield temporary
        for file in [temporary] if temporary.is_file() else sorted(temporary.rglob("*")):
            if file.is_file():
                _sync(file)
        if final.is_dir():  # a file is replaced in one step
            _remove(final)
        os.replace(temporary, final)
        self.outputs[name] = hash_path(final)

    def write_json(self, name: str, value: Any) -> None:
        with self.writing(name) as path:
            path.write_text(
                json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )

    def finish(self, **facts: Any) -> None:
        """Write `manifest.json` (what went in, what came out, with which versions) and then DONE."""
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
            **facts,
        }
        self.write_json("manifest.json", manifest)
        with self.writing("DONE") as path:
            path.write_text(hash_path(self.out / "manifest.json") + "\n")
        locks.release(self.out)


def open_run(
    verb: str,
    config: BaseModel,
    inputs: Mapping[str, str],
    resume_overrides: Sequence[str] = (),
) -> Run:
    """The run directory for this work: `config.out`, or `runs/<verb>/<hash>`.

    A finished run of the same work comes back with `finished` set, also one that an earlier release wrote. Raises BadInput
    where the directory holds other work, or cannot be written to; an interrupted run may differ in the keys of
    `resume_overrides`.
    """
    name = run_hash(verb, identity(config), inputs)
    out = Path(getattr(config, "out", None) or Path("runs") / verb / name)
    config = config.model_copy(update={"out": str(out)})
    other = found = hash_of(verb, out)
    if not distributed.is_first():  # the first rank reports what is wrong with the folder
        finished = other == name and (out / "DONE").exists()
        return Run(verb, distributed.scratch(), name, config, inputs, finished, out)
    held = []
    if out.is_dir():
        held = [f.name for f in out.iterdir() if not f.name.endswith(".partial")]
    if other not in (None, name) and held != [
        CONFIG
    ]:  # a refused run leaves only its configuration
        _check_resumable(out, config, inputs, resume_overrides)
        other = name
    if other is None and out.exists() and (held or not out.is_dir()):
        raise BadInput(f"out={out} is no empty folder and no run of this tool; choose another out")
    run = Run(verb, out, name, config, inputs)
    if other == name and (out / "DONE").exists():
        check_finished(out)
        run.finished = True
        return run
    check_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    locks.hold(out)
    if hash_of(verb, out) != found or (out / "DONE").exists():  # its previous owner changed it
        locks.release(out)
        return open_run(verb, config, inputs, resume_overrides)
    (out / REMOVED).unlink(missing_ok=True)
    with run.writing(CONFIG) as path:
        head = f"# {verb} {name}\n# inputs {_sha(inputs)[:16]}\n"
        body = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        path.write_text(head + body)
    return run


def _check_resumable(
    out: Path, config: BaseModel, inputs: Mapping[str, str], resume_overrides: Sequence[str]
) -> None:
    """Raise BadInput where a run of another configuration cannot go on as this one."""
    state = "a finished run" if (out / "DONE").exists() else "an interrupted run"
    text = (out / CONFIG).read_text(encoding="utf-8")
    there, wanted = _flat(yaml.safe_load(text)), _flat(_json(identity(config)))
    differ = sorted(key for key, value in wanted.items() if there.get(key) != value)
    if f"# inputs {_sha(inputs)[:16]}" not in text.splitlines()[:2]:
        differ.append("its inputs")
    if (out / "DONE").exists() or not set(differ) <= set(resume_overrides):
        raise BadInput(
            f"out={out} holds {state} of a different configuration ({', '.join(differ)}); remove it or "
            "choose another out"
        )


def _json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def remove(out: Path, name: str) -> None:
    """Relieve a finished run of an artefact, and note what it was: the rest of the run stands."""
    aside = out / f".{name}.partial"
    _remove(aside)  # of one that ended in the midst of this
    if not (out / name).exists():
        return
    gone = _gone(out)
    if name not in gone:
        write_whole(out / REMOVED, json.dumps({**gone, name: hash_path(out / name)}) + "\n")
    os.replace(out / name, aside)  # whole or not at all, also where this process ends here
    _remove(aside)


def let_go(out: Path) -> bool:
    """Whether a run was relieved of something."""
    return bool(_gone(out))


def reopen(out: Path) -> None:
    """Have a run that was relieved of something done again, by whoever opens it next."""
    if let_go(out):
        (out / "DONE").unlink(missing_ok=True)


def _gone(out: Path) -> dict[str, str]:
    file = next(
        (out / name for name in (REMOVED, migration.REMOVED) if (out / name).exists()),
        out / REMOVED,
    )
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}


def write_whole(file: Path, content: str | bytes) -> None:
    """Write a file in one step."""
    partial = file.with_name(f".{file.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    _sync(partial)
    os.replace(partial, file)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix[:-1]: value}
    return {
        key: found
        for name, inner in value.items()
        for key, found in _flat(inner, f"{prefix}{name}.").items()
    }


def hash_of(verb: str, out: Path) -> str | None:
    """The hash of the run in a directory, from the first line of its configuration; of a finished run that an earlier
    release wrote, the hash that its work has now. None where there is no run."""
    try:
        first = (out / CONFIG).read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, ValueError):
        return None
    match = re.fullmatch(r"# \w+ ([0-9a-f]{16})", first)
    if match is None:
        return None
    if (out / "DONE").exists() and migration.schema_version(out) < SCHEMA_VERSION:
        manifest = read_manifest(out)
        return run_hash(verb, manifest["identity"], manifest["inputs"])
    return match[1]


def check_writable(out: Path, need_bytes: int = 50_000_000) -> None:
    """Raise BadInput where `out` cannot be created or written, or its disk has less than `need_bytes` left."""
    base = next(p for p in (out, *out.absolute().parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=base):
            pass
    except OSError as error:
        raise BadInput(f"out={out} cannot be written: {error.strerror}") from None
    free = shutil.disk_usage(base).free
    if free < need_bytes:
        raise BadInput(
            f"out={out}: {free / 1e9:.1f} GB free on this disk, {need_bytes / 1e9:.1f} GB needed"
        )


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a finished run, whose outputs are not looked at; raises BadInput where the folder is missing, unfinished
    or its manifest corrupt."""
    if not out.is_dir():
        raise BadInput(f"{out} does not exist")
    if not (out / "DONE").exists():
        raise BadInput(f"{out} holds no finished run (no DONE): run it again to finish it")
    try:
        if (out / "DONE").read_text().strip() != hash_path(out / "manifest.json"):
            raise BadInput(f"{out} is corrupt: manifest.json is not the one that was written")
        manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BadInput(f"{out} is corrupt: manifest.json cannot be read") from None
    if manifest["schema_version"] > SCHEMA_VERSION:
        raise BadInput(
            f"{out} has schema version {manifest['schema_version']}; this release reads up to {SCHEMA_VERSION}: "
            "a newer release of ratiocine reads it"
        )
    return (
        migration.migrated_manifest(out, manifest)
        if manifest["schema_version"] < SCHEMA_VERSION
        else manifest
    )


def read_config(out: Path) -> dict[str, Any]:
    """The configuration of a run under today's keys; raises BadInput as `read_manifest` does."""
    manifest = read_manifest(out)
    config: dict[str, Any] = yaml.safe_load((out / CONFIG).read_text(encoding="utf-8"))
    if migration.schema_version(out) < SCHEMA_VERSION:
        return renames.renamed(manifest["verb"], config)
    return config


def check_finished(out: Path) -> dict[str, Any]:
    """The manifest of a finished run; raises BadInput as `read_manifest` does, and where an output is not what was written."""
    manifest, gone = read_manifest(out), _gone(out)
    for name, expected in manifest["outputs"].items():
        if gone.get(name) == expected and not (out / name).exists():
            continue
        if not (out / name).exists() or hash_path(out / name) != expected:
            raise BadInput(f"{out} is corrupt: {name} is missing or changed")
    return manifest


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def revision() -> str | None:
    """Commit of the checkout that runs, with `+` where it has uncommitted changes; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + (
            "+" if git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def _sync(file: Path) -> None:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
