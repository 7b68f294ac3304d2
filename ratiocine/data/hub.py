"""Hugging Face data sets: pinned files or streamed splits. `column_mappings` converts their rows to
the shared schema of `rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ratiocine.data.config import HubConfig
from ratiocine.data.row_files import Row
from ratiocine.errors import BadInput
from ratiocine.runs import hash_path


def download(name: str, hub: HubConfig, split: str) -> list[Path]:
    """The files of a split, from the hub or its cache. Raises BadInput where neither has them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        EntryNotFoundError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return _files(hub, split, cached=True)
    except LocalEntryNotFoundError:
        pass
    try:
        # A quick check first: without a network the download itself retries for minutes.
        HfApi().dataset_info(hub.repo, revision=hub.revision, timeout=5)
        return _files(hub, split, cached=False)
    except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError) as error:
        reason = type(error).__name__
        raise BadInput(f"data={name}: {hub.repo} at {hub.revision}: {reason}") from None
    except Exception:
        raise _unreachable(name, hub, "a folder with local copies", _FOLDER) from None


def is_cached(hub: HubConfig, split: str) -> bool:
    """Whether the cache has the files of a split; streamed splits are never in it."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return split in hub.files and bool(_files(hub, split, cached=True))
    except LocalEntryNotFoundError:
        return False


def _files(hub: HubConfig, split: str, *, cached: bool) -> list[Path]:
    from huggingface_hub import hf_hub_download

    where = {"repo_type": "dataset", "revision": hub.revision, "local_files_only": cached}
    return [Path(hf_hub_download(hub.repo, file, **where)) for file in hub.files[split]]


_FOLDER = "data_dir=DIR (eval) or data.data_dir=DIR"
_FILE = "benchmarks=[FILE] (eval) or data.path=FILE"


def _unreachable(name: str, hub: HubConfig, instead: str, key: str) -> BadInput:
    return BadInput(
        f"data={name} needs {hub.repo} from the Hugging Face hub, which cannot be reached from "
        f"here; give {instead} instead: {key}"
    )


def has_split(name: str, hub: HubConfig, split: str) -> bool:
    """Whether the data set has this split: by its configuration, else by its own list."""
    return hub.has(split) if hub.declared else split in _split_names(name, hub.repo, hub.subset)


@cache
def _split_names(name: str, repo: str, subset: str | None) -> tuple[str, ...]:
    from datasets import get_dataset_split_names

    hub = HubConfig(repo=repo, subset=subset)
    revision(name, hub)  # a quick check first: without a network `datasets` retries for minutes
    try:
        return tuple(get_dataset_split_names(repo, subset))
    except Exception as error:
        raise BadInput(f"data={name}: {repo}: {str(error).splitlines()[0]}") from None


def streamed(name: str, hub: HubConfig, split: str) -> Iterator[Row]:
    """The rows of a split, streamed from the hub. Raises BadInput where it is unreachable or has no
    such split."""
    from datasets import load_dataset

    revision(name, hub)  # a quick check first: without a network `datasets` retries for minutes
    try:
        yield from load_dataset(
            hub.repo,
            hub.subset,
            split=hub.splits.get(split, split),
            revision=hub.revision,
            streaming=True,
        )
    except ValueError as error:
        raise BadInput(f"data={name}: {hub.repo}: {str(error).splitlines()[0]}") from None
    except Exception as error:
        raise BadInput(
            f"data={name} needs {hub.repo} from the Hugging Face hub, which failed with "
            f"{type(error).__name__}; give a local copy instead: {_FILE}"
        ) from None


def revision(name: str, hub: HubConfig) -> str:
    """The pinned revision, else the newest one; for a local folder the hash of its content."""
    from huggingface_hub import HfApi

    if hub.revision is not None:
        return hub.revision
    if Path(hub.repo).is_dir():
        return hash_path(Path(hub.repo))
    try:
        return str(HfApi().dataset_info(hub.repo, timeout=5).sha)
    except Exception:
        raise _unreachable(name, hub, "a local copy", _FILE) from None
