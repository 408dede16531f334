# Needs Python >= 3.11 and make; everything else goes into $(VENV).
#   make demo    train LeNet-5 on handwritten digits, save figures/lenet5/curves.png
#   make test    the test suite           make lint     ruff
#   make types   mypy                     make peers    parity with JAX and PyTorch
#   make mlx     suites on MLX            make gpu      a subset of them on a GPU
#   make bench   the benchmarks           make docs     guides and reference, into build/docs
#   make clean   remove what these targets made

PYTHON  ?= python3
VENV    ?= .venv
WORKERS ?= 2
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help demo test lint types peers mlx gpu bench docs clean
.DELETE_ON_ERROR:
# Stamps are kept: they say which extras the environment already has.
.SECONDARY:

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | head -7

demo: $(VENV)/.has-demo
	@echo "demo: LeNet-5 on handwritten digits (examples/lenet5_mnist.py)"
	@$(BIN)/python -m examples.lenet5_mnist --demo

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

mlx: $(VENV)/.has-test $(VENV)/.has-mlx
	@echo "mlx: layers, optimizers, control flow and kernels on MLX's CPU stream"
	@$(BIN)/python -m pytest -n $(WORKERS) --device mlx:cpu -m "not peers"

gpu: $(VENV)/.has-test $(VENV)/.has-$(if $(filter Darwin,$(shell uname)),mlx,cuda)
	@echo "gpu: the tests marked gpu"
	@$(BIN)/python -m pytest --device gpu -m gpu -rs

bench: $(VENV)/.has-bench $(VENV)/.has-peers
	@echo "bench: ours and the peers in alternating processes"
	@$(BIN)/python -m benchmarks

docs: $(VENV)/.has-docs
	@echo "docs: guides and reference, into build/docs"
	@$(BIN)/python -m sphinx -q -W --keep-going -j 2 docs build/docs
	@echo "docs: open build/docs/index.html"

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
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache figures docs/api docs/notebooks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
