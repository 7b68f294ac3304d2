"""Finished work → a repository on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ratiocine.errors import BadInput, Failure


def check(name: str) -> None:
    """Raise BadInput, before any work, where the hub would not let us write."""
    from huggingface_hub import HfApi

    try:
        HfApi().whoami()
    except Exception as error:
        raise BadInput(
            f"push_to_hub={name}: the hub does not know who asks ({type(error).__name__}); HF_TOKEN should hold a token"
        ) from None


def push(
    name: str,
    kind: Literal["dataset", "model"],
    files: Mapping[str, Path | bytes],
    message: str,
    there: Path,
) -> None:
    """Upload files, by their paths in the repository, in one commit; `there` is where they are in any case. A repository
    that is not there yet is made, and is private."""
    from huggingface_hub import CommitOperationAdd, HfApi

    changes = [
        CommitOperationAdd(path, file if isinstance(file, bytes) else str(file))
        for path, file in files.items()
    ]
    try:
        HfApi().create_repo(name, repo_type=kind, private=True, exist_ok=True)
        HfApi().create_commit(name, changes, repo_type=kind, commit_message=message)
    except Exception as error:
        said = (str(error).splitlines() or [""])[0]
        raise Failure(
            f"push_to_hub={name}: {type(error).__name__}: {said}; {there} is finished"
        ) from None
    print(f"pushed to {name}")
