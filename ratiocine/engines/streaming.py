"""One completion as it is written: transformers' `generate` over the engine's own model, prompt and end of turn.

Greedy, it is the engine's completion token for token, up to the order in which a processor sums. Sampled, it is drawn by
torch's generator, which the request's seed starts: the same each time, but not the engine's sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from ratiocine.engines.interface import Request
from ratiocine.engines.transformers import TransformersEngine
from ratiocine.prompts import OPEN, after_thinking, opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion


def stream(
    engine: TransformersEngine,
    request: Request,
    write: Callable[[str], None],
    halted: Callable[[], bool] = lambda: False,
) -> Completion:
    """The completion of a request with one sample. `write` is given its text in pieces, whole characters as they come; a stop
    string and what stands in its token are among them. Once `halted` says so it ends, as if its budget were used up."""
    assert not request.prefix
    (sample,) = request.samples
    model, tokenizer, stop_id = engine.model, engine.tokenizer, engine.stop_id
    prompt = prompt_ids(tokenizer, request.messages, thinking=request.thinking)
    opened = opens_thinking(prompt_text(tokenizer, request.messages, request.thinking))

    def text(ids: list[int]) -> str:
        return tokenizer.decode(
            ids[:-1] if ids[-1:] == [stop_id] else ids, skip_special_tokens=False
        )

    def stopped_at(ids: list[int]) -> int | None:
        """Where in the text the first stop string after the thinking stands."""
        before = OPEN * opened
        at = after_thinking(before + text(ids), request.stop) if request.stop else None
        return None if at is None else max(0, at - len(before))

    drawn = (
        {"temperature": request.temperature, "top_p": request.top_p, "top_k": 0}
        if request.temperature
        else {}
    )
    model.generation_config = (
        GenerationConfig()
    )  # or what a model's folder brings would fill in what is not said here
    settings = GenerationConfig(
        max_new_tokens=request.max_new_tokens,
        do_sample=bool(drawn),
        eos_token_id=stop_id,
        pad_token_id=stop_id,
        **drawn,
    )
    torch.manual_seed(request.seed_of(sample))
    ids = torch.tensor([prompt], device=model.device)
    started = time.perf_counter()
    made = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        generation_config=settings,
        streamer=Pieces(tokenizer, stop_id, write),
        stopping_criteria=StoppingCriteriaList(
            [_Until(len(prompt), lambda ids: halted() or stopped_at(ids) is not None)]
        ),
    )[0, len(prompt) :].tolist()
    seconds = time.perf_counter() - started
    ended = made[-1] == stop_id or stopped_at(made) is not None
    return Completion(
        request.id,
        text(made)[: stopped_at(made)],
        "stop" if ended else "length",
        len(prompt),
        len(made),
        round(seconds, 4),
        token_ids=tuple(made),
        sample=sample,
        opened=opened,
    )


class Pieces(BaseStreamer):
    """Text of a completion without its end-of-turn token; markers are text, as they are in a trace. A line is decoded anew
    with each of its tokens, and what may be the beginning of a character waits for the rest of it."""

    def __init__(self, tokenizer: Any, stop_id: int, write: Callable[[str], None]) -> None:
        self.tokenizer, self.stop_id, self.write = tokenizer, stop_id, write
        self.line: list[int] = []
        self.written = 0  # characters of the line

    def put(self, value: torch.Tensor) -> None:
        if value.dim() > 1 or value.item() == self.stop_id:  # the prompt comes first, and whole
            return
        self.line.append(int(value.item()))
        text = self._text()
        self._write(text.rstrip("\ufffd"))
        if text.endswith("\n"):
            self.line, self.written = [], 0

    def end(self) -> None:
        self._write(self._text())

    def _text(self) -> str:
        return self.tokenizer.decode(
            self.line, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _write(self, text: str) -> None:
        if len(text) > self.written:
            self.write(text[self.written :])
            self.written = len(text)


class _Until(StoppingCriteria):
    """Ends a completion once `over` says so of its tokens."""

    def __init__(self, n_prompt: int, over: Callable[[list[int]], bool]) -> None:
        self.n_prompt, self.over = n_prompt, over

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor(
            [self.over(input_ids[0, self.n_prompt :].tolist())], device=input_ids.device
        )
