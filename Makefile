# make run | test | check | bench | suites | docs: each sets up what it needs in .venv.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONFIG ?= config.yaml
TESTS ?= tests

.PHONY: help run test check bench bench-against soak suites docs clean

help:
	@echo "make run      run config.yaml in the foreground"
	@echo "make test     run all tests"
	@echo "make check    linters, types, import rules, documentation"
	@echo "make bench    measure beside the peers that are installed"
	@echo "make bench-against REV=v0.1   beside another revision (WORKS='relay lines')"
	@echo "make soak     nine minutes of mixed load with kills, and a verdict (SOAK=--minutes=60)"
	@echo "make suites   run the tests of other Twisted programs on epoll and on netserve's reactor"
	@echo "make docs     build the documentation into docs/_build/html"

# One stamp a set of extras, so that `make run` does not install what only tests need.
$(VENV)/run: pyproject.toml setup.cfg
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/test: $(VENV)/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,docs,fuzz]'
	@touch $@

run: $(VENV)/run
	$(BIN)/netserve run $(CONFIG)

test: $(VENV)/test
	$(BIN)/python -m pytest $(TESTS)

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory docs

bench: $(VENV)/test
	$(BIN)/python -m bench

bench-against: $(VENV)/test
	$(BIN)/python -m bench.against $(REV) $(WORKS)

soak: $(VENV)/test
	$(BIN)/python -m tests.soak $(SOAK)

suites:
	$(PYTHON) -m tests.suites $(SUITES)

docs: $(VENV)/test
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html

clean:
	rm -rf $(VENV) build dist docs/_build *.egg-info
