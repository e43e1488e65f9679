# Every command of the README. All are quiet, ask nothing, and may be run twice or interrupted.
#
#   make demo        set up .venv, ask a spoken question, hear the answer in out/
#   make test        the default tests (minutes)      make test-slow   the long ones
#   make lint        ruff, format, types              make clean       forget what was made
#   make test-lmms   our models in lmms-eval, in .venv-lmms, an environment of its own
#
# PYTHON names the interpreter to begin with: make demo PYTHON=python3.12

PYTHON ?= python3
VENV   ?= .venv
LMMS   ?= .venv-lmms
# The bounds of pyproject.toml; a wish of one's own goes here too: TORCH="torch==2.13.0+cpu"
TORCH  ?= torch>=2.8,<2.14
BIN    := $(VENV)/bin
# Twice quiet: errors are still said, warnings about the user's index settings are not.
PIP    := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
READY  := $(VENV)/.ready

.PHONY: demo test test-slow test-lmms lint clean setup system browser
.DEFAULT_GOAL := demo

demo: setup system
	@PATH="$$(cd $(BIN) && pwd):$$PATH" sh examples/demo.sh

test: setup system
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

test-slow: setup system
	@$(BIN)/python -m pytest -m slow

# lmms-eval comes without what it asks for: see .ci/requirements-lmms.txt.
test-lmms:
	@test -x $(LMMS)/bin/python || $(PYTHON) -m venv $(LMMS)
	@test -f $(LMMS)/.ready || { \
	  pip="$(LMMS)/bin/python -m pip -qq --disable-pip-version-check --no-input" \
	  && echo "Installing torch, Unisono and lmms-eval into $(LMMS) (the first time)" \
	  && $$pip install "$(TORCH)" && $$pip install --editable ".[eval,train]" pytest \
	  && $$pip install --no-deps -r .ci/requirements-lmms.txt && touch $(LMMS)/.ready; }
	@$(LMMS)/bin/python -m pytest -o addopts= -q tests/evaluation/test_lmms.py

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

setup: $(READY)

# The stamp is written last, so an interrupted set-up is taken up again; a half-made .venv has
# no working pip and is made anew. torch comes by itself first: it is most of the download, and
# pip keeps it if what follows is interrupted.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Unisono needs Python 3.11 or newer; name one: make demo PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  echo "Making $(VENV)"; $(PYTHON) -m venv --clear $(VENV); }
	@echo "Installing torch into $(VENV) (the first time this takes minutes)"
	@$(PIP) install "$(TORCH)"
	@echo "Installing Unisono and what its tests need"
	@$(PIP) install --editable ".[test]"
	@touch $(READY)

test test-slow: browser

# The tests of the web page ask it in Chromium, those of OpenAI's other client in Node.js.
browser:
	@if command -v apt-get >/dev/null && ! { command -v chromium && command -v node; } >/dev/null; then \
	  echo "Installing chromium and nodejs"; \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	  { $$as_root apt-get update -qq \
	    && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
	      --no-install-recommends chromium nodejs; \
	  } </dev/null >/dev/null || { \
	    echo "The tests need them; install them: sudo apt-get install chromium nodejs" >&2; exit 1; }; \
	fi

# llama.cpp's library, the default engine on x86 Linux, needs GNU OpenMP from the system.
system:
	@if [ "$$(uname -s)" = Linux ] && command -v apt-get >/dev/null \
	  && ! PATH="$$PATH:/sbin:/usr/sbin" ldconfig -p | grep -q 'libgomp\.so\.1'; then \
	  echo "Installing libgomp1"; \
	  as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
	  { $$as_root apt-get update -qq \
	    && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libgomp1; \
	  } </dev/null >/dev/null || { \
	    echo "The tests need libgomp1; install it: sudo apt-get install libgomp1" >&2; exit 1; }; \
	fi

clean:
	@rm -rf $(VENV) $(LMMS) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
