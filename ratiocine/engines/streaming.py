"""Streaming of a single completion: transformers' `generate` with the engine's model and prompt.

A greedy completion equals the engine's token for token, up to the summation order of the
processor. A sampled one uses torch's generator, seeded by the request: reproducible, but not the
engine's sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer

from ratiocine.completion_parts import OPEN, after_thinking
from ratiocine.engines.interface import Request
from ratiocine.engines.transformers import TransformersEngine
from ratiocine.prompts import opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def stream(
    engine: TransformersEngine,
    request: Request,
    write: Callable[[str], None],
    halted: Callable[[], bool] = lambda: False,
) -> Completion:
    """Generate the completion of a request with one sample.

    `write` receives the text in pieces of whole characters, including a stop string and the rest of
    its token. Once `halted` returns True the completion ends, as at `max_new_tokens`.
    """
    assert not request.prefix
    (sample,) = request.samples
    model, tokenizer, stop_ids = engine.model, engine.tokenizer, engine.stop_ids
    prompt = prompt_ids(tokenizer, request.messages, thinking=request.thinking)
    opened = opens_thinking(prompt_text(tokenizer, request.messages, request.thinking))

    def text_of(ids: list[int]) -> str:
        text_ids = ids[:-1] if ids and ids[-1] in stop_ids else ids
        return tokenizer.decode(text_ids, skip_special_tokens=False)

    def stop_position(ids: list[int]) -> int | None:
        """The index in the text of the first stop string after the reasoning."""
        before = OPEN * opened
        at = after_thinking(before + text_of(ids), request.stop) if request.stop else None
        return None if at is None else max(0, at - len(before))

    # Without this, the model's own generation config supplies every value not set below.
    model.generation_config = GenerationConfig()
    torch.manual_seed(request.seed_of(sample))
    input_ids = torch.tensor([prompt], device=model.device)
    ended = _Until(len(prompt), lambda ids: halted() or stop_position(ids) is not None)
    started = time.perf_counter()
    ids = model.generate(
        input_ids=input_ids,
        attention_mask=torch.ones_like(input_ids),
        generation_config=_generation_config(request, stop_ids),
        streamer=TextStreamer(tokenizer, stop_ids, write),
        stopping_criteria=StoppingCriteriaList([ended]),
    )[0, len(prompt) :].tolist()
    seconds = time.perf_counter() - started
    stopped = ids[-1] in stop_ids or stop_position(ids) is not None
    return Completion(
        request.id,
        text_of(ids)[: stop_position(ids)],
        "stop" if stopped else "length",
        len(prompt),
        len(ids),
        round(seconds, 4),
        token_ids=tuple(ids),
        sample=sample,
        opened=opened,
    )


def _generation_config(request: Request, stop_ids: Sequence[int]) -> GenerationConfig:
    sampling = {"temperature": request.temperature, "top_p": request.top_p, "top_k": 0}
    return GenerationConfig(
        max_new_tokens=request.max_new_tokens,
        do_sample=bool(request.temperature),
        eos_token_id=list(stop_ids),
        pad_token_id=stop_ids[0],
        **(sampling if request.temperature else {}),
    )


class TextStreamer(BaseStreamer):
    """Streams text without the end-of-turn token; special tokens are text, as in a Completion.

    Each token decodes its whole line anew; an incomplete character waits for its remaining tokens.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stop_ids: Sequence[int],
        write: Callable[[str], None],
    ) -> None:
        self.tokenizer, self.stop_ids, self.write = tokenizer, stop_ids, write
        self.line: list[int] = []
        self.written = 0  # characters of the line

    def put(self, value: torch.Tensor) -> None:
        # `generate` passes the whole prompt first, as a matrix.
        if value.dim() > 1 or value.item() in self.stop_ids:
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
    """Ends a completion once `condition` holds for its token ids."""

    def __init__(self, n_prompt: int, condition: Callable[[list[int]], bool]) -> None:
        self.n_prompt, self.condition = n_prompt, condition

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: object
    ) -> torch.Tensor:
        ended = self.condition(input_ids[0, self.n_prompt :].tolist())
        return torch.tensor([ended], device=input_ids.device)
