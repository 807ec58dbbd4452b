# Everything is made in .venv; PYTHON chooses the interpreter (3.11 or newer).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: quickstart test cases draws fuzz hostile audit sbom check page-check bench bench-limits bench-photos bench-race bench-growth bench-report bench-store bench-large bench-table bench-replay bench-search bench-robust chaos compose-secrets compose-check docs clean
.DEFAULT_GOAL := quickstart

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python must be 3.11 or newer, got %d.%d: set PYTHON=/path/to/python3.11" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv

.venv/.installed: $(BIN)/python pyproject.toml constraints.txt
	@echo 'Installing automl-transfer into .venv (about 2 minutes the first time) ...'
	$(PIP) --editable '.[all]'
	@touch $@

.venv/.developing: .venv/.installed
	@echo 'Installing the tools for tests ...'
	$(PIP) --editable '.[dev]'
	@touch $@

# Tests of pages need Chromium. It comes from the system's packages where they can be installed.
.venv/.browser: .venv/.installed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo 'Installing Chromium for the tests of pages ...'; \
	  command -v apt-get >/dev/null && sudo=$$(test "$$(id -u)" = 0 || echo sudo -n) && \
	  { $$sudo apt-get install -y -qq --no-install-recommends chromium >/dev/null || \
	    { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq --no-install-recommends chromium >/dev/null; }; }; } || \
	  { echo 'Chromium is missing and could not be installed: install it with the package manager of your system'; exit 1; }
	@touch $@

quickstart: .venv/.installed  ## search for the best way to read handwritten digits, on SQLite
	$(BIN)/automl-transfer search studies/quick.toml --set search.max_epochs=9

test: .venv/.developing .venv/.browser  ## the whole test suite
	$(BIN)/python -m pytest

cases: .venv/.developing  ## what users have and do, by the number of its finding: refused in words, or right
	$(BIN)/python -m pytest tests/cases

draws: .venv/.developing  ## 200 random strategies of the space on each of four families of networks, about 4 minutes
	ANY_STRATEGY_DRAWS=200 $(BIN)/python -m pytest --dist load --timeout 900 tests/training/test_any_strategy.py

fuzz: .venv/.developing  ## ten minutes of random examples for each parser in turn, other ones each time; KINDS="csv npz" for some
	$(BIN)/python tests/cases/fuzz.py --minutes 10 $(if $(KINDS),--only $(KINDS))

hostile: .venv/.developing  ## hostile weights and arrays: none is used, none runs code
	$(BIN)/python tests/models/hostile.py

audit: .venv/.developing  ## what is installed, against known faults and its own records; needs no network
	$(BIN)/python scripts/supply.py audit

sbom: .venv/.developing  ## the bill of materials of a release (CycloneDX), in dist/
	mkdir -p dist
	$(BIN)/python scripts/supply.py sbom dist/sbom.cdx.json

bench-robust: .venv/.developing  ## accuracy under attack, and with wrong labels; goes on where it stopped
	$(BIN)/python benchmarks/robust.py attack
	$(BIN)/python benchmarks/robust.py labels

check: .venv/.developing  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

page-check: .venv/.developing .venv/.browser  ## the report's pages in a real Chromium, offline
	$(BIN)/python -m pytest tests/pages

bench-report: .venv/.developing  ## a report of 5,000 trials; what confirmation is worth, by simulation
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/intervals.py
	$(BIN)/python benchmarks/confirmation.py

bench: .venv/.developing  ## the benchmarks behind the figures in the README
	$(BIN)/python benchmarks/quickstart.py digits mnist5k 'textures?patch=16'
	$(BIN)/python benchmarks/defaults.py
	$(BIN)/python benchmarks/batches.py
	$(BIN)/python benchmarks/predict.py
	$(BIN)/python benchmarks/packages.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/views.py
	$(BIN)/python benchmarks/tuning.py
	$(BIN)/python benchmarks/where.py
	$(BIN)/python benchmarks/oracle.py
	$(BIN)/python benchmarks/store.py --quick
	$(BIN)/python benchmarks/dashboard.py

bench-limits: .venv/.developing  ## what makes a step cheaper; training and the profile's pass beside bare loops
	$(BIN)/python benchmarks/steps.py
	$(BIN)/python benchmarks/limits.py

# fastai, one of the peers, is none of the project's dependencies: it comes into a folder of its own, without
# PyTorch and what else is there already.
benchmarks/photos/data/fastai: .venv/.developing
	$(PIP) --target $@ --no-deps fastai==2.8.12 fastcore fastdownload 'fastprogress<1.1' fasttransform 'plum-dispatch<2.10' beartype cloudpickle

bench-photos: benchmarks/photos/data/fastai  ## photographs: beside a plain recipe, fastai, features and Optuna; PHOTOS=FOLDER has them
	PYTHONPATH=$(CURDIR)/benchmarks/photos/data/fastai $(BIN)/python benchmarks/photos/photos.py --record $(if $(PHOTOS),--photos $(PHOTOS))

bench-race: .venv/.developing  ## seconds to the accuracy that plain Optuna has after 15 minutes; records that first
	$(BIN)/python benchmarks/race/race.py --record
	$(BIN)/python benchmarks/race/race.py

bench-growth: .venv/.developing  ## seconds and memory of profile and heads, at 2,000 to 100,000 images
	$(BIN)/python benchmarks/growth.py

bench-store: .venv/.developing  ## trials a second beside plain study.optimize, on SQLite and PostgreSQL
	$(BIN)/python benchmarks/store.py --full --postgres

bench-large: .venv/.developing .venv/.browser  ## up to 64 and 500 workers, 20,000 trials, on PostgreSQL; an hour; goes on where it stopped
	$(BIN)/python benchmarks/large.py efficiency decision beside history join crowd
	$(BIN)/python benchmarks/large.py

bench-table: .venv/.developing  ## records the table of learning curves, hours; goes on where it stopped; PHOTOS=FOLDER
	$(BIN)/python benchmarks/table/record.py $(if $(PHOTOS),--photos $(PHOTOS),--tasks digits-20 mnist-600 textures-16 faces stamps openclipart ufoai)
	$(BIN)/python benchmarks/table/record.py --pack

bench-search: .venv/.developing  ## a search beside its best first answer and the best recipe; hours; PHOTOS=FOLDER
	$(BIN)/python benchmarks/search/worth.py --record $(if $(PHOTOS),--photos $(PHOTOS))

bench-replay: .venv/.developing  ## samplers, pruners and workers, replayed over the recorded table
	$(BIN)/python benchmarks/replay.py --workers 1 8
	$(BIN)/python benchmarks/table/rungs.py
	$(BIN)/python benchmarks/table/strongest.py

chaos: .venv/.developing  ## kills workers and databases, and counts what was lost
	$(BIN)/python tests/chaos/chaos.py --database sqlite --progress chaos-sqlite.txt
	$(BIN)/python tests/chaos/chaos.py --database postgresql --progress chaos-postgresql.txt
	$(BIN)/python tests/chaos/chaos.py --database postgresql --pruner promote --workers 4 --epochs 60 --long-every 2 --progress chaos-promote.txt

compose-secrets:  ## passwords and settings for docker-compose.yml
	$(PYTHON) scripts/compose_secrets.py

compose-check: .venv/.developing .venv/.browser  ## builds the image, kills a worker container, and counts
	$(BIN)/python tests/compose/compose_check.py

docs: .venv/.developing  ## the documentation, in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo 'wrote site/index.html'

clean:
	rm -rf .venv runs dist build site .pytest_cache .mypy_cache .ruff_cache
