"""The samples of a finished evaluation in place of an engine, for strategies that ask for nothing
else (`samples_from`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from eval.config import Config
from ratiocine import models
from ratiocine.column_builder import read_columns
from ratiocine.columns import StoredAnswers
from ratiocine.config import flattened, identity
from ratiocine.engines import LoadedEngine, Request
from ratiocine.errors import BadInput
from ratiocine.records import Completion
from ratiocine.runs import Manifest, check_finished
from ratiocine.stores import completions_file

# Keys in which the other evaluation may differ
FREE = {"benchmarks", "limit", "logprobs", "samples", "strategy"}


class SavedSamples:
    """An engine whose completions are stored."""

    name = "saved"

    def __init__(self, folder: Path) -> None:
        columns = read_columns(completions_file(folder))
        self.answers = StoredAnswers(folder, columns, with_tokens=True)

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        for request in requests:
            rows = {row.sample: row for row in self.answers[request.id]}
            yield [
                Completion(
                    request.id,
                    row.completion,
                    row.stop,
                    row.n_prompt,
                    row.n_completion,
                    row.seconds,
                    row.token_ids,
                    row.logprobs,
                    row.sample,
                    row.opened,
                )
                for row in (rows[sample] for sample in request.samples)
            ]


def load_samples(config: Config, keys: Iterable[str]) -> LoadedEngine:
    """The samples of `samples_from`, for these problems. Raises BadInput where it is no finished
    evaluation with the same settings, or has too few samples."""
    assert config.samples_from is not None
    assert config.strategy is not None
    folder = Path(config.samples_from)
    manifest = check_finished(folder, "eval")
    _check_settings(config, manifest)
    needed, n = config.samples * config.strategy.most, manifest.evaluation.decoding.samples
    if n < needed:
        raise BadInput(
            f"samples_from={folder} has samples={n}; strategy={config.strategy.name} asks for up "
            f"to {needed} of each problem"
        )
    if "logprobs" in config.strategy.needs and not manifest.identity.get("logprobs"):
        raise BadInput(
            f"samples_from={folder} has no log-probabilities, which strategy="
            f"{config.strategy.name} needs; evaluate it with logprobs=true"
        )
    saved = SavedSamples(folder)
    if missing := next((key for key in keys if key not in saved.answers), None):
        raise BadInput(
            f"samples_from={folder} lacks problems of these benchmarks, such as {missing}"
        )
    facts = manifest.evaluation
    return LoadedEngine(
        saved,
        None if config.model.kind == "served" else models.load_tokenizer(config.model),
        facts.dtype,
        facts.attention,
        facts.shape,
        facts.size,
    )


def _check_settings(config: Config, manifest: Manifest) -> None:
    """Raise BadInput for samples that this evaluation would not have generated."""
    if manifest.identity.get("strategy"):
        raise BadInput(f"samples_from={config.samples_from} is with strategy=, not of samples")
    if manifest.inputs.get("model") != models.fingerprint(config.model):
        raise BadInput(f"samples_from={config.samples_from} is of another model")
    own, other = (
        {
            key: value
            for key, value in flattened(one).items()
            if key.partition(".")[0] not in {*FREE, "model"}
        }
        for one in (identity(config), manifest.identity)
    )
    for key in sorted({*own, *other}):
        if own.get(key) != other.get(key):
            raise BadInput(
                f"{key}={own.get(key)}: samples_from={config.samples_from} was evaluated with "
                f"{key}={other.get(key)}"
            )
