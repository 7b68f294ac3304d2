"""Servers with OpenAI's chat completions API, a model for them that knows a few answers by heart,
and what each engine and server can do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from conftest import ROOT

from bench.llama_cpp import server_command, write_gguf
from ratiocine import models
from ratiocine.hashing import digest
from ratiocine.models import ModelConfig, packaged
from ratiocine.prompts import completion_ids, prompt_ids

CONTEXT = 1024

# What each can do: rows of the table in docs/eval.md, whose cells tests/test_conformance.py runs.
ENGINES = (
    "`transformers`",
    "`vllm`",
    "`vllm serve`",
    "`transformers serve`",
    "llama.cpp's server",
)
REASONING = "reasoning comes"
FILLED = "an answer that ends with its last allowed token is"
STOP = "a stop string ends"
PREFIX = "continues a prefix"
SAMPLES = "sampling is from the whole distribution"
SEEDS = "a sample is reproducible by its seed"
LOGPROBS = "log-probabilities"
THINKING = "`thinking=`, `thinking_prompt=flag`"
CONTROL = "control tokens in a prompt are"
OVERLONG = "a prompt over the context is"
COUNTS = "token counts"
EQUAL = "first 16 greedy tokens as `transformers`"
INTERRUPTED = "an interrupted run is"
CUT = "half a character at a cut is"
TABLE = {
    REASONING: ("in the text",) * 2 + ("in `reasoning`", "in the text", "in `reasoning_content`"),
    THINKING: ("yes",) * 5,
    FILLED: ("stop", "stop", "stop", "length", "stop"),
    STOP: ("generation", "the text", "the text", "the text", "the text"),
    PREFIX: ("yes", "yes", "rejected", "rejected", "rejected"),
    LOGPROBS: ("yes", "yes", "rejected", "rejected", "rejected"),
    SAMPLES: ("yes", "yes", "yes", "with settings", "with settings"),
    SEEDS: ("yes", "yes", "yes", "with settings", "yes"),
    EQUAL: ("yes",) * 5,
    COUNTS: ("exact",) * 5,
    CONTROL: ("text", "text", "refused", "refused", "refused"),
    OVERLONG: ("refused", "refused", "refused", "answered", "refused"),
    INTERRUPTED: ("resumed",) * 5,
    CUT: ("U+FFFD", "U+FFFD", "left out", "U+FFFD", "left out"),
}
# What is needed for them to sample as asked; seeds of concurrent calls mix in `transformers serve`.
SETTINGS: dict[str, dict[str, Any]] = {
    "`transformers serve`": {
        "concurrency": 1,
        "extra_body": {"generation_config": '{"do_sample": true, "top_k": 0}'},
    },
    "llama.cpp's server": {"extra_body": {"top_k": 0, "min_p": 0}},
}

# As Qwen3 has it: thinking is on unless it is switched off, and then the prompt ends in an empty
# think block.
QWEN3 = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and m['reasoning_content'] %}"
    "<think>\n{{ m['reasoning_content'] }}\n</think>\n\n{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% "
    "endif %}{% endif %}"
)
SUMS = [(2, 3), (4, 1), (6, 3), (5, 2)]
LETTERS = ("Say letters.", "日本 👩‍👧 é🙂")  # known without thinking


def question(a: int, b: int) -> str:
    return f"What is {a} + {b}?"


def answer(a: int, b: int) -> str:
    return f"The sum is \\boxed{{{a + b}}}."


def thought(a: int, b: int) -> str:
    return f"{a} and {b} make {a + b}."


def whole(a: int, b: int) -> str:
    return f"<think>\n{thought(a, b)}\n</think>\n\n{answer(a, b)}"


def lessons() -> list[tuple[str, bool, str]]:
    """Question, thinking, completion."""
    known = [(question(*pair), True, whole(*pair)) for pair in SUMS]
    known += [(question(*pair), False, answer(*pair)) for pair in SUMS]
    return [*known, (LETTERS[0], False, LETTERS[1])]


BASES = {  # with the learning rate
    "tiny": (ModelConfig(name="tiny", kind="tiny"), 6e-3),
    "smollm2-135m": (ModelConfig(name="smollm2-135m", kind="packaged"), 1e-4),
}


def taught(name: str) -> Path:
    """The folder of a model that was taught `lessons`, in the cache (a minute or two, once)."""
    version = digest(name, QWEN3, repr(lessons()), CONTEXT)[:12]
    folder = packaged.cache_folder() / f"taught-{name}-{version}"
    if not (folder / "config.json").exists():
        packaged.written_once(folder, lambda out: _teach(name, out))
    return folder


def _teach(name: str, out: Path) -> None:
    import torch

    base, lr = BASES[name]
    tokenizer, model = models.load_tokenizer(base), models.load_model(base, "cpu")
    tokenizer.chat_template = QWEN3
    ids, labels = [], []
    for asked, thinking, completion in lessons():
        prompt = prompt_ids(tokenizer, asked, thinking=thinking)
        after = completion_ids(tokenizer, completion)
        ids.append([*prompt, *after])
        labels.append([*[-100] * len(prompt), *after])
    width, end = max(map(len, ids)), tokenizer.eos_token_id
    x = torch.tensor([[*row, *[end] * (width - len(row))] for row in ids])
    y = torch.tensor([[*row, *[-100] * (width - len(row))] for row in labels])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for _ in range(900):
        loss = model(x, labels=y).loss
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02, loss.item()
    model.config.max_position_embeddings = CONTEXT
    models.save_student(model.eval(), tokenizer, out, None)
    if base.kind == "packaged":
        changed = {"tokenizer.chat_template": QWEN3, "llama.context_length": CONTEXT}
        write_gguf(out, out / "model.gguf", changed)


def transformers_serve(folder: Path, port: int) -> list[str]:
    program = Path(sys.executable).with_name("transformers")
    words = [program, "serve", folder, "--host", "127.0.0.1", "--port", port, "--device", "cpu"]
    return [*map(str, words), "--dtype", "float32", "--attn-implementation", "sdpa"]


def vllm_serve(folder: Path, port: int) -> list[str]:
    """`vllm serve`; that command itself does not start in the build for CPUs."""
    python = ROOT / ".venv-vllm" / "bin" / "python"
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", folder, "--port", port]
    words += ["--host", "127.0.0.1", "--dtype", "float32", "--max-num-seqs", "8"]
    return [*map(str, words), "--reasoning-parser", "qwen3", "--enforce-eager"]


def llama_cpp(folder: Path, port: int) -> list[str]:
    """A slot per context; one thread, since its threads spin."""
    return server_command(folder / "model.gguf", port, slots=4, context=CONTEXT, threads=1)


COMMANDS: dict[str, Callable[[Path, int], list[str]]] = {
    "`vllm serve`": vllm_serve,
    "`transformers serve`": transformers_serve,
    "llama.cpp's server": llama_cpp,
}


class Server:
    """A context manager that serves a model folder on `url`; can be killed and started again."""

    def __init__(self, command: Callable[[Path, int], list[str]], folder: Path, log: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = int(found.getsockname()[1])
        self.command, self.log = command(folder, self.port), log
        self.url, self.model = f"http://127.0.0.1:{self.port}/v1", str(folder)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        env = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log, env=env, start_new_session=True
            )
        for _ in range(1500):
            assert self.process.poll() is None, self.log.read_text()[-2000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=1).close()
                return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server does not come up")

    def kill(self) -> None:
        """Kill the server and its worker processes."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
