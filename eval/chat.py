"""python -m eval.chat MODEL: chat with a student or any other model, and see its reasoning.

Each question stands alone, as in training, and is asked as a benchmark of your own would ask it:
with the instruction of `conf/data/local.yaml`, in the model's chat template, with its thinking
switch as the student was taught. Model output is shown as it is generated, with control characters
escaped.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from eval.chat_display import CLEAR, DIM, CompletionPrinter, summary, visible
from eval.config import Config
from ratiocine import cli, engines, models
from ratiocine.data import DataConfig
from ratiocine.engines import Request
from ratiocine.errors import BadInput
from ratiocine.prompts import PLAIN_STOP, opens_thinking, prompt_text
from ratiocine.rendering import asked_to_think


def main() -> None:
    options = parse()
    for pipe, errors in ((sys.stdin, "replace"), (sys.stdout, "backslashreplace")):
        if isinstance(pipe, io.TextIOWrapper):
            pipe.reconfigure(errors=errors)
    config = configured(options)
    loaded = engines.load(
        config.engine,
        config.model,
        required=set() if config.thinking is None else {"thinking"},
        dtype=config.dtype,
        device=config.device,
    )
    from ratiocine.engines import TransformersEngine, stream

    engine, tokenizer = loaded.engine, loaded.tokenizer
    assert isinstance(engine, TransformersEngine)
    assert tokenizer is not None
    interactive = not options.question and sys.stdin.isatty()
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    times_asked: Counter[str] = Counter()
    if interactive:
        print("Ctrl-C stops an answer, Ctrl-D leaves")
    for question in questions(options.question, interactive):
        request = request_for(config, question, options.instruction, times_asked[question])
        times_asked[question] += 1
        prompt = prompt_text(tokenizer, request.messages, request.thinking)
        printer = CompletionPrinter(
            partial(print, end="", flush=True),
            thinking=opens_thinking(prompt),
            colour=colour,
            stop=request.stop,
        )
        with interruptible(interactive) as interrupted:
            completion = stream(engine, request, printer.write, interrupted)
            printer.end()
            line = summary(completion, tokenizer, interrupted=interrupted())
        print(f"{DIM}{line}{CLEAR}\n" if colour else f"{line}\n", flush=True)


def parse() -> argparse.Namespace:
    """The command line. Raises BadInput for an argument that is not text in this encoding, and for
    an empty question."""
    parser = cli.argument_parser("eval.chat", __doc__)
    add = parser.add_argument
    add(
        "model",
        metavar="MODEL",
        help="a name from conf/model, a folder such as runs/half/model, or a hub id",
    )
    add("--question", action="append", metavar="TEXT", help="ask this and leave; may be repeated")
    add(
        "--thinking",
        choices=("on", "off"),
        help="switch of the chat template (default: as the student was taught)",
    )
    add("--max-new-tokens", default=512, metavar="N", help="limit of an answer (default: 512)")
    add("--temperature", default=0, metavar="T", help="0, the default, is greedy")
    add("--seed", default=0, metavar="N", help="for sampling; a repeated question has a new sample")
    add("--device", default="auto", help="auto, cuda, mps or cpu (default: auto)")
    add(
        "--chat-template",
        metavar="NAME",
        help="plain, r1-zero or chatml, for models without a template",
    )
    add(
        "--instruction",
        metavar="TEXT",
        default=cli.named("data", "local", DataConfig).instruction,
        help="sentence before a question, '' for none (default: %(default)s)",
    )
    options = cli.parse_args(parser, {"--budget": "--max-new-tokens"})
    for text in [*(options.question or []), options.instruction]:
        if any(unicodedata.category(letter) == "Cs" for letter in text):
            name = "instruction" if text == options.instruction else "question"
            raise BadInput(f"--{name}={visible(text)} is not text in this terminal's encoding")
    for text in options.question or []:
        if not text.strip():
            raise BadInput(f"--question={text!r} asks nothing")
    return options


def configured(options: argparse.Namespace) -> Config:
    """The configuration of `python -m eval` for these options; raises BadInput in its words."""
    values = cli.compose("eval", Config, [f"model={options.model}"]).model_dump()
    if options.chat_template:
        values["model"]["chat_template"] = options.chat_template
    limit = str(options.max_new_tokens)
    if not limit.isdecimal() or int(limit) == 0:  # `auto` needs a benchmark
        raise BadInput(f"max_new_tokens={limit!r}: should be a number of tokens above 0")
    keys = ("thinking", "max_new_tokens", "temperature", "seed", "device")
    config = cli.check(Config, {**values, **{key: getattr(options, key) for key in keys}})
    folder = models.locate(config.model)
    if config.thinking is None and folder is not None:
        return config.model_copy(update={"thinking": asked_to_think(folder)})
    return config


def request_for(config: Config, question: str, instruction: str, sample: int) -> Request:
    """A question as benchmarks ask theirs; `sample` counts its earlier completions."""
    assert isinstance(config.max_new_tokens, int)
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


def questions(given: Sequence[str] | None, interactive: bool) -> Iterator[str]:
    """The given questions, or those typed at a prompt until Ctrl-D, or the lines of standard input;
    empty ones are skipped. A question that was not typed is printed, above its answer."""
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() then has line editing and a history)
    for text in typed() if interactive else given or sys.stdin:
        if question := text.strip():
            if not interactive:
                print(f"> {visible(question)}", flush=True)
            yield question


def typed() -> Iterator[str]:
    """Lines typed at a prompt."""
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt) as end:
            print()
            if isinstance(end, EOFError):
                return
            raise


@contextlib.contextmanager
def interruptible(interactive: bool) -> Iterator[Callable[[], bool]]:
    """Yields whether Ctrl-C was pressed in the block. At a prompt it ends the answer, and pressed
    again the command; elsewhere it ends the command at once."""
    pressed: list[int] = []

    def press(number: int, frame: object) -> None:
        if pressed:
            raise KeyboardInterrupt
        pressed.append(number)

    before = signal.signal(signal.SIGINT, press) if interactive else None
    try:
        yield lambda: bool(pressed)
    finally:
        if interactive:
            signal.signal(signal.SIGINT, before)


if __name__ == "__main__":
    cli.leave("chat", main)
