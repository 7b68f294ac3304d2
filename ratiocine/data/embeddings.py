"""Near-duplicates by sentence embeddings, for paraphrases that share few words.

An encoder as sentence-transformers stores it: hidden states of the last layer, mean over tokens (or
the first token's, as the folder's `1_Pooling/config.json` says), normalised to length 1. Two texts
are compared by cosine similarity. As in `contamination`, texts with different numbers are different
problems.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ratiocine.data.contamination import NUMBERS
from ratiocine.errors import BadInput
from ratiocine.hashing import content_key, digest
from ratiocine.progress import progress

if TYPE_CHECKING:
    import numpy as np

BATCH = 64  # texts in one forward pass
BLOCK = 4096  # texts whose similarities with as many others are in memory at once
MAX_TOKENS = 512  # of a text, where the folder states no limit


def paraphrases(
    texts: Sequence[str], model: str, *, threshold: float, seed: int = 0
) -> dict[int, int]:
    """Index of each near-duplicate → index of the kept text that it is most similar to.

    Texts are visited in the order of a seeded hash of their content, and one is kept if no kept
    text with the same numbers has a cosine similarity of `threshold` or more: the result is
    independent of their order. Memory: one vector per text. Raises BadInput for a folder that is no
    encoder.
    """
    import numpy as np

    order = sorted(range(len(texts)), key=lambda at: digest(seed, content_key(texts[at])))
    vectors = _embedded([texts[at] for at in order], model)
    numbers = [tuple(sorted(NUMBERS.findall(texts[at]))) for at in order]
    codes = {one: code for code, one in enumerate(dict.fromkeys(numbers))}
    group = np.array([codes[one] for one in numbers])
    kept = np.ones(len(order), dtype=bool)
    found: dict[int, int] = {}
    for start in range(0, len(order), BLOCK):
        rows = slice(start, start + BLOCK)
        best = np.full(len(vectors[rows]), -1.0, dtype=np.float32)
        nearest = np.zeros(len(best), dtype=np.int64)
        for earlier in range(0, start, BLOCK):
            columns = slice(earlier, earlier + BLOCK)
            similar = _similarities(vectors, group, rows, columns)
            similar[:, ~kept[columns]] = -1
            at = similar.argmax(axis=1)
            value = similar[np.arange(len(at)), at]
            nearest = np.where(value > best, at + earlier, nearest)
            best = np.maximum(best, value)
        within = _similarities(vectors, group, rows, rows)
        for row in range(len(best)):
            same = np.where(kept[start : start + row], within[row, :row], -1)
            if row and same.max() > best[row]:
                best[row], nearest[row] = same.max(), start + int(same.argmax())
            if best[row] >= threshold:
                kept[start + row] = False
                found[order[start + row]] = order[int(nearest[row])]
    return found


def _similarities(
    vectors: np.ndarray, group: np.ndarray, rows: slice, columns: slice
) -> np.ndarray:
    """Cosine similarities, -1 for texts with different numbers."""
    import numpy as np

    same = group[rows, None] == group[None, columns]
    return np.where(same, vectors[rows] @ vectors[columns].T, np.float32(-1))


def _embedded(texts: Sequence[str], model: str) -> np.ndarray:
    """Unit vectors of the texts: float32, (texts, dimensions)."""
    import numpy as np
    import torch

    tokenizer, encoder, by_first, limit = _loaded(model)
    vectors = np.empty((len(texts), encoder.config.hidden_size), dtype=np.float32)
    with progress(len(texts), "embed", "texts") as bar, torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            batch = list(texts[start : start + BATCH])
            inputs = tokenizer(
                batch, padding=True, truncation=True, max_length=limit, return_tensors="pt"
            ).to(encoder.device)
            states = encoder(**inputs).last_hidden_state.float()  # (texts, tokens, dimensions)
            mask = inputs["attention_mask"].unsqueeze(-1)
            pooled = states[:, 0] if by_first else (states * mask).sum(1) / mask.sum(1)
            normed = torch.nn.functional.normalize(pooled, dim=1)
            vectors[start : start + len(batch)] = normed.cpu().numpy()
            bar.update(len(batch))
    return vectors


def _loaded(model: str) -> tuple[Any, Any, bool, int]:
    """Tokenizer, encoder, whether the first token's state is the embedding, and the token limit."""
    from transformers import AutoModel, AutoTokenizer

    from ratiocine.devices import resolve_device

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        encoder = AutoModel.from_pretrained(model)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"embedding_model={model} cannot be loaded: {reason}") from None
    pooling = _settings(model, "1_Pooling/config.json")
    by_first = bool(pooling.get("pooling_mode_cls_token"))
    if pooling and not by_first and not pooling.get("pooling_mode_mean_tokens"):
        raise BadInput(f"embedding_model={model}: its pooling is neither mean nor first token")
    limit = _settings(model, "sentence_bert_config.json").get("max_seq_length") or MAX_TOKENS
    return tokenizer, encoder.to(resolve_device("auto")).eval(), by_first, int(limit)


def _settings(model: str, name: str) -> dict[str, Any]:
    """A JSON file of the folder or of the hub's repository; empty where there is none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    file = Path(model) / name
    if not Path(model).is_dir():
        try:
            file = Path(hf_hub_download(model, name))
        except EntryNotFoundError:
            return {}
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}
