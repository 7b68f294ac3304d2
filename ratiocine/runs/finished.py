"""Reading finished runs, those of earlier releases included."""

from __future__ import annotations

import re
from pathlib import Path

from ratiocine import renames
from ratiocine.errors import BadInput, near
from ratiocine.records import JsonObject
from ratiocine.runs import migration
from ratiocine.runs.artefacts import removed
from ratiocine.runs.hashes import SCHEMA_VERSION, hash_path, run_hash
from ratiocine.runs.manifests import Manifest
from ratiocine.stores import PLAN, read_object

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
DONE = "DONE"  # holds the hash of the manifest


def read_manifest(out: Path) -> Manifest:
    """The manifest of a finished run; its artefacts are not checked.

    Raises BadInput where the folder is missing, unfinished, half migrated or written by a newer
    release, or where its manifest is damaged.
    """
    if not out.is_dir():
        if out.exists():
            raise BadInput(f"{out} is a file, not the folder of a run")
        raise BadInput(f"{out} does not exist{near(out)}")
    if (out / PLAN).exists():
        inside = sorted(one.parent.name for one in out.glob(f"*/{DONE}"))
        more = f"; it holds {', '.join(inside[:3])}{' …' if len(inside) > 3 else ''}"
        raise BadInput(f"{out} is the folder of a study, not of one run{more if inside else ''}")
    if not (out / CONFIG).exists() and not (out / DONE).exists():
        raise BadInput(f"{out} holds no run: no {CONFIG}, no finished run (no DONE)")
    if not (out / DONE).exists():
        raise BadInput(f"{out} holds no finished run (no DONE): run it again to finish it")
    try:
        unchanged = (out / DONE).read_text().strip() == hash_path(out / MANIFEST)
    except (OSError, ValueError):
        unchanged = False
    manifest = read_object(out / MANIFEST)
    if not unchanged:
        raise BadInput(f"{out} is corrupt: manifest.json is not the one that was written")
    version = manifest["schema_version"]
    if version > SCHEMA_VERSION:
        raise BadInput(
            f"{out} has schema version {version}, this release reads up to {SCHEMA_VERSION}; "
            f"read it with a release of ratiocine whose schema version is {version}"
        )
    if version < SCHEMA_VERSION:
        manifest = migration.migrated_manifest(out, manifest, read_object(out / CONFIG))
    elif migration.is_earlier(read_object(out / CONFIG)):
        raise BadInput(
            f"{out} is half migrated: its manifest has schema version {version}, {CONFIG} has 1; "
            "restore the folder as it was written, or run it again"
        )
    return Manifest.from_json(manifest)


def read_config(out: Path) -> JsonObject:
    """A finished run's configuration under today's keys; raises BadInput as `read_manifest`."""
    manifest, config = read_manifest(out), read_object(out / CONFIG)
    return config if manifest.is_current else renames.renamed(manifest.verb, config)


def check_finished(out: Path, verb: str | None = None) -> Manifest:
    """The manifest of a finished run (of this verb).

    Raises BadInput as `read_manifest`, where an artefact is missing or changed, and where the run
    is of another verb.
    """
    manifest, absent = read_manifest(out), removed(out)
    if verb not in (None, manifest.verb):
        raise BadInput(f"{out} is a run of {manifest.verb}, not of {verb}")
    for name, expected in manifest.outputs.items():
        if absent.get(name) == expected and not (out / name).exists():
            continue
        if not (out / name).exists() or hash_path(out / name) != expected:
            raise BadInput(f"{out} is corrupt: {name} is missing or changed")
    return manifest


def verb_and_hash(out: Path) -> tuple[str, str] | None:
    """The verb and the hash of the run in a directory, finished or not, as they were written; None
    where there is no run."""
    try:
        first = (out / CONFIG).read_text(encoding="utf-8").splitlines()[0]
    except (OSError, IndexError, ValueError):
        return None
    match = re.fullmatch(r"# (\w+) ([0-9a-f]{16})", first)
    return None if match is None else (match[1], match[2])


def hash_of(verb: str, out: Path) -> str | None:
    """The hash of the run in a directory, finished or not; None where there is no run.

    Of a finished run of an earlier release: the hash that this release gives it. Raises BadInput
    as `read_manifest` where such a run is damaged.
    """
    head = verb_and_hash(out)
    if head is None:
        return None
    if (out / DONE).exists() and migration.is_earlier(read_object(out / CONFIG)):
        manifest = read_manifest(out)
        return run_hash(verb, manifest.identity, manifest.inputs)
    return head[1]


def holds_run(verb: str, out: Path, name: str) -> bool:
    """Whether a finished run, of this or an earlier release, is the one to which a study gives the
    hash `name`. Raises BadInput as `hash_of`."""
    if hash_of(verb, out) == name:
        return True
    # `eval` derives `thinking` from its student after the study has named the folder. Schema 1
    # stores the derived value, which the folder's own name then does not have.
    manifest = read_manifest(out)
    derived = verb == "eval" and not out.name.endswith(f"-{manifest.hash[:8]}")
    if not derived or manifest.is_current:
        return False
    return run_hash(verb, {**manifest.identity, "thinking": None}, manifest.inputs) == name
