"""Entry point of the verbs, and the exit codes of all commands.

Exit codes: 0 success, 1 failure, 2 invalid input, 130 interrupted, 141 broken pipe of the output.
BadInput and Failure are one line on stderr. `-m` runs each job of a sweep in its own process.
"""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from types import FrameType
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel

from ratiocine import startup
from ratiocine.cli.composition import (
    check,
    check_groups,
    check_renamed,
    check_served,
    hydra_problem,
    options,
    plain_values,
)
from ratiocine.cli.overrides import (
    BY_PATH,
    CONF,
    is_path,
    is_remote,
    is_sweep,
    key_of,
    normalise,
    sweep_job,
)
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import (
    Command,
    VerbConfig,
    distributed,
    end_with_parent,
    first_line,
    is_stage,
    run_process,
    submit,
)

# Hydra writes no files and configures no logging.
QUIET = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
HYDRA_OPTIONS = (
    *("cfg", "config-dir", "config-name", "config-path", "experimental-rerun", "hydra-help"),
    *("info", "multirun", "package", "resolve", "run", "shell-completion", "version"),
)
FIRST_RANK_SECONDS = 5.0  # for rank 0 to report an error before another rank does

# How to swap things by a word, by verb.
SWAPS = {
    "distill": ("Swap by a word: data=problems.jsonl teacher=reference, or teacher=openai.",),
    "train": (
        "Swap by a word: model=qwen2.5-1.5b or model=FOLDER, lora=true, scenario=sequential.",
    ),
    "rl": ("Swap by a word: data=problems.jsonl, reward=r1-zero, objective=dapo.",),
    "eval": ("Swap by a word: model=FOLDER, benchmarks=[gsm8k,problems.jsonl], engine=vllm.",),
    "launch": (
        "Swap by a word: study=ratio_sweep study.grid.pairs=[FOLDER,problems.jsonl] "
        "study.grid.models=[qwen2.5-1.5b] study.grid.benchmarks=[test.jsonl]; "
        "study.assumptions.gpu=h100 for the estimate.",
    ),
}

C = TypeVar("C", bound=BaseModel)
Ending = Callable[[BaseException], str]
_endings: list[Ending] = []


FIRST_WORDS = {"eval": "model= and benchmarks=", "launch": "study=, such as study=demo"}


def on_error(ending: Ending) -> None:
    """Call `ending` with the BadInput or interrupt that ends this command; its words are added to
    the line about an interrupt."""
    _endings.append(ending)


def main(verb: str, schema: type[C], run: Callable[[C], int | None]) -> NoReturn:
    """Compose and check the verb's configuration, call `run` with it, and exit."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        leave(verb, lambda: print(help_text(verb, sys.argv[1:])))
    leave(verb, lambda: _main(verb, schema, run))


def _check_chosen(verb: str) -> None:
    """Raise BadInput where a command that would run for minutes on its defaults chooses nothing."""
    if verb in FIRST_WORDS and not sys.argv[1:]:
        raise BadInput(
            f"nothing is chosen: give {FIRST_WORDS[verb]}; python -m {verb} --help has the keys"
        )


def leave(name: str, work: Callable[[], int | None]) -> NoReturn:
    """Call `work` and exit with its status; an error is one line that starts with `name`."""
    startup.begin_imports()
    # A background job of a shell ignores SIGINT unless it is set here.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
        signal.signal(signal.SIGHUP, _interrupt)
    if distributed.is_launched():
        end_with_parent()
    # On import it recommends a package of kernels that is not needed here.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if not distributed.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (open until the process ends)
    try:
        status = work() or 0
        sys.stdout.flush()
    except (BadInput, Failure) as error:
        status = 2 if isinstance(error, BadInput) else 1
        if isinstance(error, BadInput):
            _ended(error)
        _report(name, str(error))
    except KeyboardInterrupt as error:
        first = distributed.is_first()
        message = (
            f": interrupted{_ended(error)}"
            if first
            else f", rank {distributed.rank()}: ended with the others"
        )
        print(f"{name}{message}", file=sys.stderr)
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Exception as error:
        status = 1
        if not _report_rank(name, error):
            raise
    if distributed.is_launched():
        # The launcher signals ranks that are already exiting; that would print a traceback.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.freeze()  # else Python visits all objects several times as it ends: a second after torch
    sys.exit(status)


def _ended(error: BaseException) -> str:
    words = [ending(error) for ending in _endings]
    return "" if is_stage() else "".join(words)  # the study says how it goes on


def refuse_renamed(tool: str, new: str) -> NoReturn:
    """Exit with code 2 and the present name of a tool."""

    def refuse() -> None:
        raise BadInput(f"this tool is now {new}")

    leave(tool, refuse)


def _report(name: str, message: str) -> None:
    """Print an error; ranks other than the first wait, since the launcher usually ends them while
    the first reports the same."""
    if not distributed.is_first():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(FIRST_RANK_SECONDS)
        name = f"{name}, rank {distributed.rank()}"
    print(f"{name}: {message}", file=sys.stderr)


def _report_rank(name: str, error: Exception) -> bool:
    """Print an unexpected error of a rank as one line; False if its traceback is to be shown."""
    if not distributed.is_launched():
        return False
    message = distributed.lost_peer_message(error)
    if message is None and distributed.is_first():
        return False
    if message is None:
        _report(name, f"{type(error).__name__}: {first_line(error)}")
    else:
        print(f"{name}, rank {distributed.rank()}: {message}", file=sys.stderr)
    return True


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _main(verb: str, schema: type[C], run: Callable[[C], int | None]) -> int:
    _check_chosen(verb)
    # deepspeed adds this argument; RANK has the same value.
    arguments = [word for word in sys.argv[1:] if not re.match(r"--local[-_]rank\b", word)]
    is_flag = [word.startswith("--") or not re.match(r"~|[^=]*=", word) for word in arguments]
    flags = [word for word, flag in zip(arguments, is_flag, strict=True) if flag]
    overrides = [word for word, flag in zip(arguments, is_flag, strict=True) if not flag]
    _check_flags(flags)
    check_renamed(verb, overrides)
    check_groups(overrides)
    check_served(verb, overrides)
    local, jobs = _composed(verb, schema, flags, overrides)
    # Outside Hydra, which would print any exception in its own format.
    for _, values in local:
        check(schema, values)  # before the first of them runs
    configs = [check(schema, values) for _, values in jobs]
    first = configs[0] if configs else None
    status = max([0, *(run_process(Command(verb, tuple(words))) for words, _ in local)])
    if isinstance(first, VerbConfig) and (first.is_remote or len(configs) > 1):
        return max(status, submit(verb, first, [words for words, _ in jobs]))
    return max([status, *(run(config) or 0 for config in configs)])


def _check_flags(flags: Sequence[str]) -> None:
    """Raise BadInput for an option that Hydra does not have (the keys of a verb have no dashes),
    and for a word that is neither an option, nor a value of the option before it, nor key=value."""
    for before, flag in pairwise(["", *flags]):
        if not flag.startswith("-") and not before.startswith("-"):
            raise BadInput(
                f"'{flag}' is no key=value; a shell ends a word at a blank that is not in quotes"
            )
        name, equals, value = flag.removeprefix("--").partition("=")
        if flag.startswith("--") and name not in HYDRA_OPTIONS:
            key = name.replace("-", "_")
            raise BadInput(f"unknown option '--{name}'; write {key}={value if equals else '…'}")


Job = tuple[list[str], Any]  # overrides and composed values


def _composed(
    verb: str, schema: type[BaseModel], flags: list[str], overrides: list[str]
) -> tuple[list[Job], list[Job]]:
    """The jobs of this command line: those of a local sweep, and all others."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    local, jobs = list[Job](), list[Job]()
    typed = normalise(overrides)
    swept = {key_of(word) for word in typed if is_sweep(word)}

    def job(composed: Any) -> None:
        words, of_kind = typed, jobs
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            words = sweep_job(list(HydraConfig.get().overrides.task), swept)
            of_kind = jobs if is_remote(words) else local
        of_kind.append((words, plain_values(composed)))

    entry = hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb)(job)
    with tempfile.TemporaryDirectory() as scratch:  # for Hydra's record of a sweep
        # argparse wants all overrides in one piece.
        sys.argv[1:] = [*flags, *typed, *QUIET, f"hydra.sweep.dir={scratch}"]
        try:
            entry()
        except (BadInput, KeyboardInterrupt):
            raise
        except Exception as error:
            raise hydra_problem(verb, schema, error) or error from None
    return local, jobs


def help_text(verb: str, overrides: Sequence[str] = ()) -> str:
    """The verb's primary configuration, whose comments document the keys, its groups, and the keys
    of the options that `overrides` choose."""
    import yaml

    text = (CONF / f"{verb}.yaml").read_text(encoding="utf-8")
    defaults = [d for d in yaml.safe_load(text).get("defaults", []) if isinstance(d, dict)]
    about, _, keys = text.partition("\n\n")
    lines = [
        about.splitlines()[0].removeprefix("# "),
        "",
        "Keys and their defaults; change one with key=value:",
        "",
        keys.rstrip(),
    ]
    for group, chosen in [item for default in defaults for item in default.items()]:
        path = "; or a path" if group in BY_PATH else ""
        line = f"{group}={chosen or 'null'}, or one of {', '.join(options(group))}{path}"
        lines.append(textwrap.fill(line, 100, subsequent_indent="    ", break_on_hyphens=False))
    for override in overrides:
        group, _, name = override.lstrip("+").partition("=")
        if group in BY_PATH and is_path(name):
            name = "local"
        if more := _option_help(group, name):
            lines += ["", f"Keys of {override}:", "", *more]
    lines += [
        "",
        "ift: the direct answer alone (instruction fine-tuning); reasoning: a trace and then the "
        "answer.",
        *SWAPS.get(verb, ()),
        "-m sweeps over comma-separated values, one process per job; --cfg job shows the composed "
        "configuration.",
    ]
    return "\n".join(lines)


def _option_help(group: str, name: str, prefix: str = "") -> list[str]:
    """The keys of an option, in full, and of the options that it chooses itself."""
    import yaml

    file, lines = CONF / group / f"{name}.yaml", list[str]()
    if not file.is_file():
        return lines
    prefix, shown = prefix or group, False
    text = file.read_text(encoding="utf-8")
    for line in text.splitlines():
        key = line.partition(":")[0]
        if not line.startswith((" ", "-")):
            shown = ":" in line and key not in ("name", "defaults") and not line.startswith("#")
        if shown:
            lines.append(line if line.startswith((" ", "-")) else f"{prefix}.{line}")
    for default in yaml.safe_load(text).get("defaults", []):
        for inner, chosen in default.items() if isinstance(default, dict) else ():
            of, _, place = inner.lstrip("/").partition("@")
            lines += _option_help(of, chosen, f"{prefix}.{place or of}")
    return lines
