"""A scripted teacher over HTTP: it adds two numbers, thinks when it is told to, errs as often as
asked, and counts its calls."""

import asyncio
import json
import random
import re
import threading
from collections import Counter
from hashlib import sha256
from pathlib import Path

from aiohttp import web

FAULTS = ("500", "429", "slow", "half", "json", "empty", "gone")


class Teacher:
    """A context manager that serves on `url`.

    `faults`: share of calls that fail, in all the ways of `FAULTS`. `wrong`, `wrong_thinking`:
    shares of prompts with a wrong direct or reasoning answer. `inline`: the trace stands in the
    text. `delay`: seconds per call. `context`: prompts that are "too long" are refused. `draws`:
    samples differ. `busy`: number of first calls answered with 503. `key`: the expected API key.
    Counted are `calls` and whole answers (`answered`) by request, and `most` calls in flight.
    """

    def __init__(
        self,
        *,
        faults: float = 0.0,
        wrong: float = 0.0,
        wrong_thinking: float = 0.0,
        inline: bool = False,
        delay: float = 0.0,
    ) -> None:
        self.faults, self.inline, self.delay = faults, inline, delay
        self.wrong, self.wrong_thinking = wrong, wrong_thinking
        self.context, self.busy, self.most, self.key, self.draws = True, 0, 0, "", False
        self.gone = 0  # connections closed without an answer
        self.random, self.open = random.Random(0), 0
        self.answered, self.calls = Counter[str](), Counter[str]()
        self.bodies: list[dict] = []

    def __enter__(self) -> "Teacher":
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), daemon=True).start()
        ready.wait()
        return self

    def __exit__(self, *error: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)

    def _serve(self, ready: threading.Event) -> None:
        self.loop = asyncio.new_event_loop()
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.complete)
        app.router.add_get("/v1/models", self.models)
        runner = web.AppRunner(app, shutdown_timeout=0)
        self.loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0)
        self.loop.run_until_complete(site.start())
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        self.loop.run_forever()

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "adder"}]})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            return await self._complete(request)
        finally:
            self.open -= 1

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        given = request.headers.get("Authorization", "")
        if self.key and given != f"Bearer {self.key}":
            return web.json_response({"error": f"no such key: {given}"}, status=401)
        self.bodies.append(body)
        if body["model"] != "adder":
            return web.json_response({"error": "no such model"}, status=404)
        prompt, thinks = (
            body["messages"][-1]["content"],
            (body.get("chat_template_kwargs") or {}).get("enable_thinking"),
        )
        name = f"{prompt}|{thinks}|{body['seed']}"
        self.calls[name] += 1
        if "too long" in prompt and self.context:
            return web.json_response({"error": "over the context"}, status=400)
        if self.busy > 0:
            self.busy -= 1
            return web.Response(status=503, headers={"Retry-After": "1"})
        fault = self.random.choice(FAULTS) if self.random.random() < self.faults else ""
        await asyncio.sleep(self.delay + (3 if fault == "slow" else 0))
        if fault.isdigit():
            return web.Response(
                status=int(fault), headers={"Retry-After": "1"} if fault == "429" else {}
            )
        if fault == "gone":
            self.gone += 1
            request.transport.close()
        answer = self.answer(prompt, thinks)
        if self.draws:
            answer["choices"][0]["message"]["content"] = (
                f"Draw {body['seed']}: {answer['choices'][0]['message']['content']}"
            )
        text = json.dumps(answer)
        text = {"half": text[:-20], "json": "<html>", "empty": '{"choices": []}'}.get(fault, text)
        if not fault:
            self.answered[name] += 1
        return web.Response(text=text, content_type="application/json")

    def answer(self, prompt: str, thinks: bool | None) -> dict:
        a, b = map(int, re.findall(r"\d+", prompt)[:2])
        luck = int(sha256(f"{prompt}{bool(thinks)}".encode()).hexdigest(), 16) % 1000
        wrong = luck < 1000 * (self.wrong_thinking if thinks else self.wrong)
        direct = f"\\boxed{{{a + b + wrong}}}"
        message = {"content": direct}
        if thinks and self.inline:
            message["content"] = f"<think>\n{a} plus {b} is {a + b}\n</think>\n\n{direct}"
        elif thinks:
            message["reasoning_content"] = f"{a} plus {b} is {a + b}"
        usage = {"prompt_tokens": 9, "completion_tokens": 20 if thinks else 5}
        return {"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage}


def words(teacher: Teacher, file: Path, out: Path, *more: str) -> list[str]:
    """The command that distills the problems of a file with this teacher."""
    return [
        "distill",
        "teacher=openai",
        f"teacher.engine.base_url={teacher.url}",
        "teacher.engine.model=adder",
        f"data={file}",
        "model=tiny",
        f"answer_cache={out.parent / 'answers.sqlite'}",
        f"out={out}",
        *more,
    ]
