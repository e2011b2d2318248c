# `make help` lists the commands.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

.PHONY: run
run: .venv/run ## Run the provider on http://127.0.0.1:3000, its pods in data/provider.db
	@$(BIN)/flask migrate
	@exec $(BIN)/gunicorn

.PHONY: broker
broker: .venv/run ## Be a node of the current kubeconfig's cluster, with the provider of make run
	@WEB_ENDPOINT_URL=$${WEB_ENDPOINT_URL:-http://127.0.0.1:3000} exec $(BIN)/python -m broker $(ARGS)

.PHONY: test
test: .venv/dev ## Run every test; with PostgreSQL and with Chromium where they are installed
	$(BIN)/pytest

.PHONY: lint
lint: .venv/dev ## Check style, types, layers and the lock files
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: .venv/dev ## Put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

.PHONY: migrate
migrate: .venv/run ## Bring the database to the revision that this version needs
	@$(BIN)/flask migrate

.PHONY: shell
shell: .venv/run ## Open a Python shell with the database at hand
	@$(BIN)/flask shell

.PHONY: benchmark
benchmark: .venv/run ## Measure a provider that runs: make benchmark ARGS='--help'
	@$(BIN)/python -m benchmarks.provider $(ARGS)

.PHONY: benchmark-node
benchmark-node: .venv/run ## Measure a node of the current kubeconfig's cluster: make benchmark-node ARGS='--help'
	@$(BIN)/python -m benchmarks.node $(ARGS)

.PHONY: docs
docs: .venv/run ## Write docs/configuration.md from the settings
	$(BIN)/python -m docs.configuration > docs/configuration.md

.PHONY: conformance
conformance: .venv/run ## Check a provider that runs: make conformance ARGS='http://127.0.0.1:3000'
	@$(BIN)/python -m conformance $(ARGS)

.PHONY: lock
lock: .venv/dev ## Compile requirements.txt and its development twin from pyproject.toml
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile -q --universal --generate-hashes --no-header --python-version 3.11 pyproject.toml --group dev -o requirements-dev.txt

.PHONY: clean
clean: ## Remove the virtual environment and what tools have left; data/ stays
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

.venv/run: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

.venv/dev: requirements-dev.txt .venv/run
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
