# `make help` lists the commands.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin
VENV = PYTHON='$(PYTHON)' PYTHON_IS_GIVEN='$(filter environment command,$(origin PYTHON))' .ci/venv

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 27

.PHONY: run
run: .venv/run ## Run the provider on http://127.0.0.1:3000, with its database in data/provider.db
	@exec $(BIN)/vkweb provider

.PHONY: broker
broker: .venv/run ## Run a node of the cluster in the kubeconfig, with the provider of make run
	@WEB_ENDPOINT_URL=$${WEB_ENDPOINT_URL:-http://127.0.0.1:3000} exec $(BIN)/vkweb broker $(ARGS)

.PHONY: up
up: .venv/run ## Run provider and broker together, as a node of the cluster in the kubeconfig
	@exec $(BIN)/vkweb up $(ARGS)

.PHONY: test
test: .venv/dev ## Run all tests, on all CPUs; those of PostgreSQL and Chromium if these are installed
	$(BIN)/pytest -n auto --dist loadfile

.PHONY: lint
lint: .venv/dev ## Check style, types, import layers, and that the lock files match pyproject.toml
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python .ci/check_locks.py

.PHONY: format
format: .venv/dev ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: migrate
migrate: .venv/run ## Migrate the database to the revision of this version
	@$(BIN)/vkweb migrate

.PHONY: shell
shell: .venv/run ## Open a Python shell with the database
	@$(BIN)/vkweb shell

.PHONY: benchmark
benchmark: .venv/run ## Measure a running provider: make benchmark ARGS='--help'
	@$(BIN)/python -m benchmarks.provider $(ARGS)

.PHONY: benchmark-node
benchmark-node: .venv/run ## Measure a node of the cluster in the kubeconfig: make benchmark-node ARGS='--help'
	@$(BIN)/python -m benchmarks.node $(ARGS)

.PHONY: benchmark-fleet
benchmark-fleet: .venv/run ## Measure a fleet, beside KWOK: make benchmark-fleet ARGS='--help'
	@$(BIN)/python -m benchmarks.fleet $(ARGS)

.PHONY: benchmark-streams
benchmark-streams: .venv/run ## Measure exec at a provider or a node: make benchmark-streams ARGS='--help'
	@$(BIN)/python -m benchmarks.streams $(ARGS)

.PHONY: benchmark-stats
benchmark-stats: .venv/run ## Measure a scrape of a node or a provider: make benchmark-stats ARGS='--help'
	@$(BIN)/python -m benchmarks.stats $(ARGS)

.PHONY: benchmark-pages
benchmark-pages: .venv/run ## Measure the pages of the dashboard with 50,000 pods: make benchmark-pages ARGS='--help'
	@$(BIN)/python -m benchmarks.pages $(ARGS)

.PHONY: benchmark-slurm
benchmark-slurm: .venv/run ## Measure the parsing of Slurm's queue with 5,000 jobs: make benchmark-slurm ARGS='--help'
	@$(BIN)/python -m benchmarks.slurm $(ARGS)

.PHONY: screenshots
screenshots: .venv/dev ## Make the screenshots of README and docs, with Chromium
	$(BIN)/python -m docs.screenshots

.PHONY: docs
docs: .venv/run ## Generate docs/configuration.md from the settings
	$(BIN)/python -m docs.configuration > docs/configuration.md

.PHONY: conformance
conformance: .venv/run ## Check a running provider against the contract: make conformance ARGS='http://127.0.0.1:3000'
	@$(BIN)/vkweb conformance $(ARGS)

.PHONY: wheel
wheel: .venv/dev ## Build the wheel into dist/
	@rm -rf build  # setuptools would add its files, also those that are gone from the code
	$(BIN)/uv build --wheel --no-build-isolation --python $(BIN)/python

.PHONY: lock
lock: .venv/dev ## Compile requirements.txt and requirements-dev.txt from pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml --group dev -o requirements-dev.txt

.PHONY: clean
clean: ## Remove the virtual environment and the files of tools; keep data/
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/run .venv/dev: FORCE
FORCE:

.venv/run:
	@$(VENV) requirements.txt

.venv/dev: .venv/run
	@$(VENV) requirements-dev.txt
