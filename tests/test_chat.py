"""Chat with a model: requests, streaming, and output in a terminal."""

import os
import pty
import re
import select
import sys
import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import ROOT, command, done, tiny_gemma
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig

from eval import chat, chat_display
from eval.chat_display import CLEAR, DIM, CompletionPrinter, visible
from ratiocine import models
from ratiocine.completion_parts import render, split
from ratiocine.engines import Request, TextStreamer, TransformersEngine, pack_linears, stream
from ratiocine.models import ModelConfig
from ratiocine.prompts import PREFILLED
from ratiocine.records import Completion
from ratiocine.rendering import Rendering

TINY = ModelConfig(name="tiny", kind="tiny")
SENTENCE = "Put only the answer in \\boxed{}."


@pytest.fixture(scope="module")
def engine() -> TransformersEngine:
    return TransformersEngine(models.load_model(TINY, "cpu"), models.load_tokenizer(TINY), (1,))


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose chat template opens the think block: it never comes to an answer."""
    tokenizer = models.load_tokenizer(TINY)
    tokenizer.chat_template += PREFILLED
    folder = tmp_path_factory.mktemp("thinker") / "model"
    models.save_student(models.load_model(TINY, "cpu"), tokenizer, folder, None)
    return folder


def asked(question: str, budget: int = 24, **more) -> Request:
    return Request(
        question, ({"role": "user", "content": f"{SENTENCE}\n{question}"},), budget, **more
    )


def batched(engine: TransformersEngine, request: Request) -> Completion:
    ((trace,),) = engine.generate([request])
    return trace


def answers(shown: str) -> list[tuple[str, str]]:
    """Questions and answers of a command without colours."""
    return re.findall(r"> (.*)\nanswer:\n((?:.|\n)*?)\n\d+ tokens of trace", shown)


# --- the command


def test_questions_are_answered_as_benchmarks_are(engine: TransformersEngine) -> None:
    shown = done(
        "eval.chat",
        "tiny",
        "--question",
        "1+1?",
        "--question",
        "2+2?",
        "--question",
        "1+1?",
        "--max-new-tokens",
        "24",
    )
    found = answers(shown)
    assert [question for question, _ in found] == ["1+1?", "2+2?", "1+1?"]
    assert found[0] == found[2], "greedy"
    for question, answer in found:
        assert answer == visible(batched(engine, asked(question)).text.strip(chat_display.BLANK))
    assert (
        shown.count("0 tokens of trace, 24 of answer; ")
        == shown.count("; truncated at 24 tokens")
        == 3
    )
    assert "\x1b" not in shown


def test_the_sentence_before_a_question_can_be_none(engine: TransformersEngine) -> None:
    ((_, answer),) = answers(
        done(
            "eval.chat", "tiny", "--question", "1+1?", "--max-new-tokens", "8", "--instruction", ""
        )
    )
    alone = Request("x", ({"role": "user", "content": "1+1?"},), 8)
    assert answer == visible(batched(engine, alone).text.strip(chat_display.BLANK))


def test_questions_come_from_standard_input(tmp_path: Path) -> None:
    (tmp_path / "questions").write_bytes("1+1?\n\n   \n2+2? \x1b[31m\xff".encode("latin-1"))
    found = answers(
        done("eval.chat", "tiny", "--max-new-tokens", "4", stdin=str(tmp_path / "questions"))
    )
    assert [question for question, _ in found] == ["1+1?", "2+2? \\x1b[31m�"]


def test_asked_again_at_a_temperature_a_question_is_answered_anew(
    engine: TransformersEngine,
) -> None:
    words = (
        "eval.chat",
        "tiny",
        *("--question", "1+1?") * 2,
        "--temperature",
        "1",
        "--max-new-tokens",
        "8",
        "--seed",
        "3",
    )
    first, second = (answer for _, answer in answers(done(*words)))
    assert first != second

    def told(seed: int, sample: int) -> str:
        request = asked("1+1?", 8, temperature=1.0, seed=seed, samples=(sample,))
        return visible(stream(engine, request, lambda text: None).text.strip(chat_display.BLANK))

    assert [told(3, 0), told(3, 1)] == [first, second]
    assert told(4, 0) not in (first, second)


def test_a_trace_stands_below_its_heading(thinker: Path) -> None:
    shown = done("eval.chat", str(thinker), "--question", "1+1?", "--max-new-tokens", "24")
    assert shown.startswith("> 1+1?\nthinking:\n")
    assert "answer:" not in shown
    assert "\n24 tokens of trace, 0 of answer; " in shown


def test_a_student_is_asked_as_it_was_taught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the switch off the prompt ends in an empty think block, as for direct answers."""
    tokenizer = models.load_tokenizer(TINY)
    rendering = Rendering(tokenizer, "switch")
    for taught in ("ift", "reasoning"):
        folder = tmp_path / taught
        models.save_student(
            models.load_model(TINY, "cpu"), tokenizer, folder, rendering.record([taught])
        )
        for words, thinking in (
            ((), taught == "reasoning"),
            (("--thinking", "on"), True),
            (("--thinking", "off"), False),
        ):
            monkeypatch.setattr(sys, "argv", ["chat", str(folder), *words])
            assert chat.configured(chat.parse()).thinking is thinking


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tinny",), "unknown model 'tinny'; known: "),
        (("no/such/folder",), "model=no/such/folder is not a local folder"),
        (("tiny", "--max-new-tokens", "0"), "max_new_tokens='0': should be a number of tokens"),
        (
            ("tiny", "--max-new-tokens", "auto"),
            "max_new_tokens='auto': should be a number of tokens",
        ),
        (
            ("tiny", "--temperature", "-0.5"),
            "temperature='-0.5': should be greater than or equal to 0",
        ),
        (("tiny", "--temperature", "nan"), "temperature='nan': should be"),
        (("tiny", "--device", "tpu"), "device='tpu': should be 'auto', 'cpu', 'cuda' or 'mps'"),
        (
            ("tiny", "--chat-template", "x"),
            "model.chat_template='x': should be 'own', 'chatml', 'gemma', 'plain' or 'r1-zero'",
        ),
        (
            ("tiny", "--thinking", "on"),
            "thinking cannot be set: this model's chat template has no switch (enable_thinking)",
        ),
        (("tiny", "--question", " "), "--question=' ' asks nothing"),
        (
            ("tiny", "--question", "\udcff\x1b"),
            "--question=\\udcff\\x1b is not text in this terminal's encoding",
        ),
        (("tiny,smollm2-135m",), ""),
        (("",), ""),
    ],
)
def test_bad_input_is_said_in_one_line(words: tuple[str, ...], said: str) -> None:
    refused = command("eval.chat", *words)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"chat: {said}")
    assert len(refused.stderr.splitlines()) == 1


def test_an_end_of_input_leaves(tmp_path: Path) -> None:
    """Ctrl-D is typed ahead, behind an empty line and a question."""
    master, slave = pty.openpty()
    os.write(master, b"\n1+1?\n\x04")
    shown = done("eval.chat", "tiny", "--max-new-tokens", "4", stdin=os.ttyname(slave))
    os.close(slave)
    os.close(master)
    assert shown.startswith("Ctrl-C stops an answer, Ctrl-D leaves\n> > answer:\n")
    assert shown.endswith("; truncated at 4 tokens\n\n> \n")


def test_interrupts_in_a_terminal(thinker: Path) -> None:
    """During an answer Ctrl-C ends that answer alone; at the prompt it ends the command."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {
            "TERM": "dumb"
        }
        os.execve(
            sys.executable,
            [sys.executable, "-m", "eval.chat", str(thinker), "--max-new-tokens", "2000"],
            environment,
        )
    try:
        read_until(terminal, "\n> ")
        os.write(terminal, b"1+1?\n")
        read_until(terminal, DIM)
        os.write(terminal, b"\x03")
        shown = read_until(terminal, "\n> ")
        assert re.search(
            r"\x1b\[2m\d+ tokens of trace, 0 of answer; [\d.]+ tokens a second; interrupted"
            r"\x1b\[0m",
            shown,
        )
        assert "chat: interrupted" in read_until(terminal, "interrupted", pressing=b"\x03")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    finally:
        os.close(terminal)  # which ends what is still there


def read_until(terminal: int, wanted: str, pressing: bytes = b"") -> str:
    """The output up to the wanted text. A key is pressed again after two seconds without output:
    one that arrives while the line is being set up waits for the next."""
    shown, end = b"", time.monotonic() + 120
    os.write(terminal, pressing)
    while wanted not in shown.decode(errors="replace"):
        if select.select([terminal], [], [], 2 if pressing else end - time.monotonic())[0]:
            shown += os.read(terminal, 65536)
        else:
            os.write(terminal, pressing)
        assert time.monotonic() < end, shown
    return shown.decode(errors="replace")


# --- what is written


@pytest.mark.parametrize("stop", [(), ("\\", "a")])
def test_a_stream_is_what_the_engine_writes(
    engine: TransformersEngine, stop: tuple[str, ...]
) -> None:
    """Whatever generation settings a model brings along."""
    hostile = GenerationConfig(
        do_sample=True,
        temperature=9.0,
        top_k=3,
        repetition_penalty=7.0,
        no_repeat_ngram_size=1,
        min_new_tokens=3,
        suppress_tokens=list(range(2, 200)),
        eos_token_id=[1, 77],
        max_length=3,
    )
    for question in ("1+1?", "Hello", "x" * 50):
        engine.model.generation_config = hostile
        request, pieces = asked(question, 60, stop=stop), list[str]()
        trace = stream(engine, request, pieces.append)
        expected = batched(engine, request)
        assert (trace.token_ids, trace.text, trace.stop) == (
            expected.token_ids,
            expected.text,
            expected.stop,
        )
        assert (trace.n_prompt, trace.n_completion, trace.id) == (
            expected.n_prompt,
            expected.n_completion,
            question,
        )
        assert "".join(pieces).startswith(trace.text)
        if not stop:
            assert "".join(pieces) == trace.text


def test_a_stream_in_bfloat16_is_what_the_engine_writes() -> None:
    """`generate` has a cache of its own, in bfloat16, and masks for sliding windows."""
    model = tiny_gemma().bfloat16().eval()
    pack_linears(model)
    packed = TransformersEngine(model, models.load_tokenizer(TINY), (1,))
    ids = stream(packed, asked("1+1?"), lambda text: None).token_ids
    assert len(ids) == 24
    assert ids[:2] == batched(packed, asked("1+1?")).token_ids[:2]  # later ones may differ


def test_a_turn_that_the_model_ends(engine: TransformersEngine) -> None:
    """With its first new token as end of turn, which is neither in the text nor streamed."""
    ids = batched(engine, asked("1+1?", 60)).token_ids
    last = next(i for i in range(5, 60) if ids[i] not in ids[:i])
    ending = TransformersEngine(engine.model, engine.tokenizer, (ids[last],))
    pieces: list[str] = []
    trace = stream(ending, asked("1+1?", 60), pieces.append)
    assert (trace.stop, trace.token_ids) == ("stop", ids[: last + 1])
    assert (
        "".join(pieces)
        == trace.text
        == batched(ending, asked("1+1?", 60)).text
        == engine.tokenizer.decode(ids[:last])
    )


def test_a_stream_comes_token_by_token_and_in_whole_characters(engine: TransformersEngine) -> None:
    """A token of the tiny model is a byte."""
    text, got = "Ça va? 👍\n  naïve\n\n½", list[str]()
    pieces = TextStreamer(engine.tokenizer, (1,), got.append)
    pieces.put(torch.tensor([[5, 6, 7]]))
    for token in [*engine.tokenizer(text)["input_ids"], 1]:
        pieces.put(torch.tensor([token]))
    assert got == list(text)
    pieces.put(torch.tensor(engine.tokenizer("é")["input_ids"][:1]))
    pieces.end()
    assert got[-1] == "\ufffd"


def test_a_halted_stream_ends(engine: TransformersEngine) -> None:
    seen: list[int] = []
    trace = stream(
        engine, asked("1+1?"), lambda text: None, lambda: seen.append(0) or len(seen) == 5
    )
    assert (trace.n_completion, trace.stop) == (5, "length")


def test_the_summary_tells_what_the_grader_would_read() -> None:
    tokenizer = models.load_tokenizer(TINY)
    text = render("It is \\boxed{4\x1b\n2}.", "I think.")
    trace = Completion("x", text, "stop", 5, len(text) + 1, 2.0)
    think = len(text.rpartition("</think>")[0] + "</think>")
    assert chat_display.summary(trace, tokenizer) == (
        f"{think} tokens of trace, {len(text) + 1 - think} of answer; "
        f"{(len(text) + 1) / 2:.1f} tokens a second; "
        "boxed: 4\\x1b 2"
    )
    cut = Completion("x", "It is \\boxed{4", "length", 5, 14, 2.0)
    assert chat_display.summary(cut, tokenizer).endswith("; truncated at 14 tokens")
    assert chat_display.summary(cut, tokenizer, interrupted=True).endswith("; interrupted")


# --- what is shown


@settings(deadline=None, max_examples=300)
@given(st.text(st.characters()))
@example(
    "\x1b]0;title\x07\x1b[2J\r\x9b31m\u202egnp.exe\u2066\u200b\ud800\U000e0041\x7f\ufeff\u2028"
)
def test_nothing_reaches_a_terminal_but_text(text: str) -> None:
    shown = visible(text)
    assert all(c in "\n\t" or c.isprintable() or unicodedata.category(c) == "Zs" for c in shown)
    assert visible(shown) == shown
    if text.isprintable():
        assert shown == text


def test_escapes_are_visible() -> None:
    assert (
        visible("a\x1b[31m\r\u202eb\tc\n\\boxed{½}\u00a0é👍")
        == "a\\x1b[31m\\r\\u202eb\tc\n\\boxed{½}\u00a0é👍"
    )


def shown(pieces: list[str], **more) -> str:
    out: list[str] = []
    printer = CompletionPrinter(out.append, **{"thinking": False, "colour": False, **more})
    for piece in pieces:
        printer.write(piece)
    printer.end()
    return "".join(out)


TEXTS = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<", "th", "ink>", "\nQuestion:", "\n", " ", "a", "\x1b"]
    ),
    max_size=12,
)


@settings(deadline=None, max_examples=300)
@given(TEXTS.map("".join), st.lists(st.integers(0, 60), max_size=6), st.booleans(), st.booleans())
def test_it_does_not_matter_how_a_completion_is_cut(
    text: str, cuts: list[int], thinking: bool, colour: bool
) -> None:
    more = {"thinking": thinking, "stop": ("\nQuestion:",)}
    at = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(at)]
    assert shown(pieces, **more, colour=False) == shown([text], **more, colour=False)
    coloured = shown(pieces, **more, colour=True)
    assert coloured.count(DIM) == coloured.count(CLEAR)
    plain = re.sub(r"(?m)^(thinking|answer):\n", "", shown([text], **more, colour=False))
    assert coloured.replace(DIM, "").replace(CLEAR, "") == plain


@settings(deadline=None, max_examples=200)
@given(st.text("ab <\n\\", max_size=20), st.none() | st.text("ab <\n\\", max_size=20))
def test_trace_and_answer_are_those_that_are_graded(answer: str, think: str | None) -> None:
    text = render(answer, think)
    parts = split(text)
    expected = [
        f"{name}:\n{part.strip(chat_display.BLANK)}\n"
        for name, part in (("thinking", parts.think), ("answer", parts.answer))
        if part
    ]
    assert shown(list(text)) == "".join(expected)


def test_what_is_dim() -> None:
    trace = "<think>\none two\n</think>\n\n4"
    assert shown([trace], colour=True) == f"{DIM}one two{CLEAR}\n4\n"
    assert shown([trace]) == "thinking:\none two\nanswer:\n4\n"
    assert shown(["one </think> 4"], thinking=True) == "thinking:\none\nanswer:\n4\n"
    assert shown(["<think>\n\n</think>\n\n4"]) == "answer:\n4\n"
    assert shown(["4\n\nQuestion: 2"], stop=("\nQuestion:",)) == "answer:\n4\n"
    assert (
        shown(["<think>a\nQuestion: b</think>4"], stop=("\nQuestion:",))
        == "thinking:\na\nQuestion: b\nanswer:\n4\n"
    )
