# Needs Python >= 3.11 and make; everything else goes into $(VENV).
#   make demo    train a digit classifier, print a slice of its gradient program, save a figure
#   make test    the test suite           make lint     ruff
#   make types   mypy                     make peers    parity with JAX and PyTorch
#   make bench   the benchmarks           make clean    remove what these targets made

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test lint types peers bench clean
.DELETE_ON_ERROR:
# Stamps are kept: they say which extras the environment already has.
.SECONDARY:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -5

demo: $(VENV)/.has-demo
	@echo "demo: train a classifier of handwritten digits (examples/digits.py)"
	@$(BIN)/python -m examples.digits

test: $(VENV)/.has-test
	@echo "test: pytest with $(WORKERS) processes"
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not peers"

lint: $(VENV)/.has-dev
	@echo "lint: ruff"
	@$(BIN)/python -m ruff check .

types: $(VENV)/.has-dev
	@echo "types: mypy on the public API"
	@$(BIN)/python -m mypy

peers: $(VENV)/.has-test $(VENV)/.has-peers
	@echo "peers: parity with JAX and PyTorch"
	@$(BIN)/python -m pytest -n $(WORKERS) -m peers

bench: $(VENV)/.has-bench $(VENV)/.has-peers
	@echo "bench: ours and the peers in alternating processes"
	@$(BIN)/python -m benchmarks

# One stamp per extra; a change of pyproject.toml installs again.
$(VENV)/.has-%: pyproject.toml | $(BIN)/python
	@echo "install: lucidfn[$*] into $(VENV)"
	@$(PIP) install --quiet --editable ".[$*]"
	@touch $@

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
		echo "error: '$(PYTHON)' was not found; install Python 3.11 or newer, or: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$($(PYTHON) --version) is too old; lucidfn needs 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	@echo "venv: $(VENV) from $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "error: '$(PYTHON) -m venv' failed (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache figures
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
