"""Artefacts of a run directory: atomic replacement, free space, and removal on purpose."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from ratiocine.errors import BadInput
from ratiocine.runs.hashes import hash_path
from ratiocine.stores import read_object

REMOVED = "REMOVED"  # lists artefacts that were removed on purpose, with their hashes
REMOVED_BEFORE = "GONE"  # its name before schema 2
NEEDED = 50_000_000  # bytes


def write_whole(file: Path, content: str | bytes) -> None:
    """Replace a file in one step."""
    partial = partial_path(file)
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    sync(partial)
    os.replace(partial, file)


def partial_path(final: Path) -> Path:
    """The temporary path of a file or folder in preparation."""
    return final.with_name(f".{final.name}.partial")


def sync(file: Path) -> None:
    with open(file, "rb") as handle:
        os.fsync(handle.fileno())


def delete(path: Path) -> None:
    """Remove a file or a folder, where it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()


def check_writable(out: Path, need_bytes: int = NEEDED) -> None:
    """Raise BadInput where `out` cannot be created or written, or its disk has less than
    `need_bytes` left."""
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


def remove_artefact(out: Path, name: str) -> None:
    """Remove an artefact of a finished run and record its hash, so that the run stays finished."""
    aside = partial_path(out / name)
    delete(aside)  # of a process that ended within this function
    if not (out / name).exists():
        return
    known = removed(out)
    if name not in known:
        write_whole(out / REMOVED, json.dumps({**known, name: hash_path(out / name)}) + "\n")
    os.replace(out / name, aside)  # so that a kill leaves the artefact whole or not at all
    delete(aside)


def removed(out: Path) -> dict[str, str]:
    """Hashes of the artefacts that were removed on purpose, by name."""
    for name in (REMOVED, REMOVED_BEFORE):
        if (file := out / name).exists():
            return read_object(file)
    return {}


def has_removed(out: Path) -> bool:
    """Whether an artefact was removed on purpose."""
    return bool(removed(out))


def artefact_hash(path: Path) -> str:
    """`hash_path` of an artefact, from the record where it was removed on purpose."""
    known = removed(path.parent)
    return known[path.name] if path.name in known and not path.exists() else hash_path(path)


def reopen(out: Path) -> None:
    """Unmark a finished run whose artefacts were removed, so that it runs again when opened."""
    if has_removed(out):
        (out / "DONE").unlink(missing_ok=True)
