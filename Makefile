# Each of demo, test and lint sets itself up on a fresh machine: a virtual environment, the pinned dependencies, the run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
PINS := setup.cfg pyproject.toml constraints.txt

.PHONY: demo test lint clean

demo: $(VENV)/.installed-core
	$(BIN)/monai-nas demo

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

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
