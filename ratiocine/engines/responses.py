"""Answers of chat-completions servers, in the forms in which servers send them, as completions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ratiocine.completion_parts import CLOSE, OPEN, after_thinking, one_block, render
from ratiocine.engines.config import NO_FINISH_REASON
from ratiocine.engines.http import RetryableError
from ratiocine.engines.interface import Request
from ratiocine.records import Completion, Stop

TEXTS = ("text", "output_text")
TRACES = ("thinking", "reasoning")
CHARACTERS = 4  # of a token, where a server does not count


def completion_of(
    request: Request,
    sample: int,
    answer: Any,
    seconds: float,
    complete: Collection[str] = ("stop",),
) -> Completion:
    """The completion in a server's answer; `complete` names the finish reasons of a complete one.
    Raises RetryableError where there is none."""
    try:
        choice = answer["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        text, trace = _texts(message.get("content"))
        for name in ("reasoning_content", "reasoning"):
            trace = trace or "".join(_texts(message.get(name)))
        usage = answer.get("usage") or {}
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        words = _reported(answer, error)
        raise RetryableError("an answer without its fields", words, of_request=True) from None
    stop: Stop = str(reason or NO_FINISH_REASON)
    stop = "stop" if stop in complete else stop
    text = whole_letters(_with_trace(text, trace.strip(), complete=stop == "stop"))
    counted = usage.get("completion_tokens") and usage.get("prompt_tokens")
    n_completion = int(usage.get("completion_tokens") or max(1, len(text) // CHARACTERS))
    characters = sum(len(message["content"]) for message in request.messages)
    n_prompt = int(usage.get("prompt_tokens") or characters // CHARACTERS)
    if (at := after_thinking(text, request.stop)) is not None:
        text, stop = text[:at], "stop"
    return Completion(
        request.id,
        text,
        stop,
        n_prompt,
        n_completion,
        round(seconds, 4),
        sample=sample,
        counted=bool(counted),
    )


def whole_letters(text: str) -> str:
    """The text with U+FFFD for halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _texts(content: Any) -> tuple[str, str]:
    """Text and trace of a message's content: a text, null, or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    text, trace = "", ""
    for part in content:
        kind = "text" if isinstance(part, str) else part.get("type")
        if kind in TRACES:
            inner = next((part[name] for name in (*TRACES, "text") if part.get(name)), "")
            trace += "".join(_texts(inner))
        elif kind in TEXTS:
            text += part if isinstance(part, str) else part["text"]
    return text, trace


def _with_trace(text: str, trace: str, *, complete: bool) -> str:
    """One text with at most one think block. A trace that is sent in its own field and in the
    content is kept once; tags around a trace in its own field are dropped. What is not certain
    keeps its tags, which `completion_parts.stray_tags` finds."""
    trace = trace.removeprefix(OPEN).strip()
    inner, tag, rest = trace.partition(CLOSE)
    if tag and (not rest.strip() or rest.strip() == text.strip()):
        trace = inner.strip()
    elif tag and not text.strip():
        trace, text = inner.strip(), rest.strip()
    text = one_block(text)
    if not trace:
        return text
    head, tag, answer = text.rpartition(CLOSE)
    if tag and head.strip().removeprefix(OPEN).strip() in ("", trace):
        text = answer.lstrip()
    if text or complete:
        return render(text.lstrip(), trace)
    return f"{OPEN}\n{trace}"


def _reported(answer: Any, error: Exception) -> str:
    """The server's words about an error, or what is missing."""
    if isinstance(answer, dict) and (reported := answer.get("error")):
        words = reported.get("message") if isinstance(reported, dict) else reported
        return str(words or reported)[:200]
    return f"{type(error).__name__} {error}"
