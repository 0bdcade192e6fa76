# Every target sets up what it needs in .venv; a machine needs only Python 3.10+, make and git.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt

.PHONY: demo test check format clean

demo: .venv/runtime.stamp
	$(BIN)/heme-edge live --camera sim --seconds 12 --picture demo/annotated.jpg

test: .venv/dev.stamp
	$(BIN)/pytest

check: .venv/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/dev.stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.venv/runtime.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

# torch by itself first: asked for by another package it could come as a CUDA build of gigabytes.
.venv/dev.stamp: .venv/runtime.stamp
	$(PIP) torch
	$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache demo
