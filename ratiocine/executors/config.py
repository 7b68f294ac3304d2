"""What `executor=` says: that a verb runs in this process, in several that work together, or as a job of Slurm or a task of Ray. It
names a file of conf/executor, where each key is told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from ratiocine import devices
from ratiocine.config import StrictConfig, Unhashed
from ratiocine.errors import BadInput
from ratiocine.executors import distributed

Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what every generator takes


class _BaseExecutorConfig(StrictConfig):
    gpus_per_node: NonNegativeInt = 0
    nproc_per_node: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_rank_a_gpu(self) -> Self:
        if self.gpus_per_node and self.nproc_per_node not in (None, self.gpus_per_node):
            raise ValueError(
                f"ranks={self.nproc_per_node}: there is one process on each of gpus={self.gpus_per_node}; give one of the two"
            )
        return self

    @property
    def nproc(self) -> int:
        """Of a node."""
        return self.nproc_per_node or max(1, self.gpus_per_node)

    @property
    def overrides(self) -> list[str]:
        """For a command that is to have as many processes on the machine where it is."""
        return (
            [f"executor.gpus_per_node={self.gpus_per_node}"]
            if self.gpus_per_node
            else [f"executor.nproc_per_node={self.nproc_per_node}"]
            if self.nproc_per_node
            else []
        )


class Local(_BaseExecutorConfig):
    name: Literal["local"] = "local"
    max_parallel_jobs: ClassVar[int] = 1
    nodes: PositiveInt = 1
    rdzv_endpoint: str | None = None

    @model_validator(mode="after")
    def _nodes_that_meet(self) -> Self:
        if self.nodes > 1 and not self.rdzv_endpoint:
            raise ValueError(
                f"nodes={self.nodes}: they have to find each other; give executor.rdzv_endpoint=HOST:PORT of one of them and the same "
                "command on each, or executor=slurm"
            )
        if self.rdzv_endpoint and self.nodes == 1:
            raise ValueError(f"rendezvous={self.rdzv_endpoint} means nothing with nodes=1")
        return self


class Slurm(_BaseExecutorConfig):
    name: Literal["slurm"]
    nodes: PositiveInt = 1
    cpus_per_task: PositiveInt = 4
    mem_gb: PositiveFloat | None = None
    time_limit_hours: PositiveFloat = 24
    partition: str | None = None
    account: str | None = None
    max_parallel_jobs: PositiveInt = 8
    wait: bool = True
    sbatch_args: dict[str, str | int] = {}


class Ray(_BaseExecutorConfig):
    name: Literal["ray"]
    cpus_per_task: PositiveInt = 1
    max_parallel_jobs: PositiveInt = 8


ExecutorConfig = Annotated[Local | Slurm | Ray, Field(discriminator="name")]


class VerbConfig(StrictConfig):
    """A verb that can be sent elsewhere. One that `data_parallel` has processes ask in its stead (`engines.start`); of another
    several are ranks that train together."""

    data_parallel: ClassVar[bool] = False
    executor: Unhashed[ExecutorConfig] = Local()

    @property
    def single_process(self) -> bool:
        """Whether more processes would have nothing to do."""
        return False

    @model_validator(mode="after")
    def _started_once(self) -> Self:
        if distributed.is_launched() and (self.executor.name != "local" or self.executor.nproc > 1):
            raise ValueError(
                f"executor={self.executor.name}: a launcher has started {distributed.world_size()} processes already; leave it out"
            )
        if distributed.world_size() > 1 and self.data_parallel:
            raise ValueError(
                f"a launcher has started {distributed.world_size()} processes, which would all ask the same: executor.gpus_per_node= shares out"
            )
        return self

    @model_validator(mode="after")
    def _nodes_that_work_together(self) -> Self:
        if self.data_parallel and self.executor.name != "ray" and self.executor.nodes > 1:
            raise ValueError(
                f"executor.nodes={self.executor.nodes}: questions are shared out over the processes of one node, or executor=ray"
            )
        return self

    @property
    def num_workers(self) -> int:
        """How many processes ask in this one's stead; 0 is none."""
        if self.executor.name == "ray":
            return self.executor.nproc_per_node or self.executor.gpus_per_node or 2
        return self.executor.nproc if self.executor.nproc > 1 else 0

    @property
    def is_remote(self) -> bool:
        """Whether this process has others do the work."""
        if distributed.is_launched():
            return False
        return self.executor.name == "slurm" or (
            not self.data_parallel and (self.executor.name == "ray" or self.world_size > 1)
        )

    @property
    def world_size(self) -> int:
        """How many ranks train together, or will."""
        if distributed.is_launched():
            return distributed.world_size()
        return self.executor.nproc * (1 if self.executor.name == "ray" else self.executor.nodes)


def check_gpus(on: ExecutorConfig) -> None:
    """Raise BadInput where this machine has fewer."""
    if on.gpus_per_node > devices.gpus():
        raise BadInput(
            f"executor.gpus_per_node={on.gpus_per_node}: this machine has {devices.gpus()}; executor.nproc_per_node= gives processes without"
        )
