"""llama.cpp as a peer: a model folder of ours as its GGUF file, and the command of its server
(`make llama-cpp`)."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ratiocine.models import packaged

PYTHON = Path(__file__).parent.parent / ".venv-llama-cpp" / "bin" / "python"
SERVER = """
import signal, sys
import xllamacpp
from xllamacpp import ggml_type
path, cache, (port, slots, context, threads) = *sys.argv[1:3], map(int, sys.argv[3:])
params = xllamacpp.CommonParams()
params.model.path, params.port, params.hostnames = path, port, ["127.0.0.1"]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = slots * context, slots, threads
params.cache_type_k = params.cache_type_v = getattr(ggml_type, f"GGML_TYPE_{cache}")
server = xllamacpp.Server(params)
signal.pause()
"""


def server_command(
    path: Path,
    port: int,
    *,
    slots: int,
    context: int,
    threads: int,
    cache: Literal["F32", "F16"] = "F32",
) -> list[str]:
    """A server of a GGUF file that answers so many requests at once."""
    return [*map(str, (PYTHON, "-c", SERVER, path, cache, port, slots, context, threads))]


@contextmanager
def served(command: Callable[[int], list[str]]) -> Iterator[str]:
    """The address of a server that this command starts on a port; its output goes to stderr."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    process = subprocess.Popen(command(port), stdout=sys.stderr)
    try:
        while True:
            if process.poll() is not None:
                raise SystemExit("the server ended")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def write_gguf(
    folder: Path,
    out: Path,
    changed: Mapping[str, Any],
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """The weights of a folder with the packaged model's shape and tokenizer; `changed` are fields
    that differ from those of its GGUF file. Vectors stay in float32."""
    import gguf
    from safetensors.torch import load_file

    source = gguf.GGUFReader(packaged.PACKAGES["smollm2-135m"].installed()[0])
    writer = gguf.GGUFWriter(out, "llama")
    bf16 = dtype == "bfloat16"
    file_type = gguf.LlamaFileType.MOSTLY_BF16 if bf16 else gguf.LlamaFileType.ALL_F32
    values: dict[str, Any] = {"general.file_type": file_type, **changed}
    for name, field in source.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        inner = field.types[-1] if len(field.types) > 1 else None
        writer.add_key_value(name, values.get(name, field.contents()), field.types[0], inner)
    heads = {"q_proj": "llama.attention.head_count", "k_proj": "llama.attention.head_count_kv"}
    layers = int(source.fields["llama.block_count"].contents())
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    stored = gguf.GGMLQuantizationType.BF16
    for name, tensor in load_file(folder / "model.safetensors").items():
        weight = tensor.float().numpy()
        for part, key in heads.items():  # llama.cpp rotates neighbours, transformers halves
            if part in name:
                halves = weight.reshape(source.fields[key].contents(), 2, -1, weight.shape[1])
                weight = halves.swapaxes(1, 2).reshape(weight.shape)
        if bf16 and weight.ndim > 1:
            data = gguf.quants.quantize(weight, stored)
            writer.add_tensor(names.get_name(name, (".weight",)), data, raw_dtype=stored)
        else:
            writer.add_tensor(names.get_name(name, (".weight",)), weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
