# Each target does all of its set-up: a virtual environment in .venv, then pip with your own configuration.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
SONG ?= benchmarks/suites/excerpts/a-new-journey.flac
WORKERS ?= auto

.PHONY: demo test lint report report-check gate baseline clean

demo: $(VENV)/.installed
	@scripts/demo.sh "$(BIN)/heartopt" "$(SONG)" "$(DEMO)"

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy --strict heartopt
	$(BIN)/lint-imports

# Judge the suites whose audio is at hand, and write reports/: JSON, and what follows from it. What is in heartopt's cache
# is not judged again, and a run that was stopped goes on. The curves of the shipped projection's training come with it,
# and the pages of what the benchmarks measured.
SUITES := mini $(if $(wildcard benchmarks/suites/heldout/*.flac),heldout)

report: $(VENV)/.installed-dev
	set -e; for suite in $(SUITES); do \
	    OMP_NUM_THREADS=1 $(BIN)/heartopt evaluate --suite benchmarks/suites/$$suite.yaml -o reports --plots; \
	done
	$(BIN)/python -m heartopt.report reports/*.jsonl
	$(BIN)/python benchmarks/pages.py

# Fail where the Markdown, a table or a picture does not follow from the rows in its JSON.
report-check: $(VENV)/.installed-dev
	$(BIN)/python -m heartopt.report --check reports/*.json reports/*.jsonl
	$(BIN)/python benchmarks/pages.py --check

# Judge the gate's suite; fail where it got worse than the baseline. `make baseline` accepts what it is now.
GATE := $(BIN)/heartopt evaluate --suite benchmarks/suites/gate.yaml --steps 5 --jobs 2 --baseline reports/baseline.json

gate: $(VENV)/.installed-dev
	rm -rf build/gate
	$(GATE) --fail-on-regression --junit build/gate/junit.xml --step-summary "$${GITHUB_STEP_SUMMARY:-build/gate/summary.md}"

baseline: $(VENV)/.installed-dev
	$(GATE) --update-baseline

$(VENV)/.installed: pyproject.toml scripts/install.sh
	@scripts/install.sh "$(PYTHON)" "$(VENV)"
	@touch $@

$(VENV)/.installed-dev: pyproject.toml scripts/install.sh
	@scripts/install.sh "$(PYTHON)" "$(VENV)" dev
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
