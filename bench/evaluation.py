"""python -m bench.evaluation [--dtype float32]: our engine beside lm-evaluation-harness's `hf` model, same items and budgets.

SmolLM2-135M, greedy, over a mixed suite under one budget: short answers to the embedded families and long ones to grade-school
word problems. The items are dealt into parts that ours and the peer answer in turn: the first part at every batch size of the
peer's, of which the fastest counts and goes on. Its default (one row at a time) and transformers' continuous batching answer
a few. A roofline says what a decode step could cost at best: the bytes that it must read and the products that it must
compute, at the rates that this process reaches.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch

from ratiocine import cli, cost, devices, models
from ratiocine.data import DataConfig, load
from ratiocine.engines import Request, TransformersEngine, pack_linears
from ratiocine.models import ModelConfig
from ratiocine.prompts import end_of_turn, prompt_ids, prompt_text, user_text

CHUNKS = 2
BUDGET = 256
SIZES = (64, 128, 32)


def items(n_short: int, n_long: int) -> list[Request]:
    """Problems with short and with long answers, shuffled by id."""
    found = []
    for name, n in (("demo", n_short), ("gsm_symbolic", n_long)):
        data = cli.named("data", name, DataConfig)
        each = {
            family: f.model_copy(update={"test": n // len(data.families)})
            for family, f in data.families.items()
        }
        problems = load(data.model_copy(update={"families": each}), "test").problems
        found += [
            Request(f"{p.source}/{p.id}", ({"role": "user", "content": user_text(p)},), BUDGET)
            for p in problems
        ]
    return sorted(found, key=lambda request: request.stream(0).random())


def ours(engine: TransformersEngine, requests: Sequence[Request]) -> dict[str, int]:
    """Tokens written for each item."""
    return {
        trace.id: trace.n_completion for traces in engine.generate(requests) for trace in traces
    }


def peer(lm: Any, requests: Sequence[Request], batch: int) -> dict[str, str]:
    from lm_eval.api.instance import Instance

    lm.batch_size_per_gpu = batch
    asked = [
        Instance(
            request_type="generate_until",
            doc={},
            idx=0,
            arguments=(
                prompt_text(lm.tokenizer, r.messages),
                {"until": [], "max_gen_toks": r.budget, "do_sample": False},
            ),
        )
        for r in requests
    ]
    return dict(
        zip([r.id for r in requests], lm.generate_until(asked, disable_tqdm=True), strict=True)
    )


def continuous(model: Any, tokenizer: Any, requests: Sequence[Request]) -> dict[str, int]:
    """transformers' own continuous batching; tokens written for each item. RuntimeError where it stops before the end."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    config = GenerationConfig(
        eos_token_id=end_of_turn(tokenizer), pad_token_id=end_of_turn(tokenizer), do_sample=False
    )
    sizes = ContinuousBatchingConfig(num_blocks=256, max_batch_tokens=2048)
    written: dict[str, int] = {}
    with model.continuous_batching_context_manager(
        generation_config=config, continuous_batching_config=sizes, timeout=5, warmup=False
    ) as manager:
        for r in requests:
            manager.add_request(
                prompt_ids(tokenizer, r.messages), request_id=r.id, max_new_tokens=r.budget
            )
        while len(written) < len(requests):
            found = manager.get_result(timeout=1)
            if found is not None and found.error is not None:
                raise RuntimeError(found.error)
            if found is not None and found.is_finished():
                written[found.request_id] = len(found.generated_tokens)
            elif found is None and not manager.is_running():
                raise RuntimeError("continuous batching stopped before the end")
    return written


def seconds(work: Any, *arguments: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    found = work(*arguments)
    return time.perf_counter() - started, found


def roofline(model: Any, dtype: torch.dtype, rows: int, context: int) -> dict[str, float]:
    """Measured rates, and what one decode step of `rows` rows at `context` tokens needs at these rates."""
    a, b = torch.randn(rows, 2048, dtype=dtype), torch.randn(2048, 8192, dtype=dtype)
    large = torch.zeros(64 << 20, dtype=torch.float32)
    a @ b
    flops = max(
        2 * rows * 2048 * 8192 * 5 / seconds(lambda: [a @ b for _ in range(5)])[0] for _ in range(4)
    )
    bandwidth = max(
        large.nbytes * 3 / seconds(lambda: [large.sum() for _ in range(3)])[0] for _ in range(4)
    )
    shape = cost.Shape.of(model.config)
    weights = sum(p.numel() for p in model.parameters()) * dtype.itemsize
    cache = 2 * rows * context * shape.layers * shape.kv_heads * shape.head * dtype.itemsize
    products = rows * cost.exact_forward(shape, context, context + 1, 1)
    return {
        "rows": rows,
        "context": context,
        "gflops": flops / 1e9,
        "gigabytes_per_second": bandwidth / 1e9,
        "step_bytes": weights + cache,
        "step_flops": products,
        "memory_seconds": (weights + cache) / bandwidth,
        "compute_seconds": products / flops,
    }


def step_seconds(engine: TransformersEngine, rows: int, context: int) -> float:
    """The time of one decode step of ours."""
    request = Request(
        "roof",
        ({"role": "user", "content": "a " * context},),
        24,
        samples=tuple(range(rows)),
        temperature=1.0,
    )
    short, long = (
        seconds(ours, engine, [Request(**{**request.__dict__, "budget": n})])[0] for n in (4, 24)
    )
    return (long - short) / 20


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.evaluation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--short", type=int, default=240)
    parser.add_argument("--long", type=int, default=64)
    parser.add_argument(
        "--batches",
        type=int,
        nargs="+",
        default=SIZES,
        help="sizes that the peer tries on the first part",
    )
    options = parser.parse_args()
    logging.disable()
    from lm_eval.models.huggingface import HFLM

    config = cli.named("model", "smollm2-135m", ModelConfig)
    tokenizer = models.load_tokenizer(config)
    devices.prepare_process(None)
    dtype = getattr(torch, options.dtype)
    own = models.load_model(config, "auto", dtype=options.dtype)
    pack_linears(own)
    engine = TransformersEngine(own, tokenizer, end_of_turn(tokenizer))
    stock = models.load_model(config, "auto", dtype=options.dtype)
    stock.generation_config.eos_token_id = stock.generation_config.pad_token_id = end_of_turn(
        tokenizer
    )
    lm = HFLM(pretrained=stock, tokenizer=tokenizer, device=str(stock.device), batch_size=1)
    asked = items(options.short, options.long)
    size = -(-len(asked) // CHUNKS)
    ours(engine, asked[:4])
    peer(lm, asked[:4], 4)
    rows, tokens, best = [], 0, 0
    for number, at in enumerate(range(0, len(asked), size)):
        chunk = asked[at : at + size]
        mine, written = seconds(ours, engine, chunk)
        by_size = {
            batch: seconds(peer, lm, chunk, batch)[0]
            for batch in ([best] if best else options.batches)
        }
        best = min(by_size, key=lambda batch: by_size[batch])
        tokens += sum(written.values())
        rows.append((mine, by_size[best]))
        told = ", ".join(f"{spent:.1f} s at batch {batch}" for batch, spent in by_size.items())
        print(
            f"part {number + 1} of {CHUNKS}, {len(chunk)} items: ours {mine:.1f} s, peer {told}",
            flush=True,
        )
    few = asked[:: max(1, len(asked) // 12)]
    alone, _ = seconds(ours, engine, few)
    default, _ = seconds(peer, lm, few, 1)
    print(f"{len(few)} items: ours {alone:.1f} s, peer one by one {default:.1f} s", flush=True)
    some = asked[:: max(1, len(asked) // 48)]
    against_continuous = None
    try:
        stock.set_attn_implementation("sdpa")
        batched, _ = seconds(continuous, stock, tokenizer, some)
        against_continuous = round(batched / seconds(ours, engine, some)[0], 2)
    except Exception as error:
        print(
            f"transformers' continuous batching failed: {type(error).__name__} {error}", flush=True
        )
    total = sum(mine for mine, _ in rows)
    one_by_one = default / len(few) * len(asked)
    roof = roofline(stock, dtype, 64, 160)
    roof["step_seconds"] = step_seconds(engine, 64, 150)
    ratios = [theirs / mine for mine, theirs in rows]
    print(
        json.dumps(
            {
                "what": f"SmolLM2-135M, {options.dtype}, {len(asked)} items, {tokens} tokens, against lm-evaluation-harness hf",
                "ours": round(total, 1),
                "peer": round(sum(theirs for _, theirs in rows), 1),
                "peer_batch": best,
                "ratio": round(statistics.median(ratios), 2),
                "spread": [round(min(ratios), 2), round(max(ratios), 2)],
                "peer_default_extrapolated": round(one_by_one, 1),
                "ratio_to_default": round(one_by_one / total, 2),
                "ratio_to_continuous_batching": against_continuous,
                "tokens_per_second": round(tokens / total),
                "roofline": {k: float(f"{v:.4g}") for k, v in roof.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
