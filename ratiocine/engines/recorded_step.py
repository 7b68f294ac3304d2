"""Decode steps recorded as a CUDA graph.

A step of a few rows is some hundred kernels of microseconds each, which Python launches more slowly
than a GPU computes them. A graph launches them all at once (as vLLM does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from ratiocine.engines.grouped_attention import GROUPED
from ratiocine.engines.kv_cache import GrowingLayer, fixed_layers

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel

LEAST_STEPS = 16  # a recording for fewer does not pay
COLUMNS = 256  # spare columns of a recording: one recording for that many steps
MASKED = (GROUPED, "sdpa")  # attention implementations that take a mask over the columns


class StepRecorder:
    """Records decode steps of a model, where that is possible and pays."""

    def __init__(self, model: PreTrainedModel, enabled: bool) -> None:
        self.model = model
        masked = model.config._attn_implementation in MASKED
        self.enabled = enabled and masked and model.device.type == "cuda"
        self.pool: Any = None  # memory of all recordings, one after the other
        self.warm = False

    def record(
        self, mask: torch.Tensor, positions: torch.Tensor, cache: DynamicCache, steps: int
    ) -> RecordedStep | None:
        """The next step of a batch that has `steps` left, or None where the model has to compute
        it. `mask` (rows, columns) and `positions` (rows, 1) include the new token."""
        layers = fixed_layers(cache) if self.enabled and steps >= LEAST_STEPS else None
        if layers is None:
            return None
        if self.pool is None and self.model.device.type == "cuda":
            self.pool = torch.cuda.MemPool()
        recorded = RecordedStep(self.model, mask, positions, cache, layers, min(steps, COLUMNS))
        try:
            recorded.record(self.pool, warm_up=not self.warm)
        except RuntimeError as error:  # a model whose forward pass waits for the GPU
            for layer in layers:
                layer.release()
            self.enabled = False
            print(f"decode steps are not recorded as CUDA graphs: {str(error).splitlines()[0]}")
            return None
        self.warm = True
        return recorded


class RecordedStep:
    """The decode step of one batch, as long as its rows stay and there are columns left."""

    def __init__(
        self,
        model: PreTrainedModel,
        mask: torch.Tensor,
        positions: torch.Tensor,
        cache: DynamicCache,
        layers: list[GrowingLayer],
        columns: int,
    ) -> None:
        self.model, self.cache, self.layers = model, cache, layers
        rows, width = mask.shape
        self.column = torch.tensor([width - 1], device=mask.device)
        capacity = max(layer.fix(self.column, columns) for layer in layers)
        self.left = capacity - width + 1
        self.mask = torch.zeros((rows, 1, 1, capacity), dtype=torch.bool, device=mask.device)
        self.mask[:, 0, 0, :width] = mask.bool()
        self.positions = positions.clone()
        self.ids = torch.zeros((rows, 1), dtype=torch.long, device=mask.device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.logits = torch.empty(0)

    @property
    def full(self) -> bool:
        return self.left == 0

    def forward(self) -> None:
        """One step at `column`: all shapes and addresses stay the same from step to step."""
        self.mask.index_fill_(-1, self.column, True)
        self.logits = self.model(
            input_ids=self.ids,
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.cache,
            logits_to_keep=1,
        ).logits[:, -1]
        self.positions.add_(1)
        self.column.add_(1)

    def record(self, pool: Any, *, warm_up: bool) -> None:
        """Raises RuntimeError where the forward pass cannot be recorded."""
        if warm_up:  # allocations and autotuning of a first pass
            stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self.forward()
            torch.cuda.current_stream().wait_stream(stream)
            self.positions.sub_(1)
            self.column.sub_(1)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool.id):
            self.forward()
        self.graph = graph

    def __call__(self, token: torch.Tensor) -> torch.Tensor:
        """The logits (rows, vocabulary) after each row's last token; valid until the next call."""
        self.ids.copy_(token[:, None])
        if self.graph is None:
            self.forward()
        else:
            self.graph.replay()
        self.left -= 1
        for layer in self.layers:
            layer.advance()
        return self.logits
