"""The transformers engine: continuation in batches, on any device transformers runs on.

Five things make it faster than `generate` and leave the distribution alone: rows that have ended leave the batch and waiting
ones join it, prompts of like length are read together and once for all samples, the cache grows in place, and a decode step
on a CPU attends with two batched matmuls over the grouped heads instead of scaled_dot_product_attention with one query row.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ratiocine.engines.config import TransformersConfig
from ratiocine.engines.decoding import growing_cache, register_grouped_attention
from ratiocine.engines.interface import Request
from ratiocine.prompts import OPEN, after_thinking, opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ALIKE = (
    7 / 8
)  # a prompt shorter than this share of the longest is not read beside it: padding costs as much as words
LEFT = 0.9  # share of a batch still going at which its ended rows are taken out: moving the cache costs less than one step


@dataclass(frozen=True)
class _Asked:
    """A request and its prompt."""

    request: Request
    prompt: tuple[int, ...]
    opened: bool  # it ends inside a think block

    @property
    def rows(self) -> int:
        return len(self.request.samples)

    @property
    def reach(self) -> int:
        """The most tokens that its rows can come to hold."""
        return self.rows * (len(self.prompt) + self.request.max_new_tokens)


class TransformersEngine:
    """`generate` over a loaded model. At most `batch` rows of the settings are decoded together, and as many as can grow to
    their full budgets within `tokens` cached tokens (but always one)."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        stop_id: int,
        settings: TransformersConfig = TransformersConfig(),  # noqa: B008  (frozen)
    ) -> None:
        self.name = "transformers"
        self.model, self.tokenizer, self.stop_id = model, tokenizer, stop_id
        self.batch, self.tokens = settings.max_batch_size, settings.max_cache_tokens
        self.movable = _movable(growing_cache(model.config))
        attention: str = settings.attention
        if attention == "auto":
            attention = register_grouped_attention() if model.device.type == "cpu" else "sdpa"
        model.set_attn_implementation(attention)
        model.eval()

    def generate(self, requests: Iterable[Request]) -> Iterator[list[Completion]]:
        """Traces of all requests, some at a time as they end. The longest come first, so that a batch that does not fit in
        memory fails at once."""
        import torch

        asked = [part for request in requests for part in self._asked(request)]
        waiting = deque(
            sorted(asked, key=lambda a: (-a.request.max_new_tokens, -len(a.prompt), a.request.id))
        )
        batch: _Batch | None = None
        while waiting or batch is not None:
            with torch.inference_mode():
                joining = self._joining(waiting, batch)
                if joining:
                    batch = self._read(joining, batch)
                else:
                    assert batch is not None
                    self._step(batch)
                ended = batch.take_ended()
            if ended:
                yield [self._trace(row) for row in ended]
            if not batch.rows:
                batch = None

    def _asked(self, request: Request) -> Iterator[_Asked]:
        """The request, in parts where it has more samples than a batch has rows."""
        prompt = prompt_ids(self.tokenizer, request.messages, request.prefix, request.thinking)
        opened = opens_thinking(prompt_text(self.tokenizer, request.messages, request.thinking))
        for at in range(0, len(request.samples), self.batch):
            yield _Asked(
                replace(request, samples=request.samples[at : at + self.batch]),
                tuple(prompt),
                opened,
            )

    def _joining(self, waiting: deque[_Asked], batch: _Batch | None) -> list[_Asked]:
        """The next waiting requests for which there is room."""
        if batch is not None and not batch.may_join:
            return []
        rows = [] if batch is None else batch.rows
        free, taken = self.batch - len(rows), sum(row.reach for row in rows)
        joining: list[_Asked] = []
        while (
            waiting
            and waiting[0].rows <= free
            and (taken + waiting[0].reach <= self.tokens or not (rows or joining))
        ):
            joining.append(waiting.popleft())
            free, taken = free - joining[-1].rows, taken + joining[-1].reach
        return joining

    def _read(self, asked: Sequence[_Asked], batch: _Batch | None) -> _Batch:
        """Prefill, prompts of like length together; their rows join `batch`."""
        pieces: list[list[_Asked]] = []
        for a in sorted(asked, key=lambda a: -len(a.prompt)):
            if pieces and (len(a.prompt) >= ALIKE * len(pieces[-1][0].prompt) or not self.movable):
                pieces[-1].append(a)
            else:
                pieces.append([a])
        batches = [] if batch is None else [batch]
        batches += [self._prefill(piece) for piece in pieces]
        return batches[0].joined_by(batches[1:]) if len(batches) > 1 else batches[0]

    def _prefill(self, asked: Sequence[_Asked]) -> _Batch:
        """One forward pass over left-padded prompts, and the first token of each row."""
        import torch

        started = time.perf_counter()
        device, width = self.model.device, max(len(a.prompt) for a in asked)
        ids = torch.full((len(asked), width), self.stop_id)
        mask = torch.zeros((len(asked), width), dtype=torch.long)
        for row, a in enumerate(asked):
            ids[row, width - len(a.prompt) :] = torch.tensor(a.prompt)
            mask[row, width - len(a.prompt) :] = 1
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        new = _Batch([], mask, positions, growing_cache(self.model.config))
        logits = self._forward(new, ids.to(device))
        new.rows = [
            _Row(a.request, sample, len(a.prompt), a.opened)
            for a in asked
            for sample in a.request.samples
        ]
        if len(new.rows) > len(asked):
            copies = torch.tensor([a.rows for a in asked], device=device)
            which = torch.repeat_interleave(torch.arange(len(asked), device=device), copies)
            new.token = which  # any: `append` sets it
            new.keep(which)
            logits = logits[which]
        self._append(new, logits, started)
        return new

    def _step(self, batch: _Batch) -> None:
        import torch

        started = time.perf_counter()
        batch.mask = torch.cat([batch.mask, batch.mask.new_ones(len(batch.mask), 1)], dim=-1)
        batch.positions = batch.positions[:, -1:] + 1
        self._append(batch, self._forward(batch, batch.token[:, None]), started)

    def _forward(self, batch: _Batch, ids: torch.Tensor) -> torch.Tensor:
        """The logits of every row's next token."""
        return self.model(
            input_ids=ids,
            attention_mask=batch.mask,
            position_ids=batch.positions,
            past_key_values=batch.cache,
            logits_to_keep=1,
        ).logits[:, -1]

    def _append(self, batch: _Batch, logits: torch.Tensor, started: float) -> None:
        """Choose the next token of every row and write it down."""
        batch.token = _chosen(logits, batch.rows)
        logprobs: list[float] | None = None
        if any(row.request.logprobs for row in batch.rows):
            logits = logits.float()
            logprobs = (
                logits.gather(-1, batch.token[:, None])[:, 0] - logits.logsumexp(-1)
            ).tolist()
        seconds = (time.perf_counter() - started) / len(batch.rows)
        for index, (row, token) in enumerate(zip(batch.rows, batch.token.tolist(), strict=True)):
            if row.stop is None:
                row.output.append(token)
                row.seconds += seconds
                if logprobs is not None:
                    row.logprobs.append(round(logprobs[index], 5))
                self._end(row)

    def _end(self, row: _Row) -> None:
        """Say of a row whether and how it has ended."""
        if row.output[-1] == self.stop_id or (
            row.request.stop and self._stopped_at(row) is not None
        ):
            row.stop = "stop"
        elif len(row.output) >= row.request.max_new_tokens:
            row.stop = "length"

    def _text(self, row: _Row) -> str:
        ids = row.output[:-1] if row.output[-1] == self.stop_id else row.output
        return self.tokenizer.decode(ids, skip_special_tokens=False)

    def _stopped_at(self, row: _Row) -> int | None:
        """Where in its text the first stop string after the thinking stands."""
        prefix = OPEN * row.opened + row.request.prefix
        at = after_thinking(prefix + self._text(row), row.request.stop)
        return None if at is None else max(0, at - len(prefix))

    def _trace(self, row: _Row) -> Completion:
        assert row.stop is not None
        text = self._text(row)[: self._stopped_at(row) if row.request.stop else None]
        return Completion(
            row.request.id,
            text,
            row.stop,
            row.n_prompt,
            len(row.output),
            round(row.seconds, 4),
            token_ids=tuple(row.output),
            logprobs=tuple(row.logprobs) if row.request.logprobs else None,
            sample=row.sample,
            opened=row.opened,
        )


def _chosen(logits: torch.Tensor, rows: Sequence[_Row]) -> torch.Tensor:
    """The next token of every row: the likeliest, or by inverse transform of the row's own next random number, so that a
    sample does not depend on what it shares a batch with."""
    import torch

    chosen = logits.argmax(-1)
    sampled = [i for i, row in enumerate(rows) if row.request.temperature > 0]
    if not sampled:
        return chosen
    here = torch.tensor(sampled, device=logits.device)

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, device=logits.device, dtype=torch.float32)[:, None]

    scaled = logits[here].float() / column([rows[i].request.temperature for i in sampled])
    probabilities, tokens = scaled.softmax(-1), None
    if any(rows[i].request.top_p < 1 for i in sampled):
        probabilities, tokens = probabilities.sort(-1, descending=True)
        before = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(
            before >= column([rows[i].request.top_p for i in sampled]), 0.0
        )
    total = probabilities.cumsum(-1)
    at = torch.searchsorted(
        total, column([rows[i].random.random() for i in sampled]) * total[:, -1:], right=True
    )
    at = at.clamp(max=logits.shape[-1] - 1)
    chosen[here] = (at if tokens is None else tokens.gather(-1, at))[:, 0]
    return chosen


@dataclass
class _Row:
    """A sample under way; `seconds` is its share of the time of the steps it took part in."""

    request: Request
    sample: int
    n_prompt: int
    opened: bool
    output: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    seconds: float = 0.0
    stop: Literal["stop", "length"] | None = None
    told: bool = False  # its trace has been given away
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = self.request.stream(self.sample)

    @property
    def reach(self) -> int:
        return self.n_prompt + self.request.max_new_tokens


def _movable(cache: Any) -> bool:
    """Whether its rows can be put beside another's: not with sliding windows."""
    return all(hasattr(layer, "move") for layer in cache.layers)


@dataclass
class _Batch:
    """Rows decoded together: the mask over all columns of the cache, positions of the last forward pass, and the last token."""

    rows: list[_Row]
    mask: torch.Tensor
    positions: torch.Tensor
    cache: Any
    token: Any = None
    room: bool = False  # its ended rows have just been taken out

    @property
    def may_join(self) -> bool:
        """Whether rows have just left, and its cache can be put beside another."""
        return self.room and _movable(self.cache)

    def take_ended(self) -> list[_Row]:
        """The rows that have ended since the last call. They leave the batch once they are enough to be worth it."""
        import torch

        ended = [row for row in self.rows if row.stop is not None and not row.told]
        for row in ended:
            row.told = True
        going = [i for i, row in enumerate(self.rows) if row.stop is None]
        self.room = len(going) <= LEFT * len(self.rows)
        if self.room:
            self.rows = [self.rows[i] for i in going]
            if self.rows:
                self.keep(torch.tensor(going, device=self.mask.device))
        return ended

    def keep(self, rows: torch.Tensor) -> None:
        """Keep these rows of mask, cache and positions; a row may be named more than once."""
        self.mask, self.positions, self.token = (
            self.mask[rows],
            self.positions[rows],
            self.token[rows],
        )
        if not _movable(self.cache):
            self.cache.batch_select_indices(rows)
            return
        start = int(self.mask.any(0).nonzero()[0])
        self.mask, self.positions = self.mask[:, start:], self.positions[:, -1:]
        for layer in self.cache.layers:
            layer.move(rows, start)

    def joined_by(self, others: Sequence[_Batch]) -> _Batch:
        """All batches as one, their last columns aligned. The others' caches are used up layer by layer, so that only one
        layer is held twice."""
        import torch

        batches = [self, *others]
        width = max(batch.mask.shape[1] for batch in batches)
        masks = [
            torch.nn.functional.pad(batch.mask, (width - batch.mask.shape[1], 0))
            for batch in batches
        ]
        for index, layer in enumerate(self.cache.layers):
            layer.join([batch.cache.layers[index] for batch in others], width)
            for batch in others:
                batch.cache.layers[index] = None
        rows = [row for batch in batches for row in batch.rows]
        positions = torch.cat([batch.positions[:, -1:] for batch in batches])
        return _Batch(
            rows,
            torch.cat(masks),
            positions,
            self.cache,
            torch.cat([batch.token for batch in batches]),
        )
