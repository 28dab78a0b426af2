# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo test check docs parity kernels benchmarks clean

demo: $(VENV)/.demo  ## classify and compare real faces, train two networks on equally many image views
	rm -rf demo
	$(BIN)/qcs demo --output demo

test: check  ## format, lint, types, all tests, coverage
	TRITON_INTERPRET=1 $(BIN)/pytest -n 2 --dist worksteal tests/ops/triton tests/ops/test_dispatch.py
	$(BIN)/pytest -n 2 --dist worksteal --check-shapes --cov --cov-report=term --cov-fail-under=90 --durations=10

check: $(VENV)/.installed  ## format, lint, types and the direction of imports only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.installed  ## build the documentation into site/; warnings are errors; needs no network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

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

$(VENV)/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[demo]'
	touch $@

clean:
	rm -rf $(VENV) demo runs site benchmarks.json .pytest_cache .ruff_cache .mypy_cache .coverage
