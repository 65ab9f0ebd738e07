# Each target does all of its set-up: a virtual environment in .venv, then pip with your own configuration.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
SONG ?= benchmarks/suites/excerpts/a-new-journey.flac
WORKERS ?= auto

.PHONY: demo test lint clean

demo: $(VENV)/.installed
	@scripts/demo.sh "$(BIN)/heartopt" "$(SONG)" "$(DEMO)"

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy --strict heartopt
	$(BIN)/lint-imports

$(VENV)/.installed: pyproject.toml scripts/install.sh
	@scripts/install.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml scripts/install.sh
	@scripts/install.sh "$(PYTHON)" "$(VENV)" dev
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
