# The commands of daily work.  "make" lists them; PYTHON=python3.12 selects another Python for "make install".

PYTHON ?= python3
BIN := .venv/bin

.PHONY: help install test unit integration lint format types docs fuzz bench ci

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install:  ## install the programs for the integration tests, and the project with its tools into .venv
	tests/install
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -e '.[dev]'

test:  ## run all tests
	$(BIN)/python -m tests

unit:  ## run the unit tests
	$(BIN)/python -m tests --unit

integration:  ## run the integration tests
	$(BIN)/python -m tests tests.integration

lint:  ## check imports, rules and format
	$(BIN)/lint-imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format:  ## repair the format, and the rules that can be repaired
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types:  ## check the types
	$(BIN)/mypy

docs:  ## build the documentation into docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	$(BIN)/pydoctor --html-output=docs/_build/html/reference/api -q

fuzz:  ## fuzz each parser for 60 seconds
	$(BIN)/tox run -e fuzz -- 60

bench:  ## measure the speed
	$(BIN)/python -m benchmarks

ci:  ## run everything that CI runs, from nothing
	.ci/run
