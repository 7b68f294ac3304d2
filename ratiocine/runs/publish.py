"""Upload of finished work to a repository on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ratiocine.errors import BadInput, Failure


def check(name: str) -> None:
    """Raise BadInput, before any work, where the hub does not accept the token."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    try:
        HfApi().whoami()
    except LocalTokenNotFoundError:
        raise BadInput(
            f"push_to_hub={name}: there is no token; HF_TOKEN should hold one, or `hf auth login`"
        ) from None
    except Exception as error:
        raise BadInput(
            f"push_to_hub={name}: the hub does not accept the token ({type(error).__name__}); "
            "HF_TOKEN should hold a token"
        ) from None


def push(
    name: str,
    kind: Literal["dataset", "model"],
    files: Mapping[str, Path | bytes],
    message: str,
    folder: Path,
) -> None:
    """Upload files, by their paths in the repository, as one commit; a new repository is private.

    `folder` is the finished run. Raises Failure where the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    changes = [
        CommitOperationAdd(path, file if isinstance(file, bytes) else str(file))
        for path, file in files.items()
    ]
    try:
        HfApi().create_repo(name, repo_type=kind, private=True, exist_ok=True)
        HfApi().create_commit(name, changes, repo_type=kind, commit_message=message)
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise Failure(
            f"push_to_hub={name}: {type(error).__name__}: {first}; {folder} is finished"
        ) from None
    print(f"pushed to {name}")
