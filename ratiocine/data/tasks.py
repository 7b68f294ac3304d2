"""Tasks of lm-evaluation-harness (YAML files) as sources of problems.

Kept: data set, splits, `doc_to_text`, `doc_to_target`, `doc_to_choice`, `description`, `include`,
the output types `multiple_choice` and `generate_until`, and of the metrics `regexes_to_ignore`,
which are removed from targets. Of `filter_list`, a regex takes the answer out of a target that is a
whole solution; completions are not filtered, but graded as of any other problem. Left out: Python
(`!function`), few-shot examples and stop strings. Templates are rendered in a sandbox.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ratiocine.data.config import TASK_ENDINGS, DataConfig, HubConfig, ending
from ratiocine.data.hub import revision, streamed
from ratiocine.data.row_files import Row, read_rows
from ratiocine.data.row_shapes import is_short
from ratiocine.errors import BadInput
from ratiocine.records import LETTERS, JsonObject
from ratiocine.runs import hash_path

NEEDED = ("dataset_path", "doc_to_text", "doc_to_target")
UNSUPPORTED = (
    "process_docs",
    "use_prompt",
    "custom_dataset",
    "doc_to_image",
    "unsafe_code",
    "group",
)
OUTPUTS = ("multiple_choice", "generate_until")
FILES = ("json", "csv", "parquet")  # data set builders that read local files
SPLITS = {"train": ("training_split",), "test": ("test_split", "validation_split")}


@dataclass(frozen=True)
class Task:
    """One task, with the content of the files that it includes."""

    file: Path
    values: JsonObject
    included: tuple[Path, ...]

    def split(self, split: str) -> str | None:
        """The data set's name of a split; the validation split replaces a missing test split."""
        return next((name for key in SPLITS[split] if (name := self.values.get(key))), None)

    def _check(self, split: str) -> None:
        if self.split(split) is None:
            raise BadInput(f"{self.file} has no {' or '.join(SPLITS[split])}")

    @property
    def _kwargs(self) -> JsonObject:
        return self.values.get("dataset_kwargs") or {}

    @property
    def hub(self) -> HubConfig | None:
        """The data set on the hub; None for local files."""
        if self.values["dataset_path"] in FILES:
            return None
        splits = {split: name for split in SPLITS if (name := self.split(split))}
        return HubConfig(
            repo=self.values["dataset_path"],
            subset=self.values.get("dataset_name"),
            revision=self._kwargs.get("revision"),
            splits=splits,
        )

    def data_files(self, split: str) -> list[Path]:
        """The local files of a split, relative to the working directory or to the task."""
        files = self._kwargs.get("data_files")
        if isinstance(files, Mapping):
            files = files.get(self.split(split))
        names = [files] if isinstance(files, str) else files or []
        if not names:
            raise BadInput(
                f"{self.file}: dataset_kwargs.data_files names no file of the {split} split"
            )
        found = [name if Path(name).is_file() else self.file.parent / name for name in names]
        return [Path(name) for name in found]

    def hashes(self, split: str) -> list[str]:
        """Content hashes of all files that a split is read from; of a hub data set its revision."""
        self._check(split)
        if self.hub is not None:
            return [*map(hash_path, self.included), revision(self.file.name, self.hub)]
        return [hash_path(file) for file in (*self.included, *self.data_files(split))]

    def rows(self, split: str) -> Iterator[Row]:
        """The rows of a split in the shared schema. Raises BadInput where the task has no such
        split, and for a row that its templates do not fit."""
        for number, doc in enumerate(self.docs(split), 1):
            try:
                yield self.row(doc)
            except (LookupError, SyntaxError, TypeError, ValueError, re.error) as error:
                raise BadInput(f"{self.file}: row {number} of its data: {error}") from None

    def docs(self, split: str) -> Iterator[Row]:
        """The rows of the data set as they are."""
        self._check(split)
        if self.hub is not None:
            yield from streamed(self.file.name, self.hub, split)
            return
        for file in self.data_files(split):
            yield from read_rows(file)

    def row(self, doc: Row) -> JsonObject:
        """A row of the shared schema. Raises ValueError for a template that fails on it."""
        question = f"{self.values.get('description') or ''}{self._text(doc)}"
        target = self._value("doc_to_target", doc)
        if self.values["output_type"] == "multiple_choice":
            choices = self._choices(doc)
            return _with_options(question, choices, _index(target, choices))
        targets = target if isinstance(target, list) else [target]
        answers = [self._filtered(self._cleaned(str(one))) for one in targets]
        row: JsonObject = {
            "question": question,
            "answer": answers if len(answers) > 1 else answers[0],
        }
        if len(targets) == 1 and answers[0] != str(target).strip():
            row["solution"] = str(target)
        return row

    def _text(self, doc: Row) -> str:
        text = self._value("doc_to_text", doc)
        if not isinstance(text, str):
            raise ValueError("doc_to_text chooses among several inputs, which is not supported")
        return text

    def _value(self, key: str, doc: Row) -> Any:
        """As lm-evaluation-harness reads `doc_to_text` and `doc_to_target`: a column's name, a
        template, or a value; an index among choices, or a list, is written as such."""
        given = self.values[key]
        if not isinstance(given, str):
            return given
        if given in doc:
            return doc[given]
        text = self._rendered(given, doc)
        if text.isdigit() and self.values.get("doc_to_choice") is not None:
            return int(text)
        if key == "doc_to_target" and re.fullmatch(r"\[.*\]", text, re.DOTALL):
            try:
                return ast.literal_eval(text)
            except (SyntaxError, ValueError):
                return text
        return text

    def _choices(self, doc: Row) -> list[str]:
        given = self.values["doc_to_choice"]
        if isinstance(given, str):
            given = doc[given] if given in doc else ast.literal_eval(self._rendered(given, doc))
        options = given.values() if isinstance(given, Mapping) else given
        return [str(option) for option in options]

    def _rendered(self, template: str, doc: Row) -> str:
        from jinja2 import TemplateError

        try:
            return str(self._environment.from_string(template).render(**doc))
        except TemplateError as error:
            raise ValueError(f"the template {template[:60]!r} fails: {error}") from None

    @cached_property
    def _environment(self) -> Any:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined, keep_trailing_newline=True
        )
        environment.filters["regex_replace"] = lambda text, pattern, new, count=0: re.sub(
            pattern, new, text, count=count
        )
        return environment

    def _cleaned(self, target: str) -> str:
        for metric in self.values.get("metric_list") or ():
            for pattern in metric.get("regexes_to_ignore") or ():
                target = re.sub(pattern, "", target)
        return target.strip()

    def _filtered(self, target: str) -> str:
        """What the task's filters take out of a target that is no answer by itself, such as a whole
        solution: they are written for answers of that form. Raises ValueError for a target of
        several lines in which none finds an answer."""
        steps = [
            step
            for pipeline in self.values.get("filter_list") or ()
            for step in pipeline.get("filter") or ()
            if step.get("function") == "regex" and step.get("regex_pattern")
        ]
        if not steps or is_short(target):
            return target
        for step in steps:
            if found := re.findall(step["regex_pattern"], target):
                match = found[step.get("group_select", 0)]
                groups = match if isinstance(match, tuple) else (match,)
                return next((group for group in groups if group), "").strip()
        if "\n" not in target:  # long, but perhaps the answer
            return target
        raise ValueError(
            f"the target {target[:40]!r} is a whole solution, in which no filter finds an answer; "
            "write doc_to_target or regexes_to_ignore so that the answer alone is left"
        )


def _index(target: Any, choices: list[str]) -> int:
    if isinstance(target, str) and target in choices:
        return choices.index(target)
    if isinstance(target, int) and 0 <= target < len(choices):
        return int(target)
    raise ValueError(f"the target {target!r} is none of the {len(choices)} choices")


def _with_options(question: str, choices: list[str], answer: int) -> JsonObject:
    """A multiple-choice row. Where the choices are bare letters, the options are read from the
    lines of the question that begin with them: a prompt lists its options once."""
    if choices == list(LETTERS[: len(choices)]):
        lines = {
            letter: re.search(rf"^\(?{letter}[.):] (.*)\n?", question, re.M) for letter in choices
        }
        if all(lines.values()):
            choices = [found[1].strip() for found in lines.values() if found]
            for found in lines.values():
                question = question.replace(found[0], "", 1) if found else question
    return {"question": question, "choices": choices, "answer": answer}


def task_of(data: DataConfig) -> Task | None:
    """The task that a source is; None for any other source."""
    if data.path is None or ending(data.path) not in TASK_ENDINGS:
        return None
    return read_task(Path(data.path))


def read_task(file: Path) -> Task:
    """Raises BadInput for a file that is no task, or one with unsupported parts."""
    values, included = _merged(file, ())
    for key in UNSUPPORTED:
        if values.get(key):
            raise BadInput(f"{file}: {key} is not supported in a task")
    output = values.setdefault("output_type", "generate_until")
    if output not in OUTPUTS:
        raise BadInput(f"{file}: output_type {output!r} is not one of {', '.join(OUTPUTS)}")
    needed = (*NEEDED, "doc_to_choice") if output == "multiple_choice" else NEEDED
    for key in needed:
        if values.get(key) is None:
            raise BadInput(f"{file}: a task with output_type {output} needs {key}")
    if (values.get("dataset_kwargs") or {}).get("trust_remote_code"):
        raise BadInput(f"{file}: trust_remote_code is not supported")
    return Task(file, values, included)


def _merged(file: Path, within: tuple[Path, ...]) -> tuple[JsonObject, tuple[Path, ...]]:
    """The keys of a file over those of the file that it includes, and all files that were read."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses Python."""

    def refuse(loader: yaml.SafeLoader, node: yaml.Node) -> None:
        raise BadInput(
            f"{file}: !function {node.value} is Python, which a task may not run here; write it as "
            "a template"
        )

    Loader.add_constructor("!function", refuse)
    if file in within:
        raise BadInput(f"{file} includes itself")
    try:
        values = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise BadInput(f"{file} holds no task")
    base = values.pop("include", None)
    if base is None:
        return values, (file,)
    below, files = _merged(file.parent / str(base), (*within, file))
    return {**below, **values}, (file, *files)
