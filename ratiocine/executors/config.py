"""What `on=` says: that a verb runs in this process, in several that work together, or as a job of Slurm or a task of Ray. It
names a file of conf/on, where each key is told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine import devices
from ratiocine.errors import BadInput
from ratiocine.executors import distributed

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every generator takes


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    gpus: NonNegativeInt = 0
    ranks: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_rank_a_gpu(self) -> Self:
        if self.gpus and self.ranks not in (None, self.gpus):
            raise ValueError(
                f"ranks={self.ranks}: there is one process on each of gpus={self.gpus}; give one of the two"
            )
        return self

    @property
    def processes(self) -> int:
        """Of a node."""
        return self.ranks or max(1, self.gpus)

    @property
    def words(self) -> list[str]:
        """For a command that is to have as many processes on the machine where it is."""
        return (
            [f"on.gpus={self.gpus}"]
            if self.gpus
            else [f"on.ranks={self.ranks}"]
            if self.ranks
            else []
        )


class Local(_Place):
    name: Literal["local"] = "local"
    jobs: ClassVar[int] = 1
    nodes: PositiveInt = 1
    rendezvous: str | None = None

    @model_validator(mode="after")
    def _nodes_that_meet(self) -> Self:
        if self.nodes > 1 and not self.rendezvous:
            raise ValueError(
                f"nodes={self.nodes}: they have to find each other; give on.rendezvous=HOST:PORT of one of them and the same "
                "command on each, or on=slurm"
            )
        if self.rendezvous and self.nodes == 1:
            raise ValueError(f"rendezvous={self.rendezvous} means nothing with nodes=1")
        return self


class Slurm(_Place):
    name: Literal["slurm"]
    nodes: PositiveInt = 1
    cpus: PositiveInt = 4
    memory: PositiveFloat | None = None
    hours: PositiveFloat = 24
    partition: str | None = None
    account: str | None = None
    jobs: PositiveInt = 8
    wait: bool = True
    more: dict[str, str | int] = {}


class Ray(_Place):
    name: Literal["ray"]
    cpus: PositiveInt = 1
    jobs: PositiveInt = 8


Place = Annotated[Local | Slurm | Ray, Field(discriminator="name")]


class Placed(BaseModel):
    """A verb that can be sent elsewhere. One that `shares_out` has processes ask in its stead (`engines.start`); of another
    several are ranks that train together."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    shares_out: ClassVar[bool] = False
    on: Place = Local()

    @property
    def alone(self) -> bool:
        """Whether more processes would have nothing to do."""
        return False

    @model_validator(mode="after")
    def _started_once(self) -> Self:
        if distributed.launched() and (self.on.name != "local" or self.on.processes > 1):
            raise ValueError(
                f"on={self.on.name}: a launcher has started {distributed.world()} processes already; leave it out"
            )
        if distributed.world() > 1 and self.shares_out:
            raise ValueError(
                f"a launcher has started {distributed.world()} processes, which would all ask the same: on.gpus= shares out"
            )
        return self

    @model_validator(mode="after")
    def _nodes_that_work_together(self) -> Self:
        if self.shares_out and self.on.name != "ray" and self.on.nodes > 1:
            raise ValueError(
                f"on.nodes={self.on.nodes}: questions are shared out over the processes of one node, or on=ray"
            )
        return self

    @property
    def askers(self) -> int:
        """How many processes ask in this one's stead; 0 is none."""
        if self.on.name == "ray":
            return self.on.ranks or self.on.gpus or 2
        return self.on.processes if self.on.processes > 1 else 0

    @property
    def elsewhere(self) -> bool:
        """Whether this process has others do the work."""
        if distributed.launched():
            return False
        return self.on.name == "slurm" or (
            not self.shares_out and (self.on.name == "ray" or self.world > 1)
        )

    @property
    def world(self) -> int:
        """How many ranks train together, or will."""
        if distributed.launched():
            return distributed.world()
        return self.on.processes * (1 if self.on.name == "ray" else self.on.nodes)


def check_gpus(on: Place) -> None:
    """Raise BadInput where this machine has fewer."""
    if on.gpus > devices.gpus():
        raise BadInput(
            f"on.gpus={on.gpus}: this machine has {devices.gpus()}; on.ranks= gives processes without"
        )
