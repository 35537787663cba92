# Every target sets up .venv itself when it is missing or older than the lock file.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
RUN    := runs/demo
FIRST  := runs/demo_first
NAMES  := a red circle. an orange square. a blue triangle. a cyan heart. an orange star. a cyan star. a purple cross. a blue ring. a yellow square. a green cross. a red star. a red ring.

# Without compiled files every process that a test starts would compile what it imports, for half a minute.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: install demo bench test test-fast lint types format docs lock clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1|/' | column -t -s '|'

install: $(STAMP)  ## create .venv from the lock file and install the project into it

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(STAMP)

demo: $(STAMP)  ## predict with the built-in weights; then train, evaluate, predict and report, from nothing
	rm -rf $(RUN) $(FIRST)
	$(BIN)/python scripts/demo_scenes.py $(FIRST)/scenes
	$(BIN)/glipv2 predict images=$(FIRST)/scenes text="$(NAMES)" threshold=0.4 output=$(FIRST)/predictions
	@echo; echo "$(CURDIR)/$(FIRST)/predictions: by weights that come with the package. Now the same from nothing, ten minutes:"
	$(BIN)/glipv2 train experiment=shapes_joint_demo output=$(RUN)
	$(BIN)/glipv2 predict weights=$(RUN) images=$(FIRST)/scenes text="$(NAMES)" threshold=0.4 output=$(RUN)/predictions
	$(BIN)/glipv2 report $(RUN)
	@echo; echo "open $(CURDIR)/$(RUN)/report.html"

bench: $(STAMP)  ## time this machine against GroundingDINO-T and against ourselves; writes docs/performance.md
	$(BIN)/python scripts/bench.py --json docs/benchmarks/here.json
	$(BIN)/python scripts/bench.py --render

test: $(STAMP)  ## all tests
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-fast: $(STAMP)  ## the tests that train and install nothing
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m "not slow"

lint: $(STAMP)  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)  ## mypy --strict
	$(BIN)/mypy

format: $(STAMP)  ## apply ruff's formatting and safe fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)  ## build the documentation site into site/
	$(BIN)/mkdocs build --strict

lock: $(STAMP)  ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--group dev --extra docs --extra shards --extra onnx --extra supervision --extra video --extra serve pyproject.toml -o requirements.lock

clean:  ## remove what the other targets made
	rm -rf $(VENV) site dist build runs outputs multirun .pytest_cache .mypy_cache .ruff_cache .hypothesis
