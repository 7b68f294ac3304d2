"""python -m eval.chat MODEL: talk to a student, or to any model, and watch it think.

Every question stands alone, as in training, and is put as a benchmark of your own would put it: under the sentence of
`conf/data/local.yaml`, in the model's chat template, with its switch for thinking as the student was taught. What a model
writes is shown as it is written and never obeyed: control characters appear as escapes.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import signal
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from eval.config import Config
from ratiocine import cli, engines, models
from ratiocine.data import DataConfig
from ratiocine.engines import Request
from ratiocine.errors import BadInput
from ratiocine.evaluate import thinking_tokens
from ratiocine.prompts import CLOSE, OPEN, PLAIN_STOP, opens_thinking, prompt_text, split
from ratiocine.records import Completion
from ratiocine.rendering import asked_to_think

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BLANK = " \t\n"
DIM, CLEAR = "\x1b[2m", "\x1b[0m"


def main() -> None:
    options = parse()
    for pipe, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(pipe, io.TextIOWrapper):
            pipe.reconfigure(errors=errors)
    config = configured(options)
    started = engines.load(
        config.engine,
        config.model,
        required=set() if config.thinking is None else {"thinking"},
        dtype=config.dtype,
        device=config.device,
    )
    from ratiocine.engines import TransformersEngine, stream

    engine, tokenizer = started.engine, started.tokenizer
    assert isinstance(engine, TransformersEngine)
    assert tokenizer is not None
    talking = not options.question and sys.stdin.isatty()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    asked: Counter[str] = Counter()
    if talking:
        print("Ctrl-C stops an answer, Ctrl-D leaves")
    for question in questions(options.question, talking):
        request = put(config, question, options.instruction, asked[question])
        asked[question] += 1
        opened = opens_thinking(prompt_text(tokenizer, request.messages, request.thinking))
        shown = Shown(
            partial(print, end="", flush=True), thinking=opened, colour=colour, stop=request.stop
        )
        with halting(talking) as halted:
            trace = stream(engine, request, shown.write, halted)
            shown.end()
            told = summary(trace, tokenizer, interrupted=halted())
        print(f"{DIM}{told}{CLEAR}\n" if colour else f"{told}\n", flush=True)


def parse() -> argparse.Namespace:
    """The command line. Raises BadInput where a text in it is no text."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.chat", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a name from conf/model, a folder such as runs/half/model, or a hub id",
    )
    parser.add_argument(
        "--question",
        action="append",
        metavar="TEXT",
        help="ask this and leave; may be given several times",
    )
    parser.add_argument(
        "--thinking",
        choices=("on", "off"),
        help="the chat template's own switch (default: as it was taught)",
    )
    parser.add_argument(
        "--max-new-tokens",
        default=512,
        metavar="N",
        help="tokens that an answer may take (default: 512)",
    )
    parser.add_argument("--temperature", default=0, metavar="T", help="0, the default, is greedy")
    parser.add_argument(
        "--seed",
        default=0,
        metavar="N",
        help="for a temperature; asked again, a question is answered anew",
    )
    parser.add_argument("--device", default="auto", help="auto, cuda, mps or cpu (default: auto)")
    parser.add_argument(
        "--chat-template",
        metavar="NAME",
        help="plain, r1-zero or chatml, for models that bring none",
    )
    parser.add_argument(
        "--instruction",
        metavar="TEXT",
        default=cli.named("data", "local", DataConfig).instruction,
        help="the sentence before a question, '' for none (default: %(default)s)",
    )
    options = cli.parse_args(parser, {"--budget": "--max-new-tokens"})
    for name, texts in (
        ("question", options.question or []),
        ("instruction", [options.instruction]),
    ):
        for text in texts:
            if not text.isprintable() and any(
                unicodedata.category(letter) == "Cs" for letter in text
            ):
                raise BadInput(f"--{name}={visible(text)} is not text in this terminal's encoding")
            if name == "question" and not text.strip():
                raise BadInput(f"--question={text!r} asks nothing")
    return options


def configured(options: argparse.Namespace) -> Config:
    """What `python -m eval` would be told, checked as it is there. Raises BadInput in its words."""
    values = cli.compose("eval", Config, [f"model={options.model}"]).model_dump()
    if options.chat_template:
        values["model"]["chat_template"] = options.chat_template
    told = {
        key: getattr(options, key)
        for key in ("thinking", "max_new_tokens", "temperature", "seed", "device")
    }
    config = cli.check(Config, {**values, **told})
    folder = models.locate(config.model)
    if config.thinking is None and folder is not None:
        return config.model_copy(update={"thinking": asked_to_think(folder)})
    return config


def put(config: Config, question: str, instruction: str, sample: int) -> Request:
    """A question as benchmarks put theirs; `sample` says how often it has been asked before."""
    assert config.max_new_tokens is not None
    return Request(
        question,
        ({"role": "user", "content": "\n".join(filter(None, (instruction, question)))},),
        config.max_new_tokens,
        thinking=config.thinking,
        stop=PLAIN_STOP if config.model.chat_template == "plain" else (),
        temperature=config.temperature,
        seed=config.seed,
        samples=(sample,),
    )


def questions(given: Sequence[str] | None, talking: bool) -> Iterator[str]:
    """Those given, or those typed at a prompt until Ctrl-D, or a line of standard input each; empty ones are passed over. What
    was not typed here is shown, so that an answer stands below its question."""
    if talking:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() then edits lines and remembers them)
    for text in typed() if talking else given or sys.stdin:
        if question := text.strip():
            if not talking:
                print(f"> {visible(question)}", flush=True)
            yield question


def typed() -> Iterator[str]:
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt) as end:
            print()
            if isinstance(end, EOFError):
                return
            raise


@contextlib.contextmanager
def halting(talking: bool) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C has been pressed within: at a prompt it ends an answer, pressed again, or elsewhere, the command."""
    pressed: list[int] = []

    def press(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press) if talking else None
    try:
        yield lambda: bool(pressed)
    finally:
        if talking:
            signal.signal(signal.SIGINT, before)


def visible(text: str) -> str:
    """Text that a terminal shows and does not obey: everything but printable characters, spaces, tabs and newlines (control
    characters, overrides of direction, what is invisible) becomes the escape that Python writes for it."""
    return "".join(
        letter
        if letter.isprintable() or letter in "\n\t" or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


class Shown:
    """A completion as it comes, in pieces of any length: its trace dim, or below a heading where there is no colour, then its
    answer; `thinking` says that the prompt has opened the trace. Blanks around both are left out, and so is what follows a
    stop string in an answer."""

    def __init__(
        self, out: Callable[[str], None], *, thinking: bool, colour: bool, stop: Sequence[str] = ()
    ) -> None:
        self.out, self.thinking, self.colour = out, thinking, colour
        self.marks = (OPEN, CLOSE, *stop)
        self.pattern = re.compile("|".join(map(re.escape, self.marks)))
        self.held = ""  # may be the beginning of a mark
        self.blank = ""  # may be the end of a part
        self.begun = self.over = False

    def write(self, text: str) -> None:
        text, at = self.held + text, 0
        for found in self.pattern.finditer(text):
            self._show(text[at : found.start()])
            at = found.end()
            self._mark(found[0])
        rest = text[at:]
        self.held = next(
            rest[i:]
            for i in range(len(rest) + 1)
            if any(mark.startswith(rest[i:]) for mark in self.marks)
        )
        self._show(rest[: len(rest) - len(self.held)])

    def end(self) -> None:
        self._show(self.held)
        self._part(False)

    def _mark(self, mark: str) -> None:
        if mark == CLOSE or (mark == OPEN and not self.thinking):
            self._part(mark == OPEN)
        elif mark == OPEN or self.thinking:
            self._show(mark)
        else:
            self.over = True

    def _part(self, thinking: bool) -> None:
        """What follows is the trace, or the answer."""
        if self.begun:
            self.out("\n")
        self.thinking, self.begun, self.blank = thinking, False, ""

    def _show(self, text: str) -> None:
        text = self.blank + text if self.begun else text.lstrip(BLANK)
        body = text.rstrip(BLANK)
        self.blank = text[len(body) :]
        if not body or self.over:
            return
        if not self.begun and not self.colour:
            self.out("thinking:\n" if self.thinking else "answer:\n")
        self.begun = True
        self.out(f"{DIM}{visible(body)}{CLEAR}" if self.colour and self.thinking else visible(body))


def summary(
    trace: Completion, tokenizer: PreTrainedTokenizerBase, *, interrupted: bool = False
) -> str:
    """A line on a completion: its tokens, their rate, why it ended where the model did not end it, and what stands in the box
    that the grader would read."""
    parts = split(trace.text, opened=trace.opened)
    thinking = thinking_tokens(trace, parts, tokenizer)
    told = [
        f"{thinking} tokens of trace, {trace.n_completion - thinking} of answer",
        f"{trace.n_completion / max(trace.seconds, 1e-4):.1f} tokens a second",
    ]
    if interrupted:
        told.append("interrupted")
    elif trace.stop == "length":
        told.append(f"cut at the budget of {trace.n_completion}")
    if parts.boxed:
        told.append(f"boxed: {visible(' '.join(parts.boxed.split()))}")
    return "; ".join(told)


if __name__ == "__main__":
    cli.leave("ask", main)
