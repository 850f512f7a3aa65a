# Set-up and daily commands. `make demo` and `make test` need only python3 (3.11 or newer) with pip.

PYTHON ?= python3
VENV ?= .venv
# What `make demo` pushes; empty: two packages of the running Python's own standard library.
DIR ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
# How long `make fuzz` tries each parser.
SECONDS ?= 60

# A project-local store for `migrate`, `migrate-fresh` and `dev`; the same places as in .env.example.
export ARTIFACTSTORE_DATABASE_URL ?= sqlite:///./var/artifactstore.db
export ARTIFACTSTORE_STORAGE_LOCAL_ROOT ?= ./var/storage

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' artifactstore/version.py)
STEM := artifactstore-$(VERSION)

.DEFAULT_GOAL := help
.PHONY: help demo test drills drills-sample mutants fuzz lint types wheel sbom release bench bench-check migrate migrate-fresh dev clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/installed  ## push a real directory, show it, export it, check the export (DIR= to choose)
	@$(BIN)/python examples/demo.py ./var/demo $(DIR)

test: $(VENV)/installed-test  ## run the whole suite but the slow drills
	$(BIN)/python -m pytest $(PYTEST_ARGS)

drills: $(VENV)/installed-test  ## run every drill in full and print the table of their figures; takes hours
	$(BIN)/python -m pytest -m slow --full --timeout=0 $(PYTEST_ARGS)

drills-sample: $(VENV)/installed-test  ## run the seeded part of the drills that .ci/run runs
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

mutants: $(VENV)/installed-test  ## plant each known bug and print which drill turns red
	PYTHONPATH=tests $(BIN)/python -m mutants

lint: $(VENV)/installed-lint  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed-lint  ## mypy, strict
	$(BIN)/mypy

wheel: $(VENV)-release/installed  ## build the wheel and the source archive, the same bytes everywhere, below ./dist
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(VENV)-release/bin/python -m build --no-isolation

sbom: wheel  ## list everything that an installation of the wheel brings, as CycloneDX, below ./dist
	$(PYTHON) -m venv --clear --without-pip build/installed
	$(VENV)-release/bin/python -m pip --python build/installed/bin/python install --quiet --no-compile "dist/$(STEM)-py3-none-any.whl[all]"
	@# The tool does not know a version that another file has.
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > build/pyproject.toml
	$(VENV)-release/bin/cyclonedx-py environment --pyproject build/pyproject.toml --mc-type library \
	  --output-reproducible --output-file dist/$(STEM).cdx.json build/installed/bin/python

release: sbom  ## wheel, source archive, list of contents, and their sums, below ./dist
	cd dist && sha256sum $(STEM)* > SHA256SUMS

fuzz: $(VENV)/installed-fuzz  ## fuzz each parser, led by coverage (SECONDS= for each; Python 3.11 or 3.12)
	cd tests && $(abspath $(BIN))/python -m abuse.coverage_guided --seconds $(SECONDS)

bench: $(VENV)/installed  ## compare with all peers that are here, write docs/benchmarks.md (BENCH_ARGS=--quick: writes nothing)
	$(BIN)/python -m benchmarks --peers all --page $(BENCH_ARGS)

bench-check: $(VENV)/installed  ## fail if a ratio is worse than the committed one (BENCH_ARGS=--quick: small sets, wide limit)
	$(BIN)/python -m benchmarks.check $(BENCH_ARGS)

migrate: $(VENV)/installed  ## bring ./var/artifactstore.db to this version, or make it
	@$(BIN)/artifactstore migrate

migrate-fresh: $(VENV)/installed  ## drop the store below ./var and make an empty one
	rm -rf var/artifactstore.db var/artifactstore.db-* var/artifactstore.db.lock var/artifactstore.db.seen \
	  var/artifactstore.db.uploads var/storage
	@env -u ARTIFACTSTORE_API_URL ARTIFACTSTORE_DATABASE_URL=sqlite:///./var/artifactstore.db \
	  ARTIFACTSTORE_STORAGE_LOCAL_ROOT=./var/storage $(BIN)/artifactstore init

dev: $(VENV)/installed  ## serve the store below ./var over HTTP on 127.0.0.1:8000
	@exec $(BIN)/artifactstore serve

clean:  ## remove the environment and what tools leave behind
	rm -rf $(VENV) $(VENV)-release build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"error: {sys.executable} is Python {sys.version.split()[0]}, 3.11 or newer is needed\nhint: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(VENV)/bin/python pyproject.toml
	$(PIP) -e '.[all]'
	@# An install from the source tree compiles nothing; where Python may not, it would at each start.
	$(BIN)/python -m compileall -q artifactstore
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(PIP) -e '.[all,test]'
	@touch $@

$(VENV)/installed-fuzz: $(VENV)/installed-test
	$(PIP) -e '.[all,test,fuzz]'
	@touch $@

$(VENV)/installed-lint: $(VENV)/installed-test
	$(PIP) -e '.[all,test,lint]'
	@touch $@

$(VENV)-release/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-release
	$(VENV)-release/bin/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[release]'
	@touch $@
