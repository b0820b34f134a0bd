# make quickstart: install and run a first study.   make test: install and test.   make lint: the checks of style.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

# These tests run one after the other, with nothing beside: Ray gives up when a busy machine takes more than 30 s to start it.
ALONE := tests/test_sweep.py tests/services/test_cluster.py
PYTEST := $(BIN)/python -m pytest -m "not slow and not gpu"

.PHONY: quickstart test test-alone test-others test-all lint format clean

quickstart: .venv/installed
	$(BIN)/python -m raypeft.sweep quickstart

test: .venv/installed-dev
	$(MAKE) test-others
	$(MAKE) test-alone

test-alone:
	$(PYTEST) $(ALONE)

# One process for each of CI's two cores, and one torch thread in each. A file stays in one process, which then makes
# its fixtures once.
test-others:
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE))

test-all: .venv/installed-dev
	$(BIN)/python -m pytest

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
