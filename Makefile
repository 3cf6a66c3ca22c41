# Each of demo, test, lint and bundles sets itself up on a fresh machine: a virtual environment, the pinned dependencies, the run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
PINS := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test lint bundles clean

demo: $(VENV)/.installed-core
	$(BIN)/monai-nas demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# What the MONAI ecosystem checks of a bundle, on copies trained for two steps on phantoms: a table, task by check.
bundles: $(VENV)/.installed-core
	$(BIN)/python -m monai_nas.benchmarks.bundle_checks --torchrun

clean:
	rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache *.egg-info

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-core: $(PINS) | $(BIN)/python
	$(PIP) -e .
	touch $@

$(VENV)/.installed-dev: $(PINS) | $(BIN)/python
	$(PIP) -e ".[dev]"
	touch $@ $(VENV)/.installed-core
