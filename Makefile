# make demo    a virtual environment, an install, and the main job on the shipped weights: demo/report.html
# make test    the default tests (CPU, no network, under five minutes), as many at a time as there are cores
# make fast    the tests of records, ops and estimators: under a minute
# make format  format the code and sort its imports
# make check   everything CI runs: format, lint, types, layers, tests
# make bench   the throughput numbers of RESULTS.md, and our directions beside those of others: bench/directions.html

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test fast check lint format bench clean

$(VENV)/.installed: pyproject.toml lineament-faces/pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Lineament needs Python 3.11 or newer, $(PYTHON) is older; set PYTHON=python3.12, say"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable . --editable ./lineament-faces
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/lineament discover --out demo
	@echo "Open demo/report.html in a browser."

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8

fast: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 8 tests/records tests/ops tests/estimators

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix src lineament-faces tests benchmarks experiments
	$(BIN)/ruff format src lineament-faces tests benchmarks experiments

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src lineament-faces tests benchmarks experiments
	$(BIN)/ruff check src lineament-faces tests benchmarks experiments
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

check: lint test

$(VENV)/.installed-peers: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[peers]'
	touch $@

bench: $(VENV)/.installed-peers
	$(BIN)/python -m benchmarks
	mkdir -p bench
	$(BIN)/lineament evaluate directions --out bench/directions.json --report bench/directions.html

clean:
	rm -rf $(VENV) demo bench
