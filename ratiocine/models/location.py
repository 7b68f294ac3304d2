"""The folder of a model: converted, pruned or downloaded on first use, and its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ratiocine.errors import BadInput, near
from ratiocine.hashing import digest
from ratiocine.models import packaged
from ratiocine.models.adapters import merge_adapter
from ratiocine.models.config import ModelConfig
from ratiocine.models.pruning import prune_layers
from ratiocine.runs import artefact_hash, check_finished, has_removed, hash_path, verb_and_hash
from ratiocine.stores import read_object

WEIGHTS = ("*.safetensors", "*.bin")
TOKENIZERS = ("tokenizer.json", "vocab*", "*.model", "*.tiktoken")
HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class Adapter:
    """A LoRA adapter (peft) and its base model, by folder."""

    folder: Path
    base: Path

    @property
    def tokenizer(self) -> Path:
        """The folder with the tokenizer: the adapter's where it has one."""
        return self.folder if (self.folder / "tokenizer_config.json").exists() else self.base


def locate(model: ModelConfig) -> Path | None:
    """The Hugging Face folder of a model, None for `tiny`.

    Converts, prunes or downloads the model first if necessary; an adapter is merged with its base
    model in the cache. Raises BadInput if the folder holds no model, its run is unfinished, or the
    hub cannot be reached.
    """
    if model.layers is not None and model.kind != "served":
        return _pruned(model, model.layers)
    if model.kind == "tiny":
        return None
    if model.kind == "packaged":
        return packaged.packaged(model.packaged)
    if model.path is None:
        raise BadInput("model.path is needed: a folder or a hub id")
    folder = Path(model.path)
    if not folder.exists() and has_removed(folder.parent):
        raise BadInput(
            f"model={folder}: its weights were removed after their evaluation (retain=scores); "
            "train it again"
        )
    run = verb_and_hash(folder.parent)
    if not folder.exists() and (folder.parent / "DONE").exists():
        raise BadInput(f"model={folder} does not exist{near(folder)}")
    if not folder.exists() and run is not None and run[0] in ("train", "rl"):
        raise BadInput(
            f"model={folder} is not there yet: the training in {folder.parent} is interrupted or "
            "still running; the same command continues it"
        )
    if (adapter := find_adapter(model)) is not None:
        return _merged(adapter)
    if folder.is_dir():
        _check_folder(folder)
        return folder
    return _download(model, _repo(model.path))


def _repo(path: str) -> str:
    """The hub id that a path without a folder is. Raises BadInput for any other path."""
    if path.startswith((".", "/", "~")) or path.count("/") != 1:
        raise BadInput(f"model={path} is not a local folder")
    return path


def not_cached(model: ModelConfig) -> list[str]:
    """What the cache of the hub lacks of a model (`weights`, `tokenizer`); empty for models that
    are not of the hub. Nothing is downloaded. Raises BadInput for a folder that holds no model."""
    if model.kind != "hub" or model.path is None:
        return []
    folder = Path(model.path)
    if (base := _base_of(folder)) is not None:
        with _base_is_named(folder, base):
            return not_cached(model.model_copy(update={"path": base, "revision": None}))
    if folder.is_dir():
        _check_folder(folder)
        return []
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    repo, where = _repo(model.path), {"revision": model.revision, "local_files_only": True}
    try:
        cached = Path(snapshot_download(repo, allow_patterns=HUB_FILES, **where))
    except LocalEntryNotFoundError:
        return ["weights", "tokenizer"]
    except HFValidationError:
        raise BadInput(f"model={repo} is neither a local folder nor a hub id") from None
    has = {
        "weights": _has_weights(cached),
        "tokenizer": _has_tokenizer(cached),
    }
    return [part for part, there in has.items() if not there]


def _has_weights(folder: Path) -> bool:
    """Whether a folder has all files of weights that its index names, or a single one."""
    for index in folder.glob("*.index.json"):
        return all((folder / name).exists() for name in read_object(index)["weight_map"].values())
    return any(file for pattern in WEIGHTS for file in folder.glob(pattern))


def _has_tokenizer(folder: Path) -> bool:
    return any(file for pattern in TOKENIZERS for file in folder.glob(pattern))


def fingerprint(model: ModelConfig) -> str:
    """Content hash of a model's files; a name for `tiny` and served models."""
    if model.kind == "tiny":
        return "tiny-1"
    if model.kind == "packaged":
        return packaged.fingerprint(model.packaged)
    if model.kind == "served":
        return f"served:{model.name}"
    if model.path and not Path(model.path).exists() and has_removed(Path(model.path).parent):
        return artefact_hash(Path(model.path))
    if (adapter := find_adapter(model)) is not None:
        return digest("adapter", _content(adapter.folder), _content(adapter.base))
    folder = locate(model)
    assert folder is not None
    return hash_path(folder)


def find_adapter(model: ModelConfig) -> Adapter | None:
    """The adapter that a model's folder holds without its base model, if it does.

    Raises BadInput if the base model is unknown or not found. None for a pruned model, whose layers
    are those of the merged one.
    """
    if model.kind != "hub" or model.path is None or model.layers is not None:
        return None
    folder = Path(model.path)
    if (base := _base_of(folder)) is None:
        return None
    with _base_is_named(folder, base):
        whole = locate(model.model_copy(update={"path": base, "revision": None}))
    assert whole is not None
    return Adapter(folder, whole)


@contextmanager
def _base_is_named(folder: Path, base: str) -> Iterator[None]:
    """Name an adapter's base model in what BadInput says of it, and how a missing one is found."""
    try:
        yield
    except BadInput as error:
        run = Path(base).parent
        if Path(base).exists() or has_removed(run) or verb_and_hash(run) is not None:
            raise BadInput(f"model={folder} is an adapter of {base}: {error}") from None
        here = "" if Path(base).is_absolute() else f" in {Path.cwd()}"
        raise BadInput(
            f"model={folder} is an adapter of {base}, which is neither a folder{here} nor found on "
            "the Hugging Face hub; give the path of the base model as base_model_name_or_path in "
            f"{folder / 'adapter_config.json'}"
        ) from None


def _base_of(folder: Path) -> str | None:
    """The folder or hub id of an adapter's base model; None for a folder of another kind."""
    if not (folder / "adapter_config.json").exists() or (folder / "config.json").exists():
        return None
    base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise BadInput(f"model={folder} is an adapter whose adapter_config.json names no base")
    return base


def check_local(model: ModelConfig) -> None:
    """Raise BadInput where the path of a model is a folder that holds neither a model nor an
    adapter; files are not read."""
    if model.kind != "hub" or model.path is None or not Path(model.path).is_dir():
        return
    folder = Path(model.path)
    if not has_removed(folder.parent) and _base_of(folder) is None:
        _check_folder(folder)


def _check_folder(folder: Path) -> None:
    """Raise BadInput if a local folder is no model or is the output of an unfinished run."""
    run = folder.parent
    if (run / "manifest.json").exists() or (run / "config.yaml").exists():
        check_finished(run)
    weights = any(file for pattern in WEIGHTS for file in folder.glob(pattern))
    if not (folder / "config.json").exists() or not weights:
        inner = folder / "model"
        hint = f"; did you mean {inner}?" if (inner / "config.json").exists() else ""
        raise BadInput(f"model={folder} is no model folder: no config.json or no weights{hint}")
    if not _has_tokenizer(folder):
        raise BadInput(
            f"model={folder} holds no tokenizer (tokenizer.json and tokenizer_config.json, or "
            "tokenizer.model): copy its files from the model that the weights were trained from"
        )


def _download(model: ModelConfig, repo: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                repo, revision=model.revision, allow_patterns=HUB_FILES, etag_timeout=5
            )
        )
    except (RepositoryNotFoundError, HFValidationError):
        raise BadInput(
            f"model={repo} is neither a local folder nor on the Hugging Face hub"
        ) from None
    except (LocalEntryNotFoundError, OSError, RuntimeError):
        raise BadInput(
            f"model={model.given}: {repo} is not a local folder, and the Hugging Face hub cannot "
            "be reached from here; give a local folder instead: model=/path/to/folder"
        ) from None


def _pruned(model: ModelConfig, layers: int) -> Path:
    """The pruned model as a folder in the cache, written on first use."""
    whole = locate(model.model_copy(update={"layers": None}))
    if whole is None:
        raise BadInput(f"model.layers={layers} needs a model folder; model={model.name} has none")
    folder = packaged.cache_folder() / f"{model.name}-{layers}-{_content(whole)[:12]}"
    if not (folder / "config.json").exists():
        packaged.written_once(folder, lambda out: prune_layers(whole, layers, out))
    return folder


def _merged(adapter: Adapter) -> Path:
    """The adapter merged with its base model as a folder in the cache, written on first use."""
    contents = (_content(adapter.folder)[:12], _content(adapter.base)[:12])
    folder = packaged.cache_folder() / f"merged-{'-'.join(contents)}"
    if not (folder / "config.json").exists():
        packaged.written_once(
            folder, lambda out: merge_adapter(adapter.folder, adapter.base, adapter.tokenizer, out)
        )
    return folder


@cache
def _content(folder: Path) -> str:
    return hash_path(folder)
