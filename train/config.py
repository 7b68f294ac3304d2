"""What `python -m train` can be told, and what its result depends on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator

from ratiocine import models
from ratiocine.errors import BadInput
from ratiocine.models import Device, ModelConfig
from ratiocine.runs import check_finished, hash_path


class Config(BaseModel):
    """conf/train.yaml says what each key means."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: ModelConfig
    ratio: Annotated[float, Field(allow_inf_nan=False)] | None
    pairs: str | None
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32
    micro_batch_size: PositiveInt = 8
    max_length: PositiveInt = 4096
    lr: PositiveFloat | None = None
    warmup: NonNegativeFloat = 0.1
    decay: NonNegativeFloat = 0.3
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: PositiveFloat = 1.0
    lora: bool = False
    lora_rank: PositiveInt = 16
    max_steps: PositiveInt | None = None
    limit: PositiveInt | None = None
    seed: int = 0
    doctor: bool = False
    device: Device = "auto"
    threads: PositiveInt | None = None
    out: str | None = None

    @field_validator("ratio", mode="before")
    @classmethod
    def _ratio_is_a_share(cls, value: object) -> object:
        if value is None:
            raise ValueError("a number from 0 to 1 is needed, such as ratio=0.5")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError("should be a number from 0 to 1")
        return value

    @property
    def share(self) -> float:
        assert self.ratio is not None
        return self.ratio

    def peak_rate(self) -> float:
        """The peak learning rate: as given, else the model's rates by format, interpolated on a log scale between ratio
        0 and 1 (the published study tuned the two ends only)."""
        if self.lr is not None:
            return self.lr
        if self.model.lr is None:
            named = self.model.path or self.model.name
            raise BadInput(f"conf/model holds no learning rates for model={named}; give lr=, such as lr=1e-5")
        return float(self.model.lr.ift ** (1 - self.share) * self.model.lr.reasoning**self.share)


def pairs_file(config: Config) -> Path:
    """The pairs to train on; raises BadInput where the folder is missing, unfinished or corrupt."""
    if config.pairs is None:
        raise BadInput("pairs= is needed: a finished folder of `python -m distill`, such as pairs=runs/distill/ab12")
    check_finished(Path(config.pairs))
    file = Path(config.pairs) / "pairs.parquet"
    if not file.exists():
        raise BadInput(f"pairs={config.pairs} holds no pairs.parquet")
    return file


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads."""
    return {"pairs": hash_path(pairs_file(config)), "model": models.fingerprint(config.model)}
