# Ringfence: `make run` serves the sandbox, `make test` runs the tests; both install first what is missing.

DATA ?= ./data
PORT ?= 8080
ARGS ?=
TALLY ?= torture.json
TORTURE_SEEDS ?= 1 2 3 4 5 6 7 8 9 10

# The system's own Python first: it is patched with the system, and its profile-guided build is up to a sixth faster here than a plain one.
PYTHONS = /usr/bin/python3.11 python3.11 /usr/bin/python3 python3.12 python3.13 python3.14 python3
PIP     = PIP_ROOT_USER_ACTION=ignore .venv/bin/python -m pip --disable-pip-version-check --quiet
PYTEST  = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX="$(CURDIR)/.venv/bytecode" .venv/bin/python -m pytest
BESIDE  = -n 4 --max-worker-restart 0 --dist loadfile --no-loadscope-reorder
LOCK    = uv pip compile --quiet --no-header --no-annotate --universal --python-version 3.11 --generate-hashes pyproject.toml requirements/build.in

.PHONY: help install run test test-wide test-long torture simulation lint schema docs lock

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*##\(.*\)/make \1\t\2/p' Makefile | expand -t 20

install: .venv/.installed  ## put the command at .venv/bin/ringfence

run: .venv/.installed  ## serve the sandbox (DATA=./data PORT=8080)
	@exec .venv/bin/ringfence up --data "$(DATA)" --port "$(PORT)" $(ARGS)

test: .venv/.installed-test  ## run the tests (ARGS="-k refund" for some of them)
	@$(PYTEST) $(BESIDE) $(ARGS)

test-wide: .venv/.installed-test  ## run the tests that show the same in other languages, widths and variants, and by more kills
	@$(PYTEST) $(BESIDE) -m wide $(ARGS)

test-long: .venv/.installed-test  ## run the trials that take long, and all that draws its examples with fresh ones
	@$(PYTEST) -m "long or hypothesis" --hypothesis-profile fresh --timeout 7200 $(ARGS)

torture: .venv/.installed  ## kill the service a thousand times and its database a hundred times (hours; goes on where it was stopped)
	@failed=0; for seed in $(TORTURE_SEEDS); do \
	    .venv/bin/ringfence torture --kills 100 --database-kills 10 --seed $$seed --tally "$(TALLY)" $(ARGS) || failed=1; \
	done; exit $$failed

simulation: .venv/.installed-test  ## play ten thousand histories against the reference model (minutes)
	@.venv/bin/python -m tests.simulation --seed 1 --count 10000 $(ARGS)

lint: .venv/.installed-test  ## look for mistakes and bad form
	@.venv/bin/ruff check ringfence tests

schema: .venv/.installed-test  ## write the schema that the migrations add up to into ringfence/storage/schema.txt
	@.venv/bin/python -m ringfence.storage.schema

docs: .venv/.installed-test  ## write the tables of the manual anew from the code
	@.venv/bin/python -m docs.tables

lock:  ## choose the newest allowed versions and write them into requirements/ (needs uv)
	@$(LOCK) --upgrade --extra embedded --extra pdf --output-file requirements/run.txt
	@$(LOCK) --upgrade --extra embedded --extra pdf --extra test --extra lint --constraint requirements/run.txt --output-file requirements/test.txt

# The files below say that a step is done; make repeats it when what it depends on changed.

.venv/.made:
	@without=""; for python in $(PYTHONS); do \
	    if command -v $$python >/dev/null 2>&1 && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        if $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	            echo "Making .venv with $$($$python --version)"; \
	            $$python -m venv .venv && touch $@; exit $$?; \
	        fi; \
	        without="$${without:-$$python}"; \
	    fi; \
	done; \
	if [ -n "$$without" ]; then \
	    echo "$$without cannot make virtual environments. On Debian: apt-get install python3-venv" >&2; \
	else \
	    echo "Ringfence needs Python 3.11 or newer as one of: $(PYTHONS). On Debian: apt-get install python3 python3-venv" >&2; \
	fi; exit 1

.venv/.installed: .venv/.made requirements/run.txt pyproject.toml
	@echo "Installing what Ringfence needs"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.installed-test: .venv/.installed requirements/test.txt
	@echo "Installing what its tests need"
	@$(PIP) install --require-hashes -r requirements/test.txt
	@echo "Compiling the tests"
	@$(PYTEST) --collect-only --quiet >/dev/null || true
	@touch $@
