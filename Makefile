# Every target sets up what it needs in .venv; a machine needs only Python 3.10+, make and git.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --constraint constraints.txt

BINDINGS := .cache/bindings

.PHONY: demo test check format clean

demo: .venv/runtime.stamp
	$(BIN)/heme-edge live --camera sim --seconds 12 --picture demo/annotated.jpg

# Two processes on two cores: threads of each beside them only wait for one another.
test: .venv/dev.stamp $(BINDINGS)/stamp
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
	  --durations 30 -m 'not alone'
	$(BIN)/pytest -m alone

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

# The Python bindings of the TensorRT versions we span, without their libraries (5 MB in all), to
# see that each has what our code uses. Where they cannot be had those tests skip and say so.
$(BINDINGS)/stamp: Makefile .venv/dev.stamp
	mkdir -p $(BINDINGS)
	for wheel in tensorrt-bindings==8.6.1 tensorrt-cu12-bindings==10.3.0 \
	    tensorrt-cu12-bindings==10.16.1.11 tensorrt-cu12-bindings==11.4.0.106; do \
	  $(BIN)/pip download --quiet --no-deps --only-binary=:all: --dest $(BINDINGS) $$wheel \
	    || echo "$$wheel cannot be had here; its tests skip"; \
	done
	touch $@

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache demo
