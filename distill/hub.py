"""A finished set of pairs → a data set on the Hugging Face hub."""

from __future__ import annotations

from ratiocine.errors import BadInput, Failure
from ratiocine.runs import Run

FILES = ["README.md", "pairs.parquet", "lengths.svg", "manifest.json"]


def check(name: str) -> None:
    """Raise BadInput, before any work, where the hub would not let us write."""
    from huggingface_hub import HfApi

    try:
        HfApi().whoami()
    except Exception as error:
        raise BadInput(
            f"push_to_hub={name}: the hub does not know who asks ({type(error).__name__}); HF_TOKEN should hold a token"
        ) from None


def push(run: Run, name: str) -> None:
    """Upload the pairs, their card and their manifest. A data set that is not there yet is made, and is private."""
    from huggingface_hub import HfApi

    try:
        HfApi().create_repo(name, repo_type="dataset", private=True, exist_ok=True)
        HfApi().upload_folder(
            repo_id=name, repo_type="dataset", folder_path=run.out, allow_patterns=FILES, commit_message=f"Pairs {run.hash}"
        )
    except Exception as error:
        raise Failure(
            f"push_to_hub={name}: {type(error).__name__}: {str(error).splitlines()[0]}; {run.out} is finished"
        ) from None
    print(f"pushed to {name}")
