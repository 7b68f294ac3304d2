"""Configuration of `executor=`: one process, several processes, Slurm jobs or Ray tasks.

conf/executor documents the keys. In `distill` and `eval` the processes share the requests; in
`train` and `rl` they are ranks of one training.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ratiocine import devices
from ratiocine.config import StrictConfig, Unhashed
from ratiocine.errors import BadInput
from ratiocine.executors import distributed


class _BaseExecutorConfig(StrictConfig):
    gpus_per_node: Unhashed[NonNegativeInt] = 0
    nproc_per_node: Unhashed[PositiveInt | None] = None

    @model_validator(mode="after")
    def _one_process_per_gpu(self) -> Self:
        if self.gpus_per_node and self.nproc_per_node not in (None, self.gpus_per_node):
            raise ValueError(
                f"nproc_per_node={self.nproc_per_node} and gpus_per_node={self.gpus_per_node}: "
                "each GPU has one process; give one of the two"
            )
        return self

    @property
    def nproc(self) -> int:
        """Processes per node."""
        return self.nproc_per_node or max(1, self.gpus_per_node)

    @property
    def num_nodes(self) -> int:
        """Nodes of one training."""
        return 1

    @property
    def requests_gpus(self) -> bool:
        """Whether a job requests GPUs."""
        return self.gpus_per_node > 0

    @property
    def world_size(self) -> int:
        """Ranks of one training."""
        return self.num_nodes * self.nproc

    @property
    def overrides(self) -> list[str]:
        """Overrides that make a submitted command start `nproc` processes on its node."""
        if self.gpus_per_node:
            return [f"executor.gpus_per_node={self.gpus_per_node}"]
        if self.nproc_per_node:
            return [f"executor.nproc_per_node={self.nproc_per_node}"]
        return []


class LocalConfig(_BaseExecutorConfig):
    name: Unhashed[Literal["local"]] = "local"
    max_parallel_jobs: ClassVar[int] = 1
    nodes: Unhashed[PositiveInt] = 1
    rdzv_endpoint: Unhashed[str | None] = None

    @property
    def num_nodes(self) -> int:
        return self.nodes

    @model_validator(mode="after")
    def _rendezvous_of_nodes(self) -> Self:
        if self.nodes > 1 and not self.rdzv_endpoint:
            raise ValueError(
                f"nodes={self.nodes} needs a rendezvous: give executor.rdzv_endpoint=HOST:PORT of "
                "one node and run the same command on each, or give executor=slurm"
            )
        if self.rdzv_endpoint and self.nodes == 1:
            raise ValueError(f"rdzv_endpoint={self.rdzv_endpoint} has no effect with nodes=1")
        return self


class SlurmConfig(_BaseExecutorConfig):
    name: Unhashed[Literal["slurm"]]
    nodes: Unhashed[PositiveInt] = 1
    cpus_per_task: Unhashed[PositiveInt] = 4
    mem_gb: Unhashed[PositiveFloat | None] = None
    # Slurm warns 90 seconds before the limit, for a checkpoint.
    time_limit_hours: Unhashed[Annotated[float, Field(ge=0.05)] | None] = None
    partition: Unhashed[str | None] = None
    account: Unhashed[str | None] = None
    max_parallel_jobs: Unhashed[PositiveInt] = 8
    wait: Unhashed[bool] = True
    sbatch_args: Unhashed[dict[str, str | int]] = Field(default={})

    @property
    def num_nodes(self) -> int:
        return self.nodes

    @property
    def requests_gpus(self) -> bool:
        return super().requests_gpus or any(
            key.startswith(("gpu", "gres")) for key in self.sbatch_args
        )


class RayConfig(_BaseExecutorConfig):
    name: Unhashed[Literal["ray"]]
    cpus_per_task: Unhashed[PositiveInt] = 1
    max_parallel_jobs: Unhashed[PositiveInt] = 8


ExecutorConfig = Annotated[LocalConfig | SlurmConfig | RayConfig, Field(discriminator="name")]


class VerbConfig(StrictConfig):
    """A verb with `executor=`. The processes of a `data_parallel` verb are engine workers of the
    one that runs it (`engines.load`); those of any other verb are ranks of one training."""

    data_parallel: ClassVar[bool] = False
    executor: Unhashed[ExecutorConfig] = LocalConfig()

    @property
    def single_process(self) -> bool:
        """Whether further processes have no work: no model generates in them."""
        return False

    @model_validator(mode="after")
    def _one_launcher(self) -> Self:
        launched = distributed.world_size()
        if distributed.is_launched() and (self.executor.name != "local" or self.executor.nproc > 1):
            raise ValueError(
                f"executor={self.executor.name}: a launcher has already started {launched} "
                "processes; leave it out"
            )
        if launched > 1 and self.data_parallel:
            raise ValueError(
                f"a launcher has started {launched} processes, each of which would generate the "
                "same; executor.gpus_per_node= shares the requests among processes"
            )
        return self

    @model_validator(mode="after")
    def _requests_on_one_node(self) -> Self:
        if self.data_parallel and self.executor.num_nodes > 1:
            raise ValueError(
                f"executor.nodes={self.executor.num_nodes}: requests are shared among the "
                "processes of one node; give executor=ray for several"
            )
        return self

    @property
    def num_workers(self) -> int:
        """Processes that generate for this one; 0 for none."""
        if self.executor.name == "ray":
            return self.executor.nproc_per_node or self.executor.gpus_per_node or 2
        return self.executor.nproc if self.executor.nproc > 1 else 0

    @property
    def is_remote(self) -> bool:
        """Whether this process submits the command instead of running it."""
        if distributed.is_launched():
            return False
        return self.executor.name == "slurm" or (
            not self.data_parallel and (self.executor.name == "ray" or self.world_size > 1)
        )

    @property
    def world_size(self) -> int:
        """Ranks of the training, running or to be started."""
        if distributed.is_launched():
            return distributed.world_size()
        return self.executor.world_size


def check_gpus(executor: ExecutorConfig) -> None:
    """Raise BadInput if this machine has fewer GPUs than asked for."""
    if executor.gpus_per_node > devices.gpu_count():
        raise BadInput(
            f"executor.gpus_per_node={executor.gpus_per_node}: this machine has "
            f"{devices.gpu_count()}; executor.nproc_per_node= starts processes without GPUs"
        )
