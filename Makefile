# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

FLOORS := .venv-floors
EXTRAS := demo,export,faces,report,train,viz
FLOORS_PYTHON ?= $(or $(shell for each in python3.10 python3.11; do $$each --version > /dev/null 2>&1 && echo $$each && break; done),$(PYTHON))
FLOORS_TESTS ?= tests/layers tests/ops/test_dispatch.py tests/ops/test_reference.py tests/ops/test_analytic.py \
	tests/models tests/data tests/engine/test_prediction.py tests/engine/test_evaluation.py tests/export tests/cli \
	tests/visualize

.PHONY: demo test floors check docs runtime parity kernels benchmarks clean

demo: $(VENV)/.demo  ## classify and compare real faces, train two networks on equally many image views
	rm -rf demo
	$(BIN)/qcs demo --output demo

# Each of the two workers, and every process that a test starts, keeps to one core.
test: check  ## format, lint, types, all tests, coverage
	OMP_NUM_THREADS=1 TRITON_INTERPRET=1 $(BIN)/pytest -n 2 --dist worksteal tests/ops/triton tests/ops/test_dispatch.py
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --check-shapes --cov --cov-report=term --cov-fail-under=90 --durations=10

floors: $(FLOORS)/.installed  ## quick tests with the oldest declared version of every dependency; Python 3.10 or 3.11
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-2} $(FLOORS)/bin/python -m pytest -q -m "not slow" $(FLOORS_TESTS)

check: $(VENV)/.installed  ## format, lint, types and the direction of imports only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed  ## build the documentation into site/; warnings are errors; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

runtime: $(VENV)/.installed  ## build the wheel of qcs-runtime into dist/
	$(BIN)/python -m pip wheel --no-deps --no-build-isolation --wheel-dir dist ./runtime

parity: $(VENV)/.installed  ## print deviations from the original's golden numbers, by group
	$(BIN)/python tests/parity.py

kernels: $(VENV)/.installed  ## compile every GPU kernel without a GPU; print registers, spills, shared memory
	PYTHONPATH=tests $(BIN)/python tests/ops/triton/ahead_of_time.py

benchmarks: $(VENV)/.installed  ## time every backend and peer, interleaved; writes benchmarks.json
	$(BIN)/pytest benchmarks --benchmark-json=benchmarks.json

$(VENV)/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

$(FLOORS)/.installed: pyproject.toml tests/floors.py
	test -x $(FLOORS)/bin/python || $(FLOORS_PYTHON) -m venv $(FLOORS)
	$(FLOORS)/bin/python tests/floors.py $(EXTRAS) > $(FLOORS)/constraints.txt
	$(FLOORS)/bin/python -m pip install --quiet --constraint $(FLOORS)/constraints.txt pytest hypothesis \
		--editable '.[$(EXTRAS)]'
	$(FLOORS)/bin/python -m pip check
	touch $@

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

clean:
	rm -rf $(VENV) $(FLOORS) demo runs site benchmarks.json .pytest_cache .ruff_cache .mypy_cache .coverage
