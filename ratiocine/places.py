"""Where a verb runs: in this process, in several that work together, or as a job of Slurm or a task of Ray.

`on=` names a file of conf/on. What is sent elsewhere is the command as it was typed, less its `on`; whatever starts there finds
this checkout on its path and in its working directory, and writes where the command would have written.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import logging
import math
import os
import pickle
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ratiocine import devices, ranks
from ratiocine.errors import BadInput, Failure

CHECKOUT = Path(__file__).resolve().parent.parent
JOBS = Path("runs") / "jobs"
HEAVY = ("torch", "transformers.trainer", "peft", "datasets", "hydra", "reasoning_gym")  # safe to fork after
LOOK = 0.2  # seconds between two looks at what runs elsewhere
GRACE = 15  # seconds that ranks have to end in, once one of them is lost
NOTICE = 80  # seconds that Slurm's notice leaves for a checkpoint
INTERRUPTED = 130
_running: list[subprocess.Popen[bytes]] = []  # what calls of this process have started
VERBS = ("distill", "train", "rl", "eval")


class _Place(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    gpus: NonNegativeInt = 0
    ranks: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_rank_a_gpu(self) -> Self:
        if self.gpus and self.ranks not in (None, self.gpus):
            raise ValueError(f"ranks={self.ranks}: there is one process on each of gpus={self.gpus}; give one of the two")
        return self

    @property
    def processes(self) -> int:
        """Of a node."""
        return self.ranks or max(1, self.gpus)

    @property
    def words(self) -> list[str]:
        """For a command that is to have as many processes on the machine where it is."""
        return [f"on.gpus={self.gpus}"] if self.gpus else [f"on.ranks={self.ranks}"] if self.ranks else []


class Local(_Place):
    name: Literal["local"] = "local"
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

    @model_validator(mode="after")
    def _started_once(self) -> Self:
        if ranks.launched() and (self.on.name != "local" or self.on.processes > 1):
            raise ValueError(f"on={self.on.name}: a launcher has started {ranks.world()} processes already; leave it out")
        if ranks.world() > 1 and self.shares_out:
            raise ValueError(
                f"a launcher has started {ranks.world()} processes, which would all ask the same: on.gpus= shares out"
            )
        return self

    @model_validator(mode="after")
    def _nodes_that_work_together(self) -> Self:
        if self.shares_out and self.on.name != "ray" and self.on.nodes > 1:
            raise ValueError(f"on.nodes={self.on.nodes}: questions are shared out over the processes of one node, or on=ray")
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
        if ranks.launched():
            return False
        return self.on.name == "slurm" or (not self.shares_out and (self.on.name == "ray" or self.world > 1))

    @property
    def world(self) -> int:
        """How many ranks train together, or will."""
        if ranks.launched():
            return ranks.world()
        return self.on.processes * (1 if self.on.name == "ray" else self.on.nodes)


class Job(Protocol):
    """Something that runs. `poll` gives its exit code once it has ended; `logs` are the files in which it says what it does."""

    logs: Sequence[Path]

    def poll(self) -> int | None: ...

    def stop(self) -> None: ...


class Starter(Protocol):
    """What starts jobs, at most `jobs` of which run at once."""

    jobs: int

    def start(self, calls: Sequence[Call]) -> list[Job]: ...


@dataclass(frozen=True)
class Call:
    """`python -m module words`. With `ranks` above 1 it is started so many times on each node, and these work together."""

    module: str
    words: tuple[str, ...]
    name: str = ""
    ranks: int = 1
    folder: Path = field(default_factory=Path.cwd)

    def run(self, log: Path | None = None) -> int:
        """Do it in a process that does not outlive this one; what it says goes to the end of `log`."""
        command = [sys.executable, "-m", "ratiocine.places", self.module, *self.words]
        with open(log, "ab") if log else open(os.dup(1), "wb") as out:
            child = subprocess.Popen(
                command, cwd=self.folder, env={**os.environ, "PYTHONPATH": path()}, stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT if log else None,
            )  # fmt: skip
            _running.append(child)
            status = child.wait()
        _running.remove(child)
        return code(status)

    def __str__(self) -> str:
        return f"python -m {self.module} {' '.join(self.words)}"


def path() -> str:
    """PYTHONPATH for what starts elsewhere."""
    return os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])


def code(status: int) -> int:
    """An exit code, 1 where a signal ended it."""
    return status if status >= 0 else 1


def send(verb: str, config: Placed, commands: Sequence[Sequence[str]]) -> int:
    """Have these commands of a verb run where `config.on` says, and follow them; returns the highest exit code."""
    on = config.on
    if on.name == "local":
        return max(together(Call(verb, tuple(own(words))), on) for words in commands)
    calls = [call(verb, own(words), on, config.shares_out) for words in commands]
    with starter(on, JOBS) as started:
        jobs = started.start(calls)
        if on.name == "slurm" and not on.wait:
            return 0
        return follow(verb, calls, jobs)


def own(words: Sequence[str]) -> list[str]:
    """A command line without where it is to run."""
    return [word for word in words if not word.lstrip("+~").startswith(("on=", "on."))]


def call(module: str, words: Sequence[str], on: Place, shares_out: bool, name: str = "") -> Call:
    """What is started elsewhere for a command of a verb."""
    if on.name == "slurm" and module in VERBS and not shares_out:
        return Call(module, tuple(words), name or module, on.processes * on.nodes)  # every rank is a task of its own
    return Call(module, (*words, *on.words), name or module)


def follow(verb: str, calls: Sequence[Call], jobs: Sequence[Job]) -> int:
    """Until all have ended; shows what a single one says, and of several how each ended. An interrupt stops them."""
    codes: dict[int, int] = {}
    tails = [Tail(job.logs) for job in jobs]
    try:
        while len(codes) < len(jobs):
            for number, job in enumerate(jobs):
                if number in codes:
                    continue
                ended = job.poll()
                if len(jobs) == 1:
                    tails[0].show()
                if ended is None:
                    continue
                codes[number] = ended
                if len(jobs) > 1:
                    said = f": {tails[number].last()}" if ended else ""
                    print(f"[{len(codes)}/{len(jobs)}] {calls[number]}: exit code {ended}{said}", flush=True)
            time.sleep(LOOK)
    except BaseException:
        for job in jobs:
            job.stop()
        raise
    return max(codes.values())


class Tail:
    """What files say beyond what was shown."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.at = dict.fromkeys(files, 0)

    def show(self) -> None:
        for file, at in self.at.items():
            if file.exists():
                with open(file, "rb") as text:
                    text.seek(at)
                    new = text.read()
                self.at[file] += len(new)
                sys.stderr.write(new.decode(errors="replace"))
        sys.stderr.flush()

    def last(self) -> str:
        """Their last line, less those of what started it."""
        lines = [line for file in self.at if file.exists() for line in file.read_text(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line.strip() and not line.startswith(("srun:", "submitit "))), "")


@contextmanager
def starter(on: Place, folder: Path) -> Iterator[Starter]:
    """Ready to start jobs, whose logs are in `folder`."""
    if on.name == "slurm":
        yield _Slurm(on, folder)
    elif on.name == "ray":
        with cluster() as ray:
            yield _Ray(on, folder, ray)
    else:
        yield _Here()


# In this machine's own processes


class _Here:
    jobs = 1

    def start(self, calls: Sequence[Call]) -> list[Job]:
        return [_Child(one) for one in calls]


class _Child:
    """A process of its own. On Linux it is forked from this one, which imports what every verb needs once: some 20 s on a slow
    machine."""

    logs: Sequence[Path] = ()

    def __init__(self, one: Call) -> None:
        self.ended: int | None = None
        if sys.platform != "linux":
            self.process = subprocess.Popen([sys.executable, "-m", one.module, *one.words], cwd=one.folder)
            self.child = self.process.pid
            return
        for heavy in HEAVY if one.module in VERBS else ():
            importlib.import_module(heavy)
        sys.stdout.flush()
        self.child = os.fork()
        if not self.child:
            end_with_parent()
            become(one.module, one.words)

    def poll(self) -> int | None:
        if self.ended is None:
            found, status = os.waitpid(self.child, os.WNOHANG)
            self.ended = code(os.waitstatus_to_exitcode(status)) if found else None
        return self.ended

    def stop(self) -> None:
        for _ in range(20):  # an interrupt from the keyboard reaches it as well, and may be under way there
            if self.poll() is not None:
                return
            time.sleep(0.1)
        os.kill(self.child, signal.SIGTERM)
        while self.poll() is None:
            time.sleep(0.1)


def end_with_parent() -> None:
    """Let this process have SIGTERM when its parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def become(module: str, arguments: Sequence[str]) -> NoReturn:
    """Run as `python -m module arguments` does, and end this process as that would end."""
    status: object = 1
    try:
        sys.argv = [module, *arguments]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = end.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else int(status is not None))


def check_gpus(on: Place) -> None:
    """Raise BadInput where this machine has fewer."""
    if on.gpus > devices.gpus():
        raise BadInput(f"on.gpus={on.gpus}: this machine has {devices.gpus()}; on.ranks= gives processes without")


def together(one: Call, on: Local) -> int:
    """Ranks on this machine (and on others, where the same is called), by torchrun's own launcher; says in one line which of
    them ended the others."""
    import torch
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    check_gpus(on)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // on.processes)))
    if not on.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    config = LaunchConfig(
        on.nodes, on.nodes, on.processes, run_id="ratiocine", rdzv_backend="c10d", max_restarts=0, shutdown_timeout=GRACE,
        rdzv_endpoint=on.rendezvous or "localhost:0", local_addr=None if on.rendezvous else "localhost",
    )  # fmt: skip
    try:
        elastic_launch(config, sys.executable)("-m", one.module, *one.words)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            print(f"{one.module}: rank {rank} was ended by {failure.signal_name()}, and the others with it", file=sys.stderr)
        return code(failure.exitcode)
    except SignalException:
        return 130
    except (torch.distributed.DistError, RendezvousError, RuntimeError) as error:
        raise Failure(f"on.rendezvous={on.rendezvous}: the ranks do not come together: {first_line(error)}") from None
    return 0


def first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


# Ray


def check_ray() -> None:
    """Raise BadInput where Ray is not installed."""
    if find_spec("ray") is None:
        raise BadInput("on=ray needs the package ray: pip install 'ratiocine[ray]'")


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names or to one that is made here, whose processes do not outlive this.
    Raises BadInput without Ray."""
    check_ray()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if "RAY_ADDRESS" not in os.environ:  # a cluster on this machine alone listens on loopback alone
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    known = {"env_vars": {"PYTHONPATH": path()}}
    try:
        ray.init(log_to_driver=False, logging_level="error", include_dashboard=False, runtime_env=known)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise Failure(f"on=ray: the cluster does not answer: {first_line(error)}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


class _Ray:
    def __init__(self, on: Ray, folder: Path, ray: Any) -> None:
        self.on, self.folder, self.ray, self.jobs = on, folder.absolute(), ray, on.jobs
        self.folder.mkdir(parents=True, exist_ok=True)
        cpus = on.cpus * on.processes
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= on.gpus for node in nodes):
            raise BadInput(f"on=ray: no node of the cluster has the {cpus} CPUs and {on.gpus} GPUs that a task is to have")
        # Begun anew as often as a worker is lost: a verb goes on from what was stored.
        self.task = ray.remote(num_cpus=cpus, num_gpus=on.gpus, max_retries=8)(Call.run)

    def start(self, calls: Sequence[Call]) -> list[Job]:
        found: list[Job] = []
        for one in calls:
            log = self.folder / f"{one.name}-{time.time_ns()}.log"
            log.touch()
            found.append(_Task(self.ray, self.task.remote(one, log), [log]))
        return found


@dataclass
class _Task:
    ray: Any
    ref: Any
    logs: Sequence[Path]

    def poll(self) -> int | None:
        if not self.ray.wait([self.ref], timeout=0)[0]:
            return None
        try:
            return self.ray.get(self.ref)
        except self.ray.exceptions.RayError as error:
            with open(self.logs[0], "a") as log:
                log.write(f"on=ray: {first_line(error)}\n")
            return 1

    def stop(self) -> None:
        self.ray.cancel(self.ref, force=True)


# Slurm


@dataclass(frozen=True)
class _Submitted:
    """A call as Slurm runs it: where there are several tasks each is a rank. A job that is preempted or comes to its time limit
    is queued again, and the verb goes on from what was stored."""

    call: Call

    def __call__(self) -> None:
        if self.call.ranks > 1:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        status = self.call.run()
        if status == INTERRUPTED and self.call.ranks > 1:
            time.sleep(NOTICE)  # the first rank queues the job again, or Slurm ends it
        if status:
            sys.exit(status)  # by which srun ends the other ranks

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Called within a signal's handler: the verb has had the signal as well, and is given time to keep what it has."""
        from submitit.helpers import DelayedSubmission

        until = time.monotonic() + NOTICE
        for child in _running:
            while not os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) and time.monotonic() < until:
                time.sleep(LOOK)
        return DelayedSubmission(self)


class _Slurm:
    def __init__(self, on: Slurm, folder: Path) -> None:
        if find_spec("submitit") is None:
            raise BadInput("on=slurm needs the package submitit: pip install 'ratiocine[slurm]'")
        if shutil.which("sbatch") is None:
            raise BadInput("on=slurm: there is no sbatch on this machine; give the command where jobs are submitted")
        self.on, self.folder, self.jobs, self.queue = on, folder, on.jobs, _Queue()

    def start(self, calls: Sequence[Call]) -> list[Job]:
        import submitit

        on, first = self.on, calls[0]
        tasks = on.processes if first.ranks > 1 else 1
        cpus = on.cpus * on.processes // tasks
        executor = submitit.AutoExecutor(self.folder, cluster="slurm")
        executor.update_parameters(
            name=first.name, nodes=on.nodes if first.ranks > 1 else 1, tasks_per_node=tasks, cpus_per_task=cpus,
            gpus_per_node=on.gpus or None, mem_gb=on.memory, timeout_min=math.ceil(60 * on.hours), stderr_to_stdout=True,
            slurm_partition=on.partition, slurm_account=on.account, slurm_array_parallelism=on.jobs,
            slurm_srun_args=["--kill-on-bad-exit=1", f"--cpus-per-task={cpus}"],  # srun has none of its own
            slurm_additional_parameters=dict(on.more), slurm_setup=[f"export PYTHONPATH={shlex.quote(path())}"],
        )  # fmt: skip
        try:
            submitted = executor.submit_array([_Submitted(one) for one in calls])
        except (submitit.core.utils.FailedJobError, OSError) as error:
            raise Failure(f"on=slurm: {first_line(error)}") from None
        for one, job in zip(calls, submitted, strict=True):
            print(f"job {job.job_id}: {one}", flush=True)
        return [_SlurmJob(job, self.queue, [job.paths.stdout]) for job in submitted]


class _Queue:
    """What Slurm says of this user's jobs, asked at most once in a while. Not sacct, which needs a data base."""

    FINAL = frozenset({
        "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED",
    })  # fmt: skip

    def __init__(self) -> None:
        self.asked = 0.0
        self.jobs: dict[str, tuple[str, int]] | None = None

    def look(self) -> dict[str, tuple[str, int]] | None:
        """State and exit code by job; None where Slurm does not answer."""
        if time.monotonic() - self.asked > 10 * LOOK:
            form = "--Format=JobArrayID:|,State:|,exit_code:|"
            words = ["squeue", "--noheader", "--me", "--array", "--states=all", form]
            asked = subprocess.run(words, capture_output=True, text=True, check=False)
            rows = [[part.strip() for part in line.split("|")] for line in asked.stdout.splitlines()]
            whole = [row for row in rows if len(row) > 2 and row[2].isdigit()]
            known = {job: (state, code(os.waitstatus_to_exitcode(int(status)))) for job, state, status, *_ in whole}
            self.jobs, self.asked = None if asked.returncode else known, time.monotonic()
        return self.jobs


@dataclass
class _SlurmJob:
    job: Any
    queue: _Queue
    logs: Sequence[Path]
    began: float = field(default_factory=time.monotonic)

    def poll(self) -> int | None:
        known = self.queue.look()
        if known is None or self.queue.asked <= self.began:
            return None
        state, status = known.get(self.job.job_id, ("forgotten", 0))
        if state == "forgotten":
            return int(not self._returned())
        if state not in _Queue.FINAL:
            return None
        return status if state == "COMPLETED" else status or 1

    def _returned(self) -> bool:
        """Whether the call came to its end, by what submitit has written of it."""
        file = self.job.paths.result_pickle
        return file.exists() and pickle.loads(file.read_bytes())[0] == "success"

    def stop(self) -> None:
        self.job.cancel(check=False)


if __name__ == "__main__":  # python -m ratiocine.places VERB words…: what is started elsewhere ends with what started it
    end_with_parent()
    become(sys.argv[1], sys.argv[2:])
