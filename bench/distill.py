"""python -m bench.distill calls|memory|select: the cost of making pairs.

`calls`: requests to a teacher, each answer stored durably, and a bare aiohttp loop take turns at
one local server that answers after 100 ms, 256 calls at once. `memory`: peak memory of the verb
over 10,000 and 200,000 prompts. `select`: exact and near-deduplication and 13-gram decontamination
of a million synthetic prompts, with planted near-duplicates.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import resource
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec

from bench.harness import in_process, print_result, result
from ratiocine import cli

P = ParamSpec("P")
CONCURRENCY, LATENCY, REPEATS, PROMPTS = 256, 0.1, 15, 4000
ANSWER = "Add the two.\n\nThe sum is \\boxed{7}."
VOCABULARY = 20_000
ALLOWED_SECONDS = 300.0


def serve(connection: Connection) -> None:
    """An OpenAI-compatible server; sends its port."""
    from aiohttp import web

    choice = {"message": {"content": ANSWER}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 20, "completion_tokens": 8}
    body = json.dumps({"choices": [choice], "usage": usage}).encode()

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(LATENCY)
        return web.Response(body=body, content_type="application/json")

    async def run() -> None:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", complete)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        connection.send(runner.addresses[0][1])
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def server() -> Iterator[str]:
    """The base URL of a server in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v1"
    finally:
        process.terminate()


def bare_client(url: str, n: int) -> None:
    """The least that a client can do: post and read."""
    import aiohttp

    messages = [{"role": "user", "content": "What is 3 + 4?"}]
    body = {"model": "m", "messages": messages, "max_tokens": 64, "temperature": 0.6}

    async def run() -> None:
        remaining = iter(range(n))

        async def work(session: aiohttp.ClientSession) -> None:
            for _ in remaining:
                async with session.post(f"{url}/chat/completions", json=body) as response:
                    await response.text()

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*(work(session) for _ in range(CONCURRENCY)))

    asyncio.run(run())


def write_prompts(file: Path, n: int, first: int = 0) -> Path:
    with file.open("w", encoding="utf-8") as out:
        for i in range(first, first + n):
            row = {
                "id": str(i),
                "question": f"What is {i} + {7 * i}?",
                "answer": "7",
                "kind": "number",
            }
            out.write(json.dumps(row) + "\n")
    return file


def teacher(url: str) -> list[str]:
    return [
        "teacher=openai",
        f"teacher.engine.base_url={url}",
        "teacher.engine.model=m",
        f"teacher.engine.concurrency={CONCURRENCY}",
    ]


def timed(work: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> tuple[float, float]:
    """Seconds, and seconds of CPU of this process."""
    cpu, started = time.process_time(), time.perf_counter()
    work(*args, **kwargs)
    return time.perf_counter() - started, time.process_time() - cpu


def measure_calls() -> dict[str, Any]:
    """Calls per second."""
    from distill.answer_cache import AnswerCache
    from distill.config import Config
    from distill.select import Prompts
    from distill.teacher import request_answers

    n = 2 * PROMPTS  # both modes
    ours: list[float] = []
    peer: list[float] = []
    cpu_ms: list[float] = []
    with server() as url, tempfile.TemporaryDirectory() as name:
        cache = AnswerCache(Path(name) / "answers.sqlite")
        for repeat in range(REPEATS + 1):
            file = write_prompts(Path(name) / f"{repeat}.jsonl", PROMPTS, repeat * PROMPTS)
            config = cli.compose("distill", Config, [*teacher(url), f"data={file}"])
            prompts = Prompts(
                config.data, config.select, seed=0, limit=None, drop=lambda problem, reason: None
            )
            seconds, cpu = timed(request_answers, config, prompts, cache)
            bare_seconds, bare_cpu = timed(bare_client, url, n)
            print(
                f"{f'repeat {repeat} of {REPEATS}' if repeat else 'warm-up'}: {n / seconds:.0f} "
                f"and {n / bare_seconds:.0f} calls/s, {cpu / n * 1e3:.3f} and "
                f"{bare_cpu / n * 1e3:.3f} ms of CPU per call",
                flush=True,
            )
            if repeat:
                ours.append(n / seconds)
                peer.append(n / bare_seconds)
                cpu_ms.append(cpu / n * 1e3)
    return result(
        f"calls/s, {CONCURRENCY} at once of {LATENCY * 1e3:.0f} ms, every answer durable, "
        "against bare aiohttp",
        ours,
        peer,
        [a / b for a, b in zip(ours, peer, strict=True)],
        cpu_ms_per_call=round(sorted(cpu_ms)[len(cpu_ms) // 2], 3),
    )


def peak_megabytes(overrides: list[str]) -> float:
    """Peak resident set of the verb; runs in a process of its own."""
    sys.argv = ["distill", *overrides]
    try:
        runpy.run_module("distill", run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_memory() -> dict[str, Any]:
    peaks: list[float] = []
    with server() as url, tempfile.TemporaryDirectory() as name:
        for n in (10_000, 200_000):
            folder = Path(name) / str(n)
            folder.mkdir()
            overrides = [
                *teacher(url),
                f"data={write_prompts(folder / 'prompts.jsonl', n)}",
                "thinking_prompt=template",
                "verify=none",
                f"out={folder / 'pairs'}",
                "model=tiny",
                f"answer_cache={folder / 'answers.sqlite'}",
            ]
            started = time.perf_counter()
            peaks.append(in_process(peak_megabytes, overrides))
            print(
                f"{n} prompts: {peaks[-1]:.0f} MB, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    few, many = peaks
    what = "peak MB of distill over 200,000 prompts, against over 10,000"
    return result(what, [many], [few], [few / many])


def synthetic_prompts(n: int, planted: int, seed: int) -> tuple[list[str], set[int]]:
    """`n` prompts of about 300 characters, and the positions of `planted` of them, each a copy of
    an earlier one with one word replaced."""
    rng = random.Random(seed)
    syllables = [
        consonant + vowel
        for consonant in "bcdfghklmnprstvz"
        for vowel in ("a", "e", "i", "o", "u", "an", "er", "ol")
    ]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(VOCABULARY)]
    texts = [" ".join(rng.choices(words, k=50)) for _ in range(n - planted)]
    for text in rng.sample(texts, planted):
        copy = text.split()
        copy[rng.randrange(len(copy))] = rng.choice(words)
        texts.append(" ".join(copy))
    return texts, set(range(n - planted, n))


def measure_selection(n: int, data_dir: str | None) -> dict[str, Any]:
    from distill.config import Config
    from distill.select import benchmark_texts
    from ratiocine.data import Index, repeats
    from ratiocine.hashing import content_key

    texts, planted = synthetic_prompts(n, n // 100, 0)
    texts[0] = texts[-1]  # an exact duplicate
    benchmarks = [f"select.data_dir={data_dir}"] if data_dir else ["select.decontaminate=[]"]
    config = cli.compose("distill", Config, ["select=clean", *benchmarks])
    test_texts = benchmark_texts(config.select)
    seconds: list[float] = []

    def step(name: str, work: Callable[[], set[int]]) -> set[int]:
        started = time.perf_counter()
        removed = work()
        seconds.append(time.perf_counter() - started)
        print(f"{name}: {len(removed)} of {n} in {seconds[-1]:.0f} s", flush=True)
        return removed

    def exact() -> set[int]:
        first: dict[str, int] = {}
        return {i for i, t in enumerate(texts) if first.setdefault(content_key(t), i) != i}

    def contaminated() -> set[int]:
        index = Index(test_texts)
        return {i for i, text in enumerate(texts) if index.held_by(text)}

    step("exact duplicates", exact)
    step(f"13-grams of {len(test_texts)} test problems", contaminated)
    near = step("near-duplicates", lambda: set(repeats(texts)))
    total = sum(seconds)
    return result(
        f"seconds to deduplicate and decontaminate {n} prompts; peer is the time allowed",
        [total],
        [ALLOWED_SECONDS],
        [ALLOWED_SECONDS / total],
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        recall=round(len(planted & near) / len(planted), 5),
        false_positives=round(len(near - planted) / n, 6),
        benchmark_problems=len(test_texts),
    )


def main() -> None:
    parser = cli.argument_parser("bench.distill", __doc__)
    parser.add_argument("what", choices=("calls", "memory", "select"))
    parser.add_argument("-n", type=int, default=1_000_000, help="prompts to select from")
    parser.add_argument("--data-dir", help="folder with local copies of the benchmarks")
    options = parser.parse_args()
    if options.what == "calls":
        print_result(measure_calls())
    elif options.what == "memory":
        print_result(measure_memory())
    else:
        print_result(measure_selection(options.n, options.data_dir))


if __name__ == "__main__":
    main()
