"""The one entry of all verbs: argv → composed config → checked config → run, with one-line errors and exit codes.

Exit codes: 0 done, 2 bad input, 1 failure, 130 interrupted, 141 where nobody reads on. `-m` runs each job as a process of its
own.
"""

from __future__ import annotations

import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from ratiocine import renames
from ratiocine.errors import BadInput, Failure
from ratiocine.executors import VerbConfig, distributed, end_with_parent, first_line, submit

os.environ["HYDRA_FULL_ERROR"] = "1"  # makes Hydra raise, so that `main` can say it in one line
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if not sys.stderr.isatty():
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

CONF = Path(__file__).resolve().parent.parent / "conf"
QUIET = (
    "hydra.run.dir=.",
    "hydra.output_subdir=null",
    "hydra/job_logging=none",
    "hydra/hydra_logging=none",
)
FIRST_SAYS_IT = 5.0  # seconds
BY_PATH = ("model", "data")  # groups whose value may be a folder, a file or a hub id

C = TypeVar("C", bound=BaseModel)


def main(verb: str, schema: type[C], run: Callable[[C], int | None]) -> NoReturn:
    """Compose `conf/<verb>.yaml` with the command line, check it against `schema` and call `run`. Never returns."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        leave(verb, lambda: print(help_text(verb)))
    leave(verb, lambda: _main(verb, schema, run))


def leave(name: str, work: Callable[[], int | None]) -> NoReturn:
    """Do `work` and exit with its status; what goes wrong is said in one line that begins with `name`."""
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGUSR2,
    ):  # the second is ignored by default in a background job
        signal.signal(number, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # by nohup
        signal.signal(signal.SIGHUP, _interrupt)
    if distributed.is_launched():
        end_with_parent()
    if not distributed.is_first():
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (for as long as the process lasts)
    try:
        status = work() or 0
        sys.stdout.flush()
    except (BadInput, Failure) as error:
        status = 2 if isinstance(error, BadInput) else 1
        if not distributed.is_first():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(FIRST_SAYS_IT)  # and then the launcher ends this process
            name = f"{name}, rank {distributed.rank()}"
        print(f"{name}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        others = (
            f", rank {distributed.rank()}: ended with the others"
            if not distributed.is_first()
            else ": interrupted"
        )
        print(f"{name}{others}", file=sys.stderr)
        status = 130
    except BrokenPipeError:  # whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    except Exception as error:
        status = 1
        if not distributed.is_launched():
            raise
        said = distributed.lost_peer_message(error)
        if said is None and distributed.is_first():
            raise
        if said is None:  # the first has most likely met the same, and tells it whole
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            time.sleep(FIRST_SAYS_IT)
            said = f"{type(error).__name__}: {first_line(error)}"
        print(f"{name}, rank {distributed.rank()}: {said}", file=sys.stderr)
    if (
        distributed.is_launched()
    ):  # the launcher ends what has ended already, and an exit that is interrupted tells a trace
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(status)


def _interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _main(verb: str, schema: type[C], run: Callable[[C], int | None]) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode
    from omegaconf import OmegaConf

    status, found, swept, sent = 0, list[Any](), set[str](), list[list[str]]()

    def job(composed: Any) -> None:
        nonlocal status
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            words = _one_of_a_sweep(list(HydraConfig.get().overrides.task), swept)
            if not _sent(words):
                status = max(
                    status,
                    subprocess.run([sys.executable, "-m", verb, *words], check=False).returncode,
                )
                return
        else:
            words = typed
        found.append(OmegaConf.to_container(composed, resolve=True))
        sent.append(words)

    sys.argv[1:] = [
        word for word in sys.argv[1:] if not re.match(r"--local[-_]rank\b", word)
    ]  # of deepspeed; RANK says it too
    entry = hydra.main(version_base="1.3", config_path=str(CONF), config_name=verb)(job)
    with (
        tempfile.TemporaryDirectory() as scratch
    ):  # `-m` insists on writing its own record somewhere
        flags = [
            word
            for word in sys.argv[1:]
            if word.startswith("--") or not re.match(r"~|[^=]+=", word)
        ]
        overrides = [
            word for word in sys.argv[1:] if word not in flags
        ]  # argparse wants them in one run
        check_words(verb, overrides)
        swept |= {_key(word) for word in overrides if _sweeps(word)}
        typed = normalise(overrides)
        sys.argv[1:] = [*flags, *normalise(overrides), *QUIET, f"hydra.sweep.dir={scratch}"]
        try:
            entry()
        except (BadInput, KeyboardInterrupt):
            raise
        except Exception as error:
            raise _said_plainly(verb, error) or error from None
    # Outside Hydra, which would print about any exception in a voice of its own.
    configs = [check(schema, values) for values in found]
    if (
        configs
        and isinstance(configs[0], VerbConfig)
        and (configs[0].is_remote or len(configs) > 1)
    ):
        return max(status, submit(verb, configs[0], sent))
    return max([status, *(run(config) or 0 for config in configs)])


def help_text(verb: str) -> str:
    """The verb's primary config, which says what each key means, and what its groups hold."""
    import yaml

    text = (CONF / f"{verb}.yaml").read_text(encoding="utf-8")
    groups = {
        g: v
        for d in yaml.safe_load(text).get("defaults", [])
        if isinstance(d, dict)
        for g, v in d.items()
    }
    about, _, keys = text.partition("\n\n")
    lines = [
        about.splitlines()[0].removeprefix("# "),
        "",
        "Keys and their defaults; change one with key=value:",
        "",
        keys.rstrip(),
    ]
    for group, chosen in groups.items():
        lines.append(
            textwrap.fill(
                f"{group}={chosen}, or one of {', '.join(options(group))}"
                + ("; or a path" if group in BY_PATH else ""),
                100,
                subsequent_indent="    ",
                break_on_hyphens=False,
            )
        )
    lines += [
        "",
        "-m sweeps values with commas, one process a job; --cfg job shows the composed configuration.",
    ]
    return "\n".join(lines)


def compose(verb: str, schema: type[C], overrides: Sequence[str]) -> C:
    """The checked configuration that `python -m verb *overrides` would run with."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    check_words(verb, overrides)
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            composed = compose(verb, normalise(overrides))
    except Exception as error:
        raise _said_plainly(verb, error) or error from None
    return check(schema, OmegaConf.to_container(composed, resolve=True))


def named(group: str, name: str, schema: type[C], *, called: str | None = None) -> C:
    """The checked `conf/<group>/<name>.yaml`; `called` is what a user knows the group as."""
    import yaml

    file = CONF / group / f"{name}.yaml"
    if not file.is_file():
        raise BadInput(
            f"unknown {called or group} '{name}'; known: {', '.join(options(group))}{_nearest(name, options(group))}"
        )
    return check(schema, yaml.safe_load(file.read_text(encoding="utf-8")))


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def normalise(arguments: Sequence[str]) -> list[str]:
    """`model=` anything with a slash, or an existing folder, becomes `model=local model.path=…`; the same for `data=`."""
    found: list[str] = []
    for argument in arguments:
        group, equals, value = argument.partition("=")
        if not group.strip("+~"):
            raise BadInput(f"'{argument}' names no key; write key=value")
        typed = _unquoted(value)
        if (
            equals
            and group in BY_PATH
            and ("/" in typed or os.path.exists(typed))
            and (typed != value or "," not in value)
        ):
            found += [f"{group}=local", f"{group}.path={quoted(typed)}"]
        else:
            found.append(argument)
    return found


def quoted(value: str) -> str:
    """A text as a value of the command line, in quotes where Hydra's grammar could read it otherwise. (Backslashes count there
    before a quote only.)"""
    if re.fullmatch(r"[\w.+-]*/[\w./+-]*", value, re.ASCII):
        return value
    escaped = re.sub(
        r"(\\*)('|\Z)", lambda found: 2 * found[1] + (r"\'" if found[2] else ""), value
    )
    return f"'{escaped}'"


def _unquoted(value: str) -> str:
    """The text that `quoted` was given, also of one without quotes."""
    if not re.fullmatch(r"'(?:[^'\\]|\\.)*'", value, re.DOTALL):
        return value
    return re.sub(
        r"(\\+)('|\Z)", lambda found: found[1][: len(found[1]) // 2] + found[2], value[1:-1]
    )


def check(schema: type[C], values: Any) -> C:
    """`values` as a checked `schema`; BadInput with one line for the first thing that is wrong."""
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise BadInput(_first_problem(schema, error)) from None


def _first_problem(schema: type[BaseModel], error: ValidationError) -> str:
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    key, known = _place(schema, problem["loc"])
    if problem["type"] == "extra_forbidden":
        if new := _renamed(key, known):
            return f"{key} is now {new}"
        near = _nearest(str(problem["loc"][-1]), known) or f"; known: {', '.join(known)}"
        return f"unknown key '{key}'{near}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{key}={problem['input']!r}: {message}" if key else message


def _renamed(key: str, known: Sequence[str]) -> str | None:
    """What a key of an earlier release is called now, where one of the keys `known` in its place is that."""
    bare = ".".join(part for part in key.split(".") if not part.isdigit())
    for verb in renames.RENAMED:
        for prefix in ("", "study."):
            new = renames.new_key(verb, f"{prefix}{bare}")
            if new is not None and new.rpartition(".")[2] in known:
                return new.removeprefix(prefix)
    return None


def check_words(verb: str, overrides: Sequence[str]) -> None:
    """Raise BadInput where a word of the command line is one of an earlier release, with its new name."""
    for word in overrides:
        key = _key(word)
        if new := renames.new_key(verb, key):
            raise BadInput(f"{key}= is now {new}=")


def _place(schema: type[BaseModel], path: Sequence[int | str]) -> tuple[str, list[str]]:
    """The key at which an error stands, and the keys known beside it. Where one of several schemas is told by its name, the
    path holds that name, but the key does not."""
    key: list[str] = []
    known, below = sorted(schema.model_fields), [schema]
    for part in path:
        if isinstance(part, int):
            key.append(str(part))
            continue
        if len(below) > 1:
            below = [one for one in below if part in get_args(one.model_fields["name"].annotation)]
            continue
        key.append(str(part))
        fields = below[0].model_fields if below else {}
        known = sorted(fields)
        if str(part) in fields:  # not a key of a mapping
            types = _types(fields[str(part)].annotation)
            below = [t for t in types if isinstance(t, type) and issubclass(t, BaseModel)]
    return ".".join(key), known


def _types(annotation: Any) -> list[Any]:
    """Everything that an annotation is made of: the members of unions, also those within lists."""
    return [found for part in get_args(annotation) for found in _types(part)] or [annotation]


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _said_plainly(verb: str, error: Exception) -> BadInput | None:
    """Hydra's and OmegaConf's complaints about the command line, in one line; None for any other error."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return None
    text = str(error)
    if match := re.search(r"Could not find '([\w-]+)/([^']*)'", text):
        known = options(match[1])
        return BadInput(
            f"unknown {match[1]} '{match[2]}'; known: {', '.join(known)}{_nearest(match[2], known)}"
        )
    if match := re.search(r"Could not override '([^']+)'", text):
        known = top_keys(verb)
        near = _nearest(match[1], known) or f"; known: {', '.join(known)}"
        return BadInput(f"unknown key '{match[1]}'{near}")
    return BadInput(" ".join(text.split("\n")[0].split()))


def top_keys(verb: str) -> list[str]:
    """The keys a verb's primary config shows."""
    import yaml

    config = yaml.safe_load((CONF / f"{verb}.yaml").read_text(encoding="utf-8"))
    groups = [next(iter(d)) for d in config.pop("defaults", []) if isinstance(d, dict)]
    return sorted({*config, *(g for g in groups if not g.startswith("override"))} - {"hydra"})


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _sweeps(override: str) -> bool:
    """Whether an override names several values: a comma outside quotes and brackets, or one of Hydra's sweeps."""
    value = override.partition("=")[2]
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}", "", value)
    return "," in bare or bare.startswith(("choice(", "range(", "interval(", "glob("))


def _sent(words: Sequence[str]) -> bool:
    """Whether the jobs of a sweep are for Slurm or Ray."""
    return any(word in ("executor=slurm", "executor=ray") for word in words)


def _one_of_a_sweep(overrides: list[str], swept: Collection[str]) -> list[str]:
    """One job of `-m`, in a folder below `out`, where that was given, that is named for what is swept."""
    name = "_".join(o.lstrip("+") for o in overrides if _key(o) in swept)
    folder = re.sub(r"[^A-Za-z0-9.=-]", "_", name)
    return [
        f"out='{o[4:].strip(chr(39))}/{folder}'" if o.startswith("out=") else o for o in overrides
    ]
