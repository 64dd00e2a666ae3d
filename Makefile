# Every target says what it does: `make help`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: help run test check lint types imports docs picture bench conformance chaos lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@echo "Installing Zapline and what it needs into $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Zapline needs Python 3.11 or newer; call make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: $(READY) ## Start the whole thing here: embedded PostgreSQL, a simulated Evolution, the daemon
	@exec $(BIN)/zapline sandbox

# Two halves at a time, each with a PostgreSQL of its own; what the second one says is shown at its end.
FIRST := tests/crm tests/supervisors tests/daemon tests/sandbox tests/deploy tests/docs tests/evolution
SECOND := tests/browser tests/domain tests/http tests/journeys tests/sql tests/test_house_rules.py

test: $(READY) ## Run every test (under 5 minutes)
	@said=$$(mktemp); trap 'rm -f $$said' EXIT; \
	$(BIN)/python -m pytest -q $(SECOND) > $$said 2>&1 & \
	$(BIN)/python -m pytest -q $(FIRST); first=$$?; \
	wait $$!; second=$$?; cat $$said; exit $$(( first > second ? first : second ))

check: lint types imports test ## Everything a change must pass: ruff, mypy, import rules, tests

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

docs: $(READY) ## Print docs/states.md anew from the tables
	@$(BIN)/python -m zapline.domain.charts > docs/states.md

picture: $(READY) ## Take the README's picture of the console anew (needs Chromium)
	@$(BIN)/python -m pytest -q tests/browser/test_first_steps.py
	@cp build/screenshots/first-steps-light.png docs/images/console.png

bench: $(READY) ## Measure: requests a second, latency and memory, beside a bare "hello" (about 9 minutes)
	@$(BIN)/python -m tests.bench

conformance: $(READY) ## Think of requests for three minutes, and hold every answer to the OpenAPI document
	@ZAPLINE_CONFORMANCE_SECONDS=180 $(BIN)/python -m pytest -q tests/http/test_conformance.py

chaos: $(READY) ## Kill the daemon and PostgreSQL under load and break Evolution, count what was lost or sent twice (about 7 minutes)
	@$(BIN)/python -m tests.chaos

lock: ## Pin the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra embedded --extra dev pyproject.toml -o requirements.lock

clean: ## Remove the virtual environment and the sandbox's state
	rm -rf $(VENV) .zapline
