"""Configuration of `python -m train`, and the content hashes of its inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ratiocine import cli, models
from ratiocine.config import ByContent, Hashed, TokenCount, Unhashed
from ratiocine.errors import BadInput
from ratiocine.rendering import Form
from ratiocine.runs import hash_path, read_manifest
from ratiocine.training import TrainingConfig
from train.dataset import pairs_file
from train.scenario import Equalize, ScenarioConfig, check_batch_size, check_val_size


class Config(TrainingConfig):
    """conf/train.yaml describes the keys."""

    scenario: Hashed[ScenarioConfig]
    ratio: Hashed[float | None]
    pairs: ByContent[list[str] | None]
    equalize: Hashed[Equalize] = "examples"
    loss_weight: Hashed[Literal["token", "example"]] = "token"
    direct_format: Hashed[Form | Literal["auto"]] = "auto"
    epochs: Hashed[PositiveInt] = 1
    batch_size: Hashed[PositiveInt] = 32
    max_length: Hashed[PositiveInt] = 4096
    padding_free: Hashed[bool | Literal["auto"]] = "auto"
    lr: Hashed[PositiveFloat | None] = None
    lr_policy: Hashed[Literal["per_format", "matched"]] = "per_format"
    warmup: Hashed[NonNegativeFloat] = 0.1
    decay: Hashed[NonNegativeFloat] = 0.3
    max_steps: Hashed[PositiveInt | None] = None
    limit: Hashed[PositiveInt | None] = None
    val_size: Hashed[NonNegativeInt] = 0
    checkpoint: Hashed[Literal["last", "best"]] = "last"
    val_samples: Hashed[NonNegativeInt] = 0
    val_max_new_tokens: Hashed[TokenCount] = 256
    preflight: Unhashed[bool] = False
    export: Unhashed[str | None] = None
    push_to_hub: Unhashed[str | None] = None

    @field_validator("ratio", mode="before")
    @classmethod
    def _ratio_is_a_share(cls, value: object) -> object:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError("should be a number from 0 to 1")
        return value

    @field_validator("pairs", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _ratio_where_needed(self) -> Self:
        if self.ratio is None and not self.scenario.fixes_ratio:
            raise ValueError("ratio=None: a number from 0 to 1 is needed, such as ratio=0.5")
        if self.ratio is not None and self.scenario.fixes_ratio:
            raise ValueError(
                f"ratio={self.ratio}: every stage of scenario={self.scenario.name} sets its own; "
                "leave it out"
            )
        return self

    @model_validator(mode="after")
    def _rate_reaches_its_peak(self) -> Self:
        if self.warmup < 1 and self.decay < 1 and self.warmup + self.decay > 1:
            raise ValueError(
                f"warmup={self.warmup:g} and decay={self.decay:g} are shares of the steps; "
                "together at most 1"
            )
        return self

    @model_validator(mode="after")
    def _validation_where_needed(self) -> Self:
        if self.checkpoint == "best" and not self.val_size:
            raise ValueError(
                "checkpoint='best' is chosen by validation loss; give the number of validation "
                "problems, such as val_size=64"
            )
        if self.val_samples > self.val_size:
            raise ValueError(
                f"val_samples={self.val_samples}: answers are sampled for validation problems, "
                f"of which there are {self.val_size} (val_size)"
            )
        return self

    @model_validator(mode="after")
    def _equalized_mixtures(self) -> Self:
        for number, stage in enumerate(self.scenario.stages, 1):
            if self.equalize != "examples" and stage.format is not None:
                raise ValueError(
                    f"scenario={self.scenario.name}, stage {number}: equalize={self.equalize} does "
                    "not apply to one mode of a mixture; leave equalize=examples"
                )
        return self

    @model_validator(mode="after")
    def _enough_for_every_rank(self) -> Self:
        if self.batch_size < self.world_size:
            raise ValueError(
                f"batch_size={self.batch_size}: with {self.world_size} ranks some would be idle in "
                f"a step; give batch_size={self.world_size} or more, or fewer processes"
            )
        return self

    @model_validator(mode="after")
    def _whole_model_where_needed(self) -> Self:
        if self.val_samples and self.shards_weights:
            raise ValueError(
                f"val_samples={self.val_samples}: under {self.sharding} no rank has a whole model "
                "to sample from"
            )
        if self.checkpoint == "best" and self.sharding != "none":
            raise ValueError(
                f"checkpoint='best': checkpoints of {self.sharding} are not read back into a "
                "student; take checkpoint=last"
            )
        return self

    @model_validator(mode="after")
    def _student_to_upload(self) -> Self:
        if self.push_to_hub and (self.preflight or self.export):
            raise ValueError(
                f"push_to_hub={self.push_to_hub}: preflight and export make no student to upload"
            )
        return self

    @property
    def unused_packages(self) -> tuple[str, ...]:
        folder = Path(self.model.path or "")
        used = {
            "datasets": False,
            "peft": self.lora or (folder / "adapter_config.json").exists(),
            "scipy": False,
        }
        unused = (name for name, needed in used.items() if not needed)
        return (*super().unused_packages, *unused)

    @property
    def micro_batch_sizes(self) -> list[int]:
        """Powers of two, up to the rows of a rank."""
        return [2**n for n in range((self.batch_size // self.world_size).bit_length())]

    def folders(self) -> list[str]:
        """Every folder of pairs of the run; raises BadInput where there is none."""
        of_stages = [stage.pairs for stage in self.scenario.stages if stage.pairs]
        named = [*(self.pairs or []), *of_stages]
        if not named:
            raise BadInput(
                "pairs= is needed: a finished folder of `python -m distill`, such as "
                "pairs=runs/distill/ab12"
            )
        return list(dict.fromkeys(named))

    def peak_rate(self, share: float) -> float:
        """The peak learning rate for a share of reasoning examples.

        `lr` if given; else the model's rates by mode, interpolated on a log scale between ratio 0
        and 1 (arXiv 2509.22193 tuned only these two), or for lr_policy=matched the rate at
        0.5."""
        if self.lr is not None:
            return self.lr
        if self.model.lr is None:
            named = self.model.path or self.model.name
            # Adapters start at zero and take about ten times the rate of all weights.
            example = "lr=1e-4 for adapters (lora=true)" if self.lora else "lr=1e-5"
            beside = (
                f", or a name with rates beside the path: model=qwen2.5-1.5b model.path={named}"
            )
            raise BadInput(
                f"conf/model holds no learning rates for model={named}; give lr=, such as {example}"
                f"{beside if self.model.name == 'local' else ''}"
            )
        share = 0.5 if self.lr_policy == "matched" else share
        ift, reasoning = self.model.lr.ift, self.model.lr.reasoning
        if ift == reasoning:  # exactly, without the rounding of powers
            return float(ift)
        return float(ift ** (1 - share) * reasoning**share)


def notes(config: Config) -> list[str]:
    """What a user may not expect of the learning rates and the batch."""
    return [
        line for line in (_borrowed(config), _rates_of_all_weights(config), _uneven(config)) if line
    ]


def _uneven(config: Config) -> str | None:
    fewer, uneven = divmod(config.batch_size, config.world_size)
    if not uneven:
        return None
    return (
        f"warning: batch_size={config.batch_size} is no multiple of {config.world_size} ranks: "
        f"some train {fewer + 1} rows of a step, and others wait after {fewer}"
    )


def _rates_of_all_weights(config: Config) -> str | None:
    rates = config.model.lr
    if not config.lora or config.lr is not None or rates is None:
        return None
    return (
        f"warning: lora=true at the learning rates of all weights, {rates.ift:.2g} (ift) and "
        f"{rates.reasoning:.2g} (reasoning); adapters take about ten times these: "
        f"model.lr.ift={10 * rates.ift:.2g} model.lr.reasoning={10 * rates.reasoning:.2g}, or lr="
    )


def _borrowed(config: Config) -> str | None:
    """A line about a model that has the settings of a name, but the weights of a path beside it;
    None for any other."""
    model = config.model
    if model.name == "local" or not cli.has_own_path(model.name, model.path):
        return None
    if config.lr is not None:
        rates = f"lr={config.lr:.2g} as given"
    elif model.lr is None:  # refused later
        return None
    else:
        rates = f"learning rates {model.lr.ift:.2g} (ift) and {model.lr.reasoning:.2g} (reasoning)"
        rates += f" of model={model.name}"
    license = models.license_of(model.license, model.path) or "unknown (model.license=NAME)"
    return f"model.path={model.path}: {rates}; license {license}"


def check_counts(config: Config) -> None:
    """Raise BadInput where all pairs together are too few, by the numbers in their manifests."""
    counts = [read_manifest(Path(folder)).pairs.n for folder in config.folders()]
    n = sum(count if config.limit is None else min(count, config.limit) for count in counts)
    check_val_size(config.val_size, n)
    check_batch_size(config.batch_size, n - config.val_size)


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads, by name; and `save_steps` where it decides which
    checkpoint is the best."""
    hashes = {folder: hash_path(pairs_file(folder)) for folder in config.folders()}
    of_stages = {
        f"stage {number}": hashes[stage.pairs]
        for number, stage in enumerate(config.scenario.stages, 1)
        if stage.pairs
    }
    found = {"pairs": " ".join(hashes.values()), **of_stages}
    if config.checkpoint == "best":  # validation loss is taken at checkpoints
        found["save_steps"] = str(config.save_steps)
    return {**found, "model": models.fingerprint(config.model)}
