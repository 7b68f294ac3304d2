"""Hydra overrides as text: quoting, paths as values of groups, and sweeps."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from ratiocine.errors import BadInput, near
from ratiocine.executors import is_stage

CONF = Path(__file__).resolve().parents[2] / "conf"
BY_PATH = ("model", "data")  # groups whose value may be a folder, a file or a hub id
# A list, or a mapping, whichever the file has
LISTS_OR_MAPPINGS = (
    "study.grid.models",
    "study.grid.pairs",
    "study.grid.seeds",
    "study.grid.strategies",
)
# Lists of overrides. Those of the command line change single settings of the file's list.
SETTINGS = (
    "study.grid.distill",
    "study.grid.train",
    "study.grid.eval",
    "study.grid.baseline",
    "study.grid.rl.overrides",
)
CHANGES = "_changes"  # ends the key under which they are composed, for `with_changes`
SWEEPS = ("choice(", "range(", "interval(", "glob(")


def normalise(overrides: Sequence[str]) -> list[str]:
    """Rewrite `model=PATH` as `model=local model.path=PATH`, `data=` likewise, and a study's file
    as its keys.

    A path is any value with a slash, or the name of an existing file or folder. A list of settings
    (`SETTINGS`) becomes changes of the study's own. A model of a path of its own has no license of
    the name beside it. Raises BadInput for an override without a key.
    """
    normalised: list[str] = []
    expanded = [_with_file(override) for override in overrides]
    # Whatever its place, the keys of a file are those that the other overrides change.
    expanded.sort(key=lambda of_one: len(of_one) == 1)
    words = [word for of_one in expanded for word in of_one]
    for override in _joined(words):
        group, equals, value = override.partition("=")
        setting, _, key = group.rpartition(".")
        if setting.lstrip("+") in SETTINGS and not key.isdecimal():
            raise BadInput(f"{setting} is a list of settings; write {setting}=[{key}={value}]")
        if group in SETTINGS and value.startswith("[") and value != "[]":  # [] replaces the list
            group += CHANGES
        # Files leave out defaults, and mappings take any keys: the schema knows the allowed ones.
        if "." in group and group[0] not in "+~" and not re.search(r"@|/|^hydra\.", group):
            group = f"++{group}"
        if group.endswith(LISTS_OR_MAPPINGS) and re.fullmatch(r"[\[{].*[\]}]", value):
            value = quoted(value)  # a text replaces those of the file, a list or a mapping
        if not group.strip("+~"):
            raise BadInput(f"'{override}' names no key; write key=value")
        if group in BY_PATH and value.startswith("["):
            raise BadInput(f"{override}: {group} is one name or path, no list")
        text = _unquoted(value)
        is_list = "," in value and text == value
        if equals and group in BY_PATH and is_path(text) and not is_list:
            normalised += [f"{group}=local", f"{group}.path={quoted(text)}"]
        else:
            text = _with_quoted_words(_with_quoted_paths(value))
            normalised.append(f"{group}={text}" if equals else override)
    return normalised + _license_of_path(normalised)


def _with_file(override: str) -> list[str]:
    """`study=FILE.yaml` as the keys of the file; any other override as it is."""
    import yaml

    group, _, value = override.partition("=")
    name = _unquoted(value)
    if group.lstrip("+") != "study" or not name.lower().endswith((".yaml", ".yml")):
        return [override]
    file = Path(name)
    if not os.path.isfile(name):
        raise BadInput(f"study={name} is not a file{near(file)}")
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"study={name} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInput(f"study={name} holds no keys, such as grid:")
    keys = {"name": re.sub(r"[^\w.+-]+", "-", file.stem), **values}
    return ["study=local", *(f"++study.{key}={literal(one)}" for key, one in keys.items())]


def literal(value: Any) -> str:
    """A value of YAML in Hydra's grammar."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}: {literal(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(map(literal, value))}]"
    if isinstance(value, str):
        return quoted(value)
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _license_of_path(overrides: Sequence[str]) -> list[str]:
    """What removes the license of a named model whose weights are those of another path."""
    given = {key_of(word): _unquoted(word.partition("=")[2]) for word in overrides}
    name, path = given.get("model"), given.get("model.path")
    if name in (None, "local") or path is None or "model.license" in given:
        return []
    return ["++model.license=null"] if has_own_path(name, path) else []


def has_own_path(name: str, path: str | None) -> bool:
    """Whether a model's weights are those of a path that was given, alone or beside the name of
    another model, whose settings it then has; not those of the model of that name (conf/model)."""
    import yaml

    if name == "local" or path is None:
        return name == "local"
    file = CONF / "model" / f"{name}.yaml"
    known = yaml.safe_load(file.read_text(encoding="utf-8")).get("path") if file.exists() else None
    return known not in (None, path, cached_id(path))


def cached_id(path: str) -> str | None:
    """The hub id of a folder in the cache of the hub (…/models--OWNER--NAME/snapshots/REVISION)."""
    found = re.search(r"/models--([^/]+)/snapshots/[^/]+/?$", path)
    return found[1].replace("--", "/") if found else None


def is_path(value: str) -> bool:
    """Whether the value of a key of `BY_PATH` names no option, but a path."""
    return "/" in value or os.path.exists(value)


def _joined(overrides: Sequence[str]) -> list[str]:
    """The overrides with one list for each key of `SETTINGS`: a bare `key=value` is a list of one,
    and a further list adds to the first."""
    joined: dict[str, str] = {}
    for number, override in enumerate(overrides):
        group, _, value = override.partition("=")
        if re.match(r"[+~]*[A-Za-z_][\w.]*=", value):
            value = f"[{value}]"
        is_list = value.startswith("[") and value != "[]"
        if group not in SETTINGS or not is_list or is_sweep(override):
            joined[f"{number} {group}"] = override
        elif before := joined.get(group):
            joined[group] = f"{before[:-1]},{value[1:]}"
        else:
            joined[group] = f"{group}={value}"
    return list(joined.values())


def with_changes(values: object) -> object:
    """Composed values with the changed settings merged into their lists (`merged`)."""
    if not isinstance(values, dict):
        return values
    found = {key: with_changes(inner) for key, inner in values.items() if not key.endswith(CHANGES)}
    for key, changes in values.items():
        if key.endswith(CHANGES):
            name = key.removesuffix(CHANGES)
            found[name] = _changed(found.get(name) or [], changes)
    return found


def _changed(settings: Any, changes: Any) -> object:
    for words in (settings, changes):
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            return words  # the schema refuses it
    return merged(settings, changes)


def merged(settings: Sequence[str], changes: Sequence[str]) -> list[str]:
    """Overrides with others in place of those of the same key; a group's value also replaces its
    keys (`teacher=` those of `teacher.`)."""
    groups = tuple(f"{key_of(change)}." for change in changes)
    kept = [setting for setting in settings if not key_of(setting).startswith(groups)]
    return list({key_of(setting): setting for setting in (*kept, *changes)}.values())


# Characters of paths that Hydra's grammar reads otherwise, or not at all.
SPECIAL = re.compile(r"[^\x00-\x7f]|[=#'\"()!^`<>;&~]")


def _with_quoted_paths(value: str) -> str:
    """The value with its paths in quotes, alone or in a list, where Hydra's grammar needs them."""
    if value.startswith("[") and value.endswith("]") and not re.search(r"[\[{]", value[1:]):
        items = re.findall(r"\s*((?:'[^']*'|\"[^\"]*\"|[^,])*)", value[1:-1])
        return f"[{','.join(_quoted_path(item) for item in items if item.strip())}]"
    return _quoted_path(value)


def _with_quoted_words(value: str) -> str:
    """A value with quotes around an override in it: qos=long, [teacher=reference]."""
    if re.fullmatch(r"[\w.-]+=[\w.-]+", value):
        return quoted(value)
    if not value.startswith(("[", "{")):
        return value
    quotes = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
    word = r"(?<=[\[,{:\s])([+~]*[A-Za-z_][\w.]*=[^\s,\[\]{}'\"]+)"
    return re.sub(
        f"{quotes}|{word}", lambda match: quoted(match[1]) if match[1] else match[0], value
    )


def _quoted_path(value: str) -> str:
    is_path = "/" in value and not value.startswith(("'", '"', "[", "{", "$"))
    if not is_path or "," in value or SPECIAL.search(value) is None:
        return value
    return quoted(value)


def quoted(value: str) -> str:
    """A text as an override's value, in quotes unless Hydra's grammar reads it as it is."""
    if re.fullmatch(r"[\w.+-]*/[\w./+-]*", value, re.ASCII):
        return value

    # The grammar reads backslashes as an escape only before a quote.
    def escape(match: re.Match[str]) -> str:
        return 2 * match[1] + (r"\'" if match[2] else "")

    return "'" + re.sub(r"(\\*)('|\Z)", escape, value) + "'"


def print_next(module: str, *words: str) -> None:
    """Print the line that ends a command's output: what to run on its result. The stages of a study
    have none: the study goes on by itself."""
    if not is_stage():
        print(f"next: {shell_line(module, *words)}")


def shell_line(module: str, *words: str) -> str:
    """A command as a shell reads it, with double quotes around an override in single ones."""
    return f"python -m {module} {' '.join(map(_shell_word, words))}"


def _shell_word(word: str) -> str:
    return f'"{word}"' if re.fullmatch(r"[^\"$`\\!]*'[^\"$`\\!]*", word) else shlex.quote(word)


def _unquoted(value: str) -> str:
    """The inverse of `quoted`; other values unchanged."""
    if not re.fullmatch(r"'(?:[^'\\]|\\.)*'", value, re.DOTALL):
        return value

    def unescape(match: re.Match[str]) -> str:
        return match[1][: len(match[1]) // 2] + match[2]

    return re.sub(r"(\\+)('|\Z)", unescape, value[1:-1])


def key_of(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def is_sweep(override: str) -> bool:
    """Whether it has several values: a comma outside quotes and brackets, or a sweep function."""
    value = override.partition("=")[2]
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}", "", value)
    return "," in bare or bare.startswith(SWEEPS)


def is_remote(overrides: Sequence[str]) -> bool:
    """Whether the jobs of a sweep are submitted to Slurm or Ray."""
    return any(override in ("executor=slurm", "executor=ray") for override in overrides)


def sweep_job(overrides: Sequence[str], swept: Collection[str]) -> list[str]:
    """The overrides of one job of a sweep; its `out` is a subfolder named for the swept values."""
    name = "_".join(o.lstrip("+") for o in overrides if key_of(o) in swept)
    folder = re.sub(r"[^A-Za-z0-9.=-]", "_", name)
    return [
        f"out='{o[4:].strip(chr(39))}/{folder}'" if o.startswith("out=") else o for o in overrides
    ]
