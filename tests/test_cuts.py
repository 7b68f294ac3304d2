"""Cuts of traces, by hand, as properties, and on a real tokenizer."""

from math import log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratiocine import cli, models
from ratiocine.completion_parts import render
from ratiocine.cuts import BY, By, cut, step_ends, token_ends, trace_end
from ratiocine.models import ModelConfig

TRACE = "<think>\n2 + 3 = 5\n5 + 4 = 9\n\nso 9\n</think>\n\n9"


def letters(ids: list[int]) -> str:
    return "".join(map(chr, ids))


def surprised(text: str, *where: int) -> list[float]:
    """A certain model, but at these characters, where each next one of two is as likely."""
    return [log(0.5) if at in where else 0.0 for at in range(len(text))]


def test_steps_by_hand() -> None:
    trace = TRACE[: trace_end(TRACE)]
    assert trace == "<think>\n2 + 3 = 5\n5 + 4 = 9\n\nso 9\n"
    assert [trace[:end] for end in step_ends(trace)] == [
        "<think>\n2 + 3 = 5\n",
        "<think>\n2 + 3 = 5\n5 + 4 = 9\n\n",
        trace,
    ]
    for at, steps in ((0.01, 1), (1 / 3, 1), (0.34, 2), (2 / 3, 2), (0.99, 3)):
        assert cut(TRACE, at) == trace[: step_ends(trace)[steps - 1]]


@pytest.mark.parametrize(
    ("at", "steps"), [(0.25, 1), (0.26, 2), (0.5, 2), (0.75, 2), (0.76, 3), (0.9, 3)]
)
def test_surprisal_by_hand(at: float, steps: int) -> None:
    """Four surprises: one in the first step, two in the second, one in the third."""
    places = [TRACE.index("5"), TRACE.index("4"), TRACE.index("9"), TRACE.index("so")]
    found = cut(
        TRACE,
        at,
        by="surprisal",
        token_ids=[ord(one) for one in TRACE],
        logprobs=surprised(TRACE, *places),
        decode=letters,
    )
    assert found == TRACE[: step_ends(TRACE[: trace_end(TRACE)])[steps - 1]]


def test_tokens_by_hand() -> None:
    """The trace has 34 characters, a token each; the first step ends at 18, the second at 29."""
    ids = [ord(one) for one in TRACE]
    assert trace_end(TRACE) == 34
    for at, length in ((1, 18), (18, 18), (19, 29), (29, 29), (30, 34), (33, 34)):
        found = cut(TRACE, at / 34, by="tokens", token_ids=ids, decode=letters)
        assert len(found) == length


@pytest.mark.parametrize("by", BY)
def test_the_ends_are_exact(by: By) -> None:
    for text in (TRACE, "9", "<think>\nnever", "", render("9", "")):
        ids = [ord(one) for one in text]
        logprobs = [-1.0] * len(ids)
        assert cut(text, 0, by=by, token_ids=ids, logprobs=logprobs, decode=letters) == ""
        assert cut(text, 1, by=by, token_ids=ids, logprobs=logprobs, decode=letters) == text
    assert cut("9", 0.5) == cut(render("9", ""), 0.5) == ""
    assert cut("<think>\nnever", 0.5) == "<think>\nnever"


def test_a_surprising_end_of_turn() -> None:
    """The last character of an unclosed trace is not complete, and the end of turn follows."""
    text = "<think>\na\nb\ufffd"
    ids = [ord(one) for one in text[:-1]] + [0xD8, 0xFFFF]

    def decode(found: list[int]) -> str:
        special = {0xD8: "\ufffd", 0xFFFF: "<|im_end|>"}
        return "".join(special.get(one) or chr(one) for one in found)

    logprobs = [-0.01] * (len(ids) - 1) + [-5.0]
    assert cut(text, 0.9, by="surprisal", token_ids=ids, logprobs=logprobs, decode=decode) == text


@given(
    st.lists(st.text("ab5 =é", min_size=0, max_size=9), min_size=1, max_size=6),
    st.lists(st.floats(0.01, 0.99), min_size=2, max_size=2),
    st.sampled_from(BY),
    st.data(),
)
def test_a_larger_share_is_a_longer_beginning(
    lines: list[str], shares: list[float], by: By, data: st.DataObject
) -> None:
    text = render("7", "\n".join(lines))
    ids = [ord(one) for one in text]
    logprobs = data.draw(
        st.lists(st.floats(-9, -0.01), min_size=len(ids), max_size=len(ids)), label="logprobs"
    )
    first, second = (
        cut(text, at, by=by, token_ids=ids, logprobs=logprobs, decode=letters)
        for at in sorted(shares)
    )
    assert text.startswith(second)
    assert second.startswith(first)
    assert "</think>" not in second


def test_a_real_tokenizer_ends_every_character() -> None:
    tokenizer = models.load_tokenizer(cli.named("model", "tiny", ModelConfig))
    text = "<think>\nÉté ½ 日本語 😀 plus\n5 + 4 = 9\n</think>\n\n9"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ends = token_ends(text, [*ids, tokenizer.eos_token_id], tokenizer.decode)
    assert len(ends) == len(ids) and ends == sorted(ends) and ends[-1] == len(text)
    for n, end in enumerate(ends, 1):
        assert tokenizer.decode(ids[:n]).rstrip("\ufffd") == text[:end]
    half = cut(text, 0.5, by="tokens", token_ids=ids, decode=tokenizer.decode)
    assert half.endswith("plus\n")
