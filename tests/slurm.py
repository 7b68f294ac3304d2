"""A real Slurm of one node, this machine, for as long as a test needs it: munged, slurmctld and
slurmd as children, on loopback.

`apt-get install --no-install-recommends slurm-wlm munge`, and root. No accounting: `squeue` and
`scontrol` know the jobs, `sacct` does not."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
DEADLINE = 60

# The node is `localhost`, which every machine can resolve, whatever it calls itself; jobs see this
# name as their master's. config_overrides: the processors and memory told here are believed, not
# those found. UnkillableStepTimeout and KillWait: a job that does not end is soon seen not to.
# cred_expire: also how long a requeued job waits. The intervals: a freed processor is soon used.
CONFIG = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
{bind}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={socket},cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1
MpiDefault=none
MailProg=/bin/true
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=2
UnkillableStepTimeout=20
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=65536 State=UNKNOWN
PartitionName=tests Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    if os.geteuid() != 0:
        return "Slurm's daemons run as root here"
    lacking = [name for name in PROGRAMS if not _where(name)]
    return (
        f"needs the packages slurm-wlm and munge; there is no {', '.join(lacking)}"
        if lacking
        else ""
    )


@contextmanager
def cluster(folder: Path, cpus: int = 2) -> Iterator[dict[str, str]]:
    """The environment in which `sbatch` and its like reach a cluster of one idle node, which keeps
    all it writes in `folder`."""
    folder = folder.resolve()
    for name in ("state", "spool", "munge"):
        (folder / name).mkdir(mode=0o700, parents=True)
    with ExitStack() as stack:
        # A socket's path has at most 107 bytes, and a test's folder may be deeper than that.
        short = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="munge-")))
        key = folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(128))
        config, (controller, daemon) = folder / "slurm.conf", _free_ports(2)
        config.write_text(
            CONFIG.format(
                host=socket.gethostname().split(".")[0],
                controller=controller,
                daemon=daemon,
                socket=short / "socket",
                folder=folder,
                cpus=cpus,
                bind="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
                if _named_loopback()
                else "",
            )
        )
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SLURM", "SBATCH", "SRUN"))
        }
        environment["SLURM_CONF"] = str(config)
        # --force: that the folder's parents are anybody's (as /tmp is) is a warning, no error.
        munged = [
            "munged",
            "--foreground",
            "--force",
            f"--socket={short / 'socket'}",
            f"--key-file={key}",
            *(f"--{name}-file={folder / 'munge' / name}" for name in ("log", "pid", "seed")),
        ]
        running: list[subprocess.Popen[bytes]] = []
        stack.callback(_stop, running, environment)
        for words in (munged, ["slurmctld", "-D", "-i"], ["slurmd", "-D"]):
            with open(folder / f"{words[0]}.log", "ab") as log:
                running.append(
                    subprocess.Popen(
                        [_where(words[0]), *words[1:]],
                        cwd=folder,
                        env=environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,  # control-C is for the test, which then stops these
                    )
                )
            if words is munged:
                _wait(running, folder, (short / "socket").is_socket)
        _wait(
            running,
            folder,
            lambda: _ask(environment, "sinfo", "--noheader", "--format=%T") == "idle",
        )
        yield environment


def _where(program: str) -> str:
    """A daemon's place; it need not be on a user's path."""
    return (
        shutil.which(
            program,
            path=os.pathsep.join(
                [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"]
            ),
        )
        or ""
    )


def _named_loopback() -> bool:
    """Whether this machine's name is one of the loopback's: Slurm can only be bound to the address
    of that name, or to all."""
    try:
        return socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return False


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in found]


def _ask(environment: dict[str, str], *words: str) -> str:
    """What a client prints; empty where it fails or hangs."""
    try:
        asked = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=10)
    except subprocess.TimeoutExpired:
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""


def _wait(running: list[subprocess.Popen[bytes]], folder: Path, ready: Callable[[], bool]) -> None:
    def settled() -> bool:
        return ready() or any(process.poll() is not None for process in running)

    if not _ending(settled, DEADLINE) or not ready():
        logs = "\n".join(
            f"{log.name}:\n{log.read_text(errors='replace')[-2000:]}"
            for log in sorted(folder.glob("*.log"))
        )
        raise RuntimeError(f"Slurm did not come up, or not in {DEADLINE} s\n{logs}")


def _stop(running: list[subprocess.Popen[bytes]], environment: dict[str, str]) -> None:
    """First the jobs, while there is somebody to end them; then the daemons; then what outlived
    them."""
    if len(running) == 3:
        _ask(environment, "scancel", "--partition=tests")
        _ending(lambda: not _ask(environment, "squeue", "--noheader"), 4)
    # A task's orphaned grandchildren are not in its process tree, and proctrack/linuxproc lost
    # sight of them.
    _kill(leftovers(environment["SLURM_CONF"], "job"))
    for process in reversed(running):
        process.terminate()
        try:
            process.wait(timeout=4)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def gone() -> bool:
        left = leftovers(environment["SLURM_CONF"])
        _kill(left)
        return not left

    assert _ending(gone, 10), (
        f"processes of the cluster are left: {leftovers(environment['SLURM_CONF'])}"
    )


def _ending(ready: Callable[[], bool], seconds: float) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def leftovers(config: str, kind: str = "") -> list[int]:
    """Living processes of the cluster with this configuration: its daemons and a step's keepers
    ("slurm"), those in jobs ("job"), or both."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables = (place / "environ").read_bytes().split(b"\0")  # empty for a zombie
            ours = (place / "exe").readlink().name.startswith("slurm")
        except OSError:  # ended meanwhile
            continue
        # Whoever only asks the cluster something has the configuration too, and is neither.
        in_job = not ours and any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
        if (
            f"SLURM_CONF={config}".encode() in variables
            and {"": ours or in_job, "slurm": ours, "job": in_job}[kind]
        ):
            found.append(int(place.name))
    return found
