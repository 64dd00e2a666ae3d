# Every target says what it does: `make help`.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: help run test test-fast long check lint types imports docs clients translations pages screenshots picture bench bench-quick conformance chaos cluster sim proof planted release lock clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

$(READY): requirements.lock pyproject.toml
	@echo "Installing Zapline and what it needs into $(VENV) ..."
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Zapline needs Python 3.11 or newer; call make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

run: $(READY) ## Start the whole thing here: embedded PostgreSQL, a simulated Evolution, the daemon
	@exec $(BIN)/zapline sandbox

CORES := $(shell getconf _NPROCESSORS_ONLN)
# Each worker has a PostgreSQL of its own. Three more than there are cores, because tests also wait; the fast ones wait less.
WORKERS ?= $(shell echo $$(($(CORES) + 3)))
FAST_WORKERS ?= $(shell echo $$(($(CORES) + 1)))
PYTEST := $(BIN)/python -m pytest -q
PARALLEL = $(PYTEST) --dist loadfile
# Compiled modules are kept, whatever the environment says: the tests start the daemon and the commands dozens of times.
unexport PYTHONDONTWRITEBYTECODE

test: $(READY) ## Run the tests (3 minutes on two cores)
	@$(BIN)/python -m compileall -q src && $(PARALLEL) -n $(WORKERS) -m "not long and not heavy"

test-fast: $(READY) ## Run the tests that need no server: no PostgreSQL, no daemon, no browser (half a minute)
	@$(PARALLEL) -n $(FAST_WORKERS) --hypothesis-profile=brief -m "not long and not heavy and not slow and not server"

long: $(READY) ## What is dear, takes long or wants the machine alone: the console in a browser, short chaos runs, seeds of the simulation, matrices over all routes, all examples of the properties (12 to 15 minutes)
	@CONSOLE_SCREENSHOTS=1 $(PYTEST) -m long tests/sim tests/supervisors tests/journeys tests/browser tests/http/api/test_conformance.py
	@CONSOLE_SCREENSHOTS=1 $(PARALLEL) -n $(WORKERS) -m "heavy and not long"
	@$(PARALLEL) -n $(CORES) -m long tests/deploy tests/clients
	@$(PARALLEL) -n $(CORES) -m "hypothesis and not long and not server" --hypothesis-profile=thorough tests/domain tests/evolution tests/daemon tests/sql/journal

check: lint types imports test long ## Everything a change must pass: ruff, mypy, import rules, tests

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY)
	@$(BIN)/mypy

imports: $(READY)
	@$(BIN)/lint-imports

docs: $(READY) ## Print docs/states.md and docs/inbound.md anew from the tables
	@$(BIN)/python -m zapline.domain.states_document > docs/states.md
	@$(BIN)/python -m zapline.evolution.webhooks.contents.fates_document > docs/inbound.md

clients: $(READY) ## Write docs/openapi.json anew, and what the clients for Python and TypeScript have of it (the latter needs npm)
	@$(BIN)/python clients/fetch_document.py && $(BIN)/python clients/generate.py --typescript

# The flag of %-format is removed: no text has such places, but "1-2% is normal" looks like one.
translations: $(READY) ## Bring the console's catalogue up to date with the texts of its sources; fill in what is empty
	@mkdir -p build && export PYTHONPATH=tests && $(BIN)/pybabel -q extract && $(BIN)/pybabel -q update
	@sed -i '/^#, python-format$$/d' src/zapline/http/console/locale/*/LC_MESSAGES/console.po

pages: $(READY) ## Judge every page of the console by axe-core, in each language (needs Chromium; five minutes)
	@CI=true ZAPLINE_ALL_LANGUAGES=1 $(PYTEST) tests/browser/test_accessibility.py tests/browser/test_people.py

screenshots: $(READY) ## Take screenshots of the console's pages, in light, dark and for phones (needs Chromium)
	@CONSOLE_SCREENSHOTS=1 $(PYTEST) tests/browser

picture: $(READY) ## Take the README's picture of the console anew (needs Chromium)
	@CONSOLE_SCREENSHOTS=1 $(BIN)/python -m pytest -q tests/browser/test_first_steps.py
	@cp build/screenshots/first-steps-light.png docs/images/console.png

bench: $(READY) ## Measure: webhooks and sends a second and their CPU beside peers, latency, memory, growth, ten million messages (an hour, 15 GB of disk; EARLIER= another checkout)
	@$(BIN)/python -m tests.bench $(if $(EARLIER),--earlier $(EARLIER))

bench-quick: $(READY) ## The same of both directions alone, in short rounds
	@$(BIN)/python -m tests.bench --quick $(if $(EARLIER),--earlier $(EARLIER))

conformance: $(READY) ## Think of requests for three minutes, and hold every answer to the OpenAPI document
	@ZAPLINE_CONFORMANCE_SECONDS=180 $(BIN)/python -m pytest -q tests/http/api/test_conformance.py

chaos: $(READY) ## Kill the daemon and PostgreSQL under load and break Evolution, count what was lost or sent twice (about 7 minutes)
	@PYTHONPATH=tests $(BIN)/python -m tests.chaos

# ROUNDS: how many faults; SEED repeats the choices of a run.
cluster: $(READY) ## Kill and stop daemons that share the lines under traffic, and count what was lost or sent twice (20 rounds, about 15 minutes)
	@PYTHONPATH=tests $(BIN)/python -m chaos.cluster $(if $(SEED),--seed $(SEED)) $(if $(ROUNDS),--rounds $(ROUNDS))

# SEED=123 repeats one seed and tells its history; SECONDS and PROCESSES say how long and how wide to search.
SECONDS ?= 900
PROCESSES ?= 2
SEEDS = $(if $(SEED),--seed $(SEED) --shrink --plan '$(PLAN)',--seeds 10000 --seconds $(SECONDS) --processes $(PROCESSES))
sim: $(READY) ## Simulate the whole daemon under faults, seed by seed, in virtual time (15 minutes)
	@PYTHONPATH=tests $(BIN)/python -m tests.sim $(SEEDS)

# FIRST: the first seed; by default by chance. Runs of one version of the program add up (build/proof.json).
proof: $(READY) ## The same for SECONDS (900), and write the figures of all runs of this program into docs/reliability.md
	@PYTHONPATH=tests $(BIN)/python -m tests.sim --publish --history 0 --seeds 100000 --seconds $(SECONDS) \
	  --processes $(PROCESSES) $(if $(FIRST),--from $(FIRST))

planted: $(READY) ## Plant each known bug, and look within how many seeds the simulation finds it (half an hour and more)
	@PYTHONPATH=tests $(BIN)/python -m tests.sim.hunt $(BUGS)

# SOURCE_DATE_EPOCH is the time of the commit, unless it is given.
release: $(READY) ## Build wheel, source archive, Debian package, the client's wheel and SHA256SUMS into dist/, reproducibly
	@deploy/release $(abspath $(BIN)/python) dist

lock: ## Pin the dependencies anew (needs uv)
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --extra embedded --extra dev pyproject.toml -o requirements.lock
	uv pip compile --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
	  --constraint requirements.lock pyproject.toml -o requirements-run.lock

clean: ## Remove the virtual environment and the sandbox's state
	rm -rf $(VENV) .zapline
