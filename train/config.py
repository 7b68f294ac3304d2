"""What `python -m train` can be told, and what its result depends on."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from ratiocine import models
from ratiocine.errors import BadInput
from ratiocine.rendering import Form
from ratiocine.runs import hash_path
from ratiocine.training import Trained
from train.dataset import pairs_file
from train.scenario import Match, ScenarioConfig


class Config(Trained):
    """conf/train.yaml says what each key means."""

    scenario: ScenarioConfig
    ratio: Annotated[float, Field(allow_inf_nan=False)] | None
    pairs: list[str] | None
    match: Match = "examples"
    loss_weight: Literal["token", "example"] = "token"
    rendering: Form | Literal["auto"] = "auto"
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 32
    max_length: PositiveInt = 4096
    padding_free: bool | Literal["auto"] = "auto"
    lr: PositiveFloat | None = None
    lr_policy: Literal["per_format", "matched"] = "per_format"
    warmup: NonNegativeFloat = 0.1
    decay: NonNegativeFloat = 0.3
    max_steps: PositiveInt | None = None
    limit: PositiveInt | None = None
    held_out: NonNegativeInt = 0
    student: Literal["last", "best"] = "last"
    samples: NonNegativeInt = 0
    sample_budget: PositiveInt = 256
    doctor: bool = False
    export: str | None = None
    push_to_hub: str | None = None

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
    def _a_ratio_where_one_is_needed(self) -> Self:
        if self.ratio is None and not self.scenario.fixes_ratio:
            raise ValueError("ratio=None: a number from 0 to 1 is needed, such as ratio=0.5")
        if self.ratio is not None and self.scenario.fixes_ratio:
            raise ValueError(
                f"ratio={self.ratio}: scenario={self.scenario.name} says every ratio itself; leave it out"
            )
        return self

    @model_validator(mode="after")
    def _held_out_where_it_is_needed(self) -> Self:
        if self.student == "best" and not self.held_out:
            raise ValueError(
                "student='best': the best is told by problems that are held out; give their number, such as held_out=64"
            )
        if self.samples > self.held_out:
            raise ValueError(
                f"samples={self.samples}: answers are sampled from held-out problems, of which there are {self.held_out}"
            )
        return self

    @model_validator(mode="after")
    def _something_for_every_rank(self) -> Self:
        if self.batch_size < self.world:
            raise ValueError(
                f"batch_size={self.batch_size}: with {self.world} ranks some would have nothing to do in a step"
            )
        return self

    @model_validator(mode="after")
    def _someone_who_answers(self) -> Self:
        if self.samples and self.sharding in ("zero3", "fsdp"):
            raise ValueError(
                f"samples={self.samples}: under {self.sharding} no rank has a model that could answer"
            )
        if self.student == "best" and self.sharding != "none":
            raise ValueError(
                f"student='best': checkpoints of {self.sharding} are not read back into a student; take student=last"
            )
        return self

    @model_validator(mode="after")
    def _a_student_to_upload(self) -> Self:
        if self.push_to_hub and (self.doctor or self.export):
            raise ValueError(
                f"push_to_hub={self.push_to_hub}: doctor and export make no student to upload"
            )
        return self

    def folders(self) -> list[str]:
        """Every set of pairs of the run; raises BadInput where there is none."""
        named = [
            *(self.pairs or []),
            *(stage.pairs for stage in self.scenario.stages if stage.pairs),
        ]
        if not named:
            raise BadInput(
                "pairs= is needed: a finished folder of `python -m distill`, such as pairs=runs/distill/ab12"
            )
        return list(dict.fromkeys(named))

    def peak_rate(self, share: float) -> float:
        """The peak learning rate for a share of reasoning: as given, else the model's rates by format, interpolated on a log
        scale between ratio 0 and 1 (the published study tuned the two ends only), or for `matched` the rate at 0.5 always."""
        if self.lr is not None:
            return self.lr
        if self.model.lr is None:
            named = self.model.path or self.model.name
            raise BadInput(
                f"conf/model holds no learning rates for model={named}; give lr=, such as lr=1e-5"
            )
        share = 0.5 if self.lr_policy == "matched" else share
        return float(self.model.lr.ift ** (1 - share) * self.model.lr.reasoning**share)


def inputs(config: Config) -> dict[str, str]:
    """Content hashes of what a run reads."""
    sets = {folder: hash_path(pairs_file(folder)) for folder in config.folders()}
    own = {
        f"stage {at}": sets[stage.pairs]
        for at, stage in enumerate(config.scenario.stages, 1)
        if stage.pairs
    }
    return {"pairs": " ".join(sets.values()), **own, "model": models.fingerprint(config.model)}
