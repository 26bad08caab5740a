# Everything runs in .venv, which is made from requirements.lock on first use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/installed
FUZZ_SECONDS ?= 1800
SEED ?= $(shell date +%s)
PYTHONS ?= python3.11 python3.12 python3.13

.DEFAULT_GOAL := help
.PHONY: help demo test test-shuffled coverage test-pythons test-slurm lint package readme format lab lab-down bench bench-frames faults chaos fuzz mutants lock clean

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(STAMP) ## harvest the lab's files from a real S3 and a real GCS server, and query them
	$(BIN)/python -m tests.lab.demo

test: $(STAMP) ## run the tests (HARVEST_CORPUS names a folder of more real files)
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/slurm

test-shuffled: $(STAMP) ## run the tests in an order by chance, as SEED=1 says if it is given
	@echo "SEED=$(SEED)"
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/slurm \
	  --random-order-bucket=module --random-order-seed=$(SEED)

coverage: $(STAMP) ## run the tests and tell which lines and branches none of them takes (about 20 minutes)
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/slurm --cov --cov-report=term

test-pythons: ## run the tests with each of PYTHONS="python3.11 python3.12 python3.13"
	@for python in $(PYTHONS); do \
	  $(MAKE) test PYTHON=$$python VENV=.venv-$$(basename $$python) || exit 1; \
	done

test-slurm: $(STAMP) ## run the tests on a real Slurm of two nodes (Debian: slurmctld slurmd slurm-client munge)
	$(BIN)/python -m pytest tests/slurm

lint: $(STAMP) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

package: $(STAMP) ## build sdist and wheel, install the wheel with each of PYTHONS, and tell sizes and times
	$(BIN)/python -m tests.packaging --extras --pythons $(PYTHONS)

readme: $(STAMP) ## write the README's tables anew, from the code
	$(BIN)/python -m tests.readme

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lab: $(STAMP) ## start the local lab: S3 and GCS servers with buckets like IDC's
	$(BIN)/python -m tests.lab up

lab-down: $(STAMP) ## stop the lab
	$(BIN)/python -m tests.lab down

bench: $(STAMP) $(BENCH_STAMP) ## measure reading beside other tools, and planning all of IDC (about 15 minutes)
	$(BIN)/python -m tests.bench $(BENCH_OPTIONS)

bench-frames: $(STAMP) $(BENCH_STAMP) ## measure reading a region of a slide beside other tools (about 15 minutes)
	$(BIN)/python -m tests.bench.regions

faults: $(STAMP) ## try each fault of a store on both clouds, and print what came of it
	$(BIN)/python -m tests.faults.table

chaos: $(STAMP) ## kill and disturb 20 runs, and compare their tables with an undisturbed one's
	$(BIN)/python -m tests.faults.chaos --runs 20

fuzz: $(STAMP) ## feed the header walker what nobody would write, for FUZZ_SECONDS=1800
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[fuzz]'
	$(BIN)/python -m tests.faults.fuzz --seconds $(FUZZ_SECONDS) --inputs 10000000 \
	  $(if $(HARVEST_CORPUS),--corpus $(HARVEST_CORPUS))

mutants: $(STAMP) ## change the walk's and the frames' code in 2,500 ways, and list what no test notices (about 15 minutes)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[mutants]'
	HARVEST_WALKS=2 $(BIN)/mutmut run
	$(BIN)/mutmut results

lock: ## renew requirements.lock after a change of pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --generate-hashes --no-header --quiet --output-file requirements.lock

clean: ## remove what was installed, and caches; results in out/ stay
	rm -rf $(VENV) $(VENV)-python3* $(BENCH) .lab mutants .mypy_cache .pytest_cache .ruff_cache

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "harvest needs Python 3.11 or later: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(BENCH_STAMP): tests/bench/requirements.lock
	$(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/bench/requirements.lock
	@touch $@
