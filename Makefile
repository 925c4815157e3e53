# `make demo` and `make test` are the contract with newcomers; everything else here serves them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
INPUT ?=
ARGS ?=
SEEDS ?= 1000
SEED_START ?= 0
SECONDS := $(if $(filter command line environment,$(origin SECONDS)),$(SECONDS),120)
export PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.tools/bin:$(PATH)

.PHONY: help
help: ## Show the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

# --- set-up -------------------------------------------------------------------------------------

.PHONY: setup
setup: .venv/.stamp out/.stamp ## Install the toolchain into this folder (demo and test do it by themselves)

.venv/.stamp: requirements.lock tools/bootstrap.lock pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tools/bootstrap.lock
	.venv/bin/uv pip sync --quiet --require-hashes requirements.lock
	.venv/bin/uv pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

node_modules/.stamp: package.json package-lock.json .npmrc
	npm ci --ignore-scripts --no-audit --no-fund --silent
	touch $@

.tools/.stamp: node_modules/.stamp tools/link-foundry
	tools/link-foundry
	touch $@

out/.stamp: .tools/.stamp foundry.toml tools/solc $(shell find contracts script -name '*.sol')
	forge build contracts script/Deploy.s.sol # the other scripts are built when they are run
	touch $@

.PHONY: lock
lock: ## Compile the locks anew from pyproject.toml and package.json
	.venv/bin/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
	.venv/bin/uv pip compile --group verify --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o tools/verify.lock
	.venv/bin/uv pip compile --group bench --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o tools/bench.lock
	awk '/^uv==/ {p=1; print; next} /^[a-z]/ {p=0} p' requirements.lock > tools/bootstrap.lock
	npm install --package-lock-only --ignore-scripts --no-audit --no-fund --silent
	node tools/strip-npm-lock

# --- run ----------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## Run real files through the whole platform and verify every receipt (INPUT=folder)
	jobseal demo $(if $(INPUT),--input "$(INPUT)")

.PHONY: up
up: setup ## Start the platform on this machine and stay; Ctrl-C stops it
	jobseal up

# --- test ---------------------------------------------------------------------------------------

# Two things at a time, each with its output in one piece. Everything is compiled before forge and the tests that deploy
# with it run beside each other: they share its cache.
BESIDE := $(MAKE) --jobs=2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

.PHONY: test
test: setup ## Everything that must hold
	@+$(BESIDE) lint build
	@+$(BESIDE) test-python test-contracts test-ape

.PHONY: build
build: out/.stamp .build/upgrades/.stamp
	forge build

.PHONY: lint
lint: setup openapi-check runbook-check ## Style, types, the direction of imports, and the API's description
	ruff check .
	ruff format --check .
	mypy
	lint-imports

.PHONY: test-python
test-python: setup ## The tests on real PostgreSQL, Valkey and anvil
	pytest -n 2

.PHONY: test-campaigns
test-campaigns: setup ## The tests that are too long for every change
	pytest -n 2 -m campaign

.PHONY: chaos
chaos: setup ## The chain side of the relayer under everything that can go wrong (SEEDS=1000 SEED_START=0)
	PYTHONPATH=test/faults/rig python -m chaos --seeds $(SEEDS) --start $(SEED_START) $(ARGS)

.PHONY: test-schemathesis
test-schemathesis: setup ## The API against its description, at length
	pytest -m campaign test/api/test_schemathesis.py

.PHONY: test-differential
test-differential: setup ## The seal against the contract, at length
	pytest -n 2 --hypothesis-profile=verify test/relayer/seal/differential

# --- the API's description ----------------------------------------------------------------------

.PHONY: openapi
openapi: .venv/.stamp ## Write the API's description, docs/reference/openapi.json
	python tools/openapi.py

.PHONY: openapi-check
openapi-check: .venv/.stamp
	python tools/openapi.py --check

# --- the runbook --------------------------------------------------------------------------------

.PHONY: runbook
runbook: .venv/.stamp ## Write what the runbook says of batches that wait
	python tools/runbook.py

.PHONY: runbook-check
runbook-check: .venv/.stamp
	python tools/runbook.py --check

# --- contracts ----------------------------------------------------------------------------------

.PHONY: abi
abi: out/.stamp ## Write the registry's ABI for the relayer
	$(PYTHON) tools/abi.py

.PHONY: abi-check
abi-check: out/.stamp
	$(PYTHON) tools/abi.py --check

.PHONY: gas
gas: setup ## Record the gas figures anew and write docs/reference/gas.md
	FORGE_SNAPSHOT_CHECK=false forge test --match-contract GasTest
	python tools/gas.py

.PHONY: gas-check
gas-check: setup
	python tools/gas.py --check

.PHONY: vectors
vectors: .venv/.stamp ## Write the test vectors for implementations in other languages
	python tools/vectors.py

.PHONY: vectors-check
vectors-check: .venv/.stamp
	python tools/vectors.py --check

.PHONY: test-contracts
test-contracts: abi-check gas-check vectors-check ## Format, unit and fuzz tests of the contracts
	forge fmt --check
	FOUNDRY_OUT=.build/lint/out FOUNDRY_CACHE_PATH=.build/lint/cache forge lint # in out/ it would leave tests without bytecode, which are then not run
	nice forge test | grep -vE '^($$|\[PASS\]|Ran [0-9]+ tests? for |Suite result: ok)' # what failed, and how many there were; beside tests that wait for things

.PHONY: test-ape
test-ape: .venv/.stamp out/.stamp ## The registry deployed and driven from Python
	APE_DATA_FOLDER=$(CURDIR)/.build/ape pytest -c test/contracts/ape/pytest.ini test/contracts/ape

# --- upgrades -----------------------------------------------------------------------------------

UPGRADE_SOURCES := contracts/JobRegistry.sol test/contracts/support/JobRegistryV2.sol test/contracts/support/RegistryLayout.sol
VALIDATE := node node_modules/@openzeppelin/upgrades-core/dist/cli/cli.js validate .build/upgrades/out/build-info

# A build of its own: the validation wants everything compiled at once, with its storage layout.
.build/upgrades/.stamp: .tools/.stamp foundry.toml $(UPGRADE_SOURCES) $(shell find contracts -name '*.sol')
	rm -rf $(@D)
	FOUNDRY_OUT=$(@D)/out FOUNDRY_CACHE_PATH=$(@D)/cache forge build --build-info --extra-output=storageLayout $(UPGRADE_SOURCES)
	touch $@

.PHONY: layout
layout: .build/upgrades/.stamp ## Write the snapshot of the registry's storage layout
	$(PYTHON) tools/layout.py

.PHONY: layout-check
layout-check: .build/upgrades/.stamp
	$(PYTHON) tools/layout.py --check

.PHONY: validate-upgrades
validate-upgrades: .build/upgrades/.stamp
	$(VALIDATE) --contract JobRegistry
	$(VALIDATE) --contract JobRegistryV2 --reference JobRegistry --requireReference

test-contracts: layout-check validate-upgrades

# --- coverage -----------------------------------------------------------------------------------

COVERAGE := forge coverage --report lcov --no-match-contract 'GasTest$$' --no-match-coverage

.PHONY: coverage
coverage: out/.stamp ## Every line, branch and function of the contracts is reached by tests of their own
	mkdir -p .build/coverage
	$(COVERAGE) '^(test|script|contracts/(consumer|examples))/' --report-file .build/coverage/core.info \
		--no-match-path 'test/contracts/{consumer,examples}/**'
	$(PYTHON) tools/coverage.py .build/coverage/core.info contracts/
	$(COVERAGE) '^(test|script)/' --report-file .build/coverage/consumer.info --match-path 'test/contracts/consumer/**'
	$(PYTHON) tools/coverage.py .build/coverage/consumer.info contracts/consumer/

# --- mutants ------------------------------------------------------------------------------------

.PHONY: mutants
mutants: setup ## Change the contracts in a thousand small ways: a test has to fail each time
	PYTHONPATH=tools $(PYTHON) -m mutants

# --- bench --------------------------------------------------------------------------------------

.tools/bench/.stamp: .venv/.stamp tools/bench.lock
	uv venv --quiet --clear --python .venv/bin/python .tools/bench
	uv pip sync --quiet --require-hashes --python .tools/bench/bin/python tools/bench.lock
	touch $@

.PHONY: bench-engine
bench-engine: .tools/bench/.stamp ## The job engine beside RQ and Celery, in one run
	python -m bench.engine $(ARGS)

.PHONY: bench-api
bench-api: setup .tools/bench/.stamp ## The API beside the barest application that does the same durable work, in one run
	python -m bench.api $(ARGS)

.PHONY: bench-indexer
bench-indexer: setup ## Logs read and decoded by the indexer beside web3.py, in one run
	python -m bench.indexer $(ARGS)

.PHONY: bench-delay
bench-delay: setup ## How long after its block an event is in the database, polled for and rung for
	python -m bench.indexer.delay $(ARGS)

.PHONY: simulate-batches
simulate-batches: setup ## What drawing tickets by duration and the batching policy save, on mixes of jobs
	python -m bench.batches $(ARGS)

.PHONY: bench-seal
bench-seal: setup ## How long sealing batches of up to 131,072 jobs takes
	python -m bench.batches.seal $(ARGS)

.PHONY: bench-reconcile
bench-reconcile: setup ## Reconciliation over 100,000 and 1,000,000 confirmed jobs (JOBS="…")
	python -m bench.reconcile $(JOBS)

.PHONY: soak
soak: setup ## The job engine under load while its parts are killed (SECONDS=120)
	python -m bench.soak $(SECONDS)

# --- verify -------------------------------------------------------------------------------------

.tools/verify/.stamp: .venv/.stamp tools/verify.lock
	uv venv --quiet --clear --python .venv/bin/python .tools/verify
	uv pip sync --quiet --require-hashes --python .tools/verify/bin/python tools/verify.lock
	touch $@

.PHONY: verify
verify: verify-deep verify-symbolic verify-slither coverage test-campaigns test-differential mutants ## Everything that takes too long for every test run

.PHONY: verify-deep
verify-deep: out/.stamp ## Fuzz tests of 10,000 runs, long invariant campaigns, on inputs of its own (SEED=0x…)
	@seed=$${SEED:-0x$$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')}; echo "SEED=$$seed repeats this run"; \
		FOUNDRY_PROFILE=deep forge test --fuzz-seed $$seed --match-test '^(testFuzz|invariant)_'

.PHONY: verify-symbolic
verify-symbolic: .tools/verify/.stamp out/.stamp ## Proofs by halmos, and that none of them is empty
	python tools/prove.py

.PHONY: verify-slither
verify-slither: .tools/verify/.stamp out/.stamp ## Static analysis
	FOUNDRY_PROFILE=slither .tools/verify/bin/slither .
