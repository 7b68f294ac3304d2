"""python -m bench.distill calls|memory|select: what asking a teacher costs beside its answers, and how fast pairs are selected.

`calls`: our asking, every answer durable, and a bare aiohttp loop take turns at one local server that answers each call after
100 ms, 256 calls at once. `memory`: the verb over prompts read from a file, at 10,000 and at 200,000 of them. `select`: exact
and near-repeats and 13-gram decontamination over a million synthetic prompts, with near-repeats planted among them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CALLS, DELAY, CHUNKS = 256, 0.1, 15
ANSWER = "Add the two.\n\nThe sum is \\boxed{7}."
WORDS = 20000


def serve(ready: Any) -> None:
    """A server in a process of its own; it says its port."""
    from aiohttp import web

    body = json.dumps(
        {
            "choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 8},
        }
    ).encode()

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(DELAY)
        return web.Response(body=body, content_type="application/json")

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await (site := web.TCPSite(runner, "127.0.0.1", 0)).start()
        ready.send(site._server.sockets[0].getsockname()[1])  # type: ignore[union-attr]
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def served() -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs,), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()


def cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bare(url: str, n: int) -> None:
    """The least that a client can do: post and read."""
    import aiohttp

    body = {
        "model": "m",
        "messages": [{"role": "user", "content": "What is 3 + 4?"}],
        "max_tokens": 64,
        "temperature": 0.6,
    }

    async def run() -> None:
        left = iter(range(n))

        async def work(session: aiohttp.ClientSession) -> None:
            for _ in left:
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    await response.text()

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(work(session) for _ in range(CALLS)))

    asyncio.run(run())


def questions(folder: Path, n: int, first: int = 0) -> Path:
    file = folder / f"prompts-{first}-{n}.jsonl"
    with open(file, "w") as out:
        for i in range(first, first + n):
            out.write(
                json.dumps(
                    {
                        "id": str(i),
                        "question": f"What is {i} + {7 * i}?",
                        "answer": "7",
                        "kind": "number",
                    }
                )
                + "\n"
            )
    return file


def calls() -> dict[str, Any]:
    from distill.answer_cache import AnswerCache
    from distill.config import Config
    from distill.select import Prompts
    from distill.teacher import request_answers
    from ratiocine import cli

    n = 4000
    rates, used = [], []
    with served() as url, tempfile.TemporaryDirectory() as folder:
        cache = AnswerCache(Path(folder) / "answers.sqlite")
        for chunk in range(CHUNKS + 1):
            file = questions(Path(folder), n, chunk * n)
            config = cli.compose(
                "distill",
                Config,
                [
                    "teacher=openai",
                    f"teacher.engine.base_url={url}",
                    "teacher.engine.model=m",
                    f"teacher.engine.concurrency={CALLS}",
                    f"data={file}",
                ],
            )
            prompts = Prompts(
                config.data, config.select, seed=0, limit=None, drop=lambda problem, reason: None
            )
            before, started = cpu(), time.perf_counter()
            request_answers(config, prompts, cache)
            ours, spent = 2 * n / (time.perf_counter() - started), (cpu() - before) / (2 * n)
            before, started = cpu(), time.perf_counter()
            bare(url, 2 * n)
            theirs, theirs_spent = (
                2 * n / (time.perf_counter() - started),
                (cpu() - before) / (2 * n),
            )
            said = "warm-up" if chunk == 0 else f"part {chunk} of {CHUNKS}"
            print(
                f"{said}: {ours:.0f} and {theirs:.0f} calls/s, {spent * 1e3:.3f} and {theirs_spent * 1e3:.3f} ms of CPU",
                flush=True,
            )
            if chunk:
                rates.append((ours, theirs))
                used.append(spent)
    ratios = [a / b for a, b in rates]
    return {
        "what": f"{CALLS} calls at once of {DELAY * 1e3:.0f} ms, every answer durable, against bare aiohttp",
        "ours": round(statistics.median(a for a, _ in rates)),
        "peer": round(statistics.median(b for _, b in rates)),
        "ratio": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
        "cpu_ms_per_call": round(statistics.median(used) * 1e3, 3),
    }


def memory() -> dict[str, Any]:
    """The largest memory of the whole verb, in a process of its own."""
    found = {}
    with served() as url, tempfile.TemporaryDirectory() as folder:
        for n in (10_000, 200_000):
            out = Path(folder) / str(n)
            words = [
                "teacher=openai",
                f"teacher.engine.base_url={url}",
                "teacher.engine.model=m",
                f"teacher.engine.concurrency={CALLS}",
                f"data={questions(Path(folder), n)}",
                "thinking_prompt=template",
                "verify=none",
                f"out={out}",
                "model=tiny",
                f"answer_cache={out}.sqlite",
            ]
            code = (
                "import resource, sys, runpy\n"
                "sys.argv = ['distill', *sys.argv[1:]]\n"
                "try: runpy.run_module('distill', run_name='__main__')\n"
                "except SystemExit as end: status = end.code\n"
                "print('PEAK', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, status)\n"
            )
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
            )
            _, peak, status = next(
                line for line in done.stdout.splitlines() if line.startswith("PEAK")
            ).split()
            found[n] = int(peak) / 1024
            print(
                f"{n} prompts: {found[n]:.0f} MB at most, {time.perf_counter() - started:.0f} s, status {status}",
                flush=True,
            )
    few, many = found.values()
    return {
        "what": "peak memory of distill over a file of prompts, MB: 10,000 beside 200,000",
        "ours": round(many),
        "peer": round(few),
        "ratio": round(few / many, 3),
        "spread": [round(few / many, 3)] * 2,
    }


def prompts_of(n: int, planted: int, seed: int) -> tuple[list[str], set[int]]:
    """`n` prompts of about 300 characters; `planted` of them repeat an earlier one with one word replaced."""
    rng = random.Random(seed)
    syllables = [
        a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er", "ol")
    ]
    vocabulary = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(WORDS)]
    texts = [" ".join(rng.choices(vocabulary, k=50)) for _ in range(n - planted)]
    for text in rng.sample(texts, planted):
        words = text.split()
        words[rng.randrange(len(words))] = rng.choice(vocabulary)
        texts.append(" ".join(words))
    return texts, set(range(n - planted, n))


def selection(n: int, root: str | None) -> dict[str, Any]:
    from distill.config import Config
    from distill.select import benchmark_texts
    from ratiocine import cli
    from ratiocine.data import Index, repeats
    from ratiocine.hashing import content_key

    texts, planted = prompts_of(n, n // 100, 0)
    texts[0] = texts[-1]  # one word for word
    config = cli.compose(
        "distill",
        Config,
        ["select=clean", *([f"select.data_dir={root}"] if root else ["select.decontaminate=[]"])],
    )
    held = benchmark_texts(config.select)
    whole = time.perf_counter()
    seen: dict[str, int] = {}
    exact = {at for at, text in enumerate(texts) if seen.setdefault(content_key(text), at) != at}
    print(f"exact: {len(exact)} in {time.perf_counter() - whole:.0f} s", flush=True)
    started = time.perf_counter()
    index = Index(held)
    flagged = sum(bool(index.held_by(text)) for text in texts)
    print(
        f"13-gram: {flagged} of {n} in {len(held)} problems, {time.perf_counter() - started:.0f} s",
        flush=True,
    )
    started = time.perf_counter()
    near = repeats(texts)
    print(f"near: {len(near)} in {time.perf_counter() - started:.0f} s", flush=True)
    spent = time.perf_counter() - whole
    recall = len(planted & set(near)) / len(planted)
    wrong = len(set(near) - planted) / n
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "what": f"exact and near-repeats and 13-gram decontamination of {n} prompts",
        "ours": round(spent, 1),
        "peer": 300.0,
        "ratio": round(300 / spent, 2),
        "spread": [round(300 / spent, 2)] * 2,
        "peak_gb": round(peak, 2),
        "recall": round(recall, 5),
        "false_positives": round(wrong, 6),
        "benchmark_problems": len(held),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.distill", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("what", choices=("calls", "memory", "select"))
    parser.add_argument("--n", type=int, default=1_000_000, help="prompts to select from")
    parser.add_argument("--root", help="a folder with local copies of the benchmarks")
    options = parser.parse_args()
    work = {"calls": calls, "memory": memory, "select": lambda: selection(options.n, options.root)}
    print(json.dumps(work[options.what]()))


if __name__ == "__main__":
    main()
