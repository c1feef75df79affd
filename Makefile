# Few commands, and no more to remember. See CONTRIBUTING.md.
.DEFAULT_GOAL := help
.PHONY: help env demo test check bench attacks fuzz sanitize clean

BIN := .venv/bin
# More words for demo, test and bench: make demo ARGS=--once; make test ARGS="tests/wire -x"; make bench ARGS=--quick
ARGS ?=
# Of the whole suite; each starts servers of its own. Two more than there are cores: tests that wait for a clock leave
# theirs to others.
PROCESSES ?= $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n > 3 ? 6 : n + 2)))

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

env: ## Make .venv (quick when it is there already)
	@scripts/env

demo: env ## Start a database, the gateway and a tour; stays until Ctrl-C (ARGS=--once: tour only)
	@exec $(BIN)/sallyport demo $(ARGS)

test: env ## Run the tests against real servers (ARGS="tests/wire -x", ARGS="--pg all")
	@$(BIN)/python -m tests.support.prefetch
	@exec $(BIN)/pytest $(or $(ARGS),-n $(PROCESSES) --dist loadfile --no-loadscope-reorder --durations 40)

check: env ## Format, lint, types, import contract, sizes and names
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python scripts/check_structure.py

bench: env ## Compare direct, PgBouncer and Sallyport on this machine (ARGS=--quick)
	@exec $(BIN)/python -m bench $(ARGS)

attacks: env ## Try to get masked data past the gateway (ARGS=--all: PostgreSQL 14, 16, 18; ARGS="--generate 5000")
	@exec $(BIN)/python -m tests.attacks $(ARGS)

fuzz: env ## Say anything to the gateway, as client and server (ARGS="--minutes 10"; --only client)
	@exec $(BIN)/python -m tests.fuzz $(ARGS)

sanitize: env ## Run tests of the native modules under AddressSanitizer (ARGS="tests/wire -k copy")
	@exec scripts/sanitize $(ARGS)

clean: ## Remove what can be made again: .venv, caches, the demo's data
	@rm -rf .venv .cache var build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find src -name '*.so' -delete
