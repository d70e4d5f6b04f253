# Felsina: `make up` sets up and serves, `make test` sets up and tests. Needs Python 3.11, pip, make.
PYTHON ?= python3
BIN := .venv/bin
PORT ?= 3000
export FELSINA_DATA ?= $(wildcard ../shared)

.PHONY: up federation-demo run setup test fast check lint docs sbom audit clean

up: setup
	@$(BIN)/felsina up --port $(PORT)

federation-demo: setup
	@$(BIN)/felsina city demo

run: setup
	@$(BIN)/felsina run

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert (3, 11) <= sys.version_info[:2] < (3, 13), "Python 3.11 or 3.12 is needed; set PYTHON=python3.11"'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Two processes or more, each with whole files: tests of a file share what it made. They take files
# as tests/conftest.py puts them, the slow ones first: xdist's own order puts files of few tests last.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
	--dist loadfile --no-loadscope-reorder

test: setup
	$(PYTEST)

fast: setup
	$(PYTEST) -m 'not slow'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

check: lint test

# What is installed: CycloneDX 1.6, the same bytes for the same packages; a test validates it.
sbom: setup
	@mkdir -p dist
	$(BIN)/cyclonedx-py environment $(BIN)/python --pyproject pyproject.toml --sv 1.6 --of JSON \
		--output-reproducible --no-validate --output-file dist/sbom.cdx.json

# Known holes in the pinned versions. The index may be out of reach, or a mirror that knows none:
# then nothing was checked, which must not look like nothing found.
audit: setup
	@mkdir -p dist
	@$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --timeout 15 \
		--progress-spinner off >dist/audit.txt 2>dist/audit.log; code=$$?; cat dist/audit.txt; \
	if [ $$code -ne 0 ] && [ ! -s dist/audit.txt ]; then \
		echo "audit: no index of known holes answers; nothing was checked (see dist/audit.log)"; \
	elif [ $$code -eq 0 ]; then echo "audit: no known hole"; fi; exit $$code

# dist/docs/index.html, to be opened from there or served by anything.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf .venv mlruns/work
