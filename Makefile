# Everything runs in .venv, which the first target that needs it fills. Which torch that brings is pip's decision and
# so yours: on Linux the usual one carries CUDA. For a smaller one, name an index of your choice in pip's own
# PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS before calling make.

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && echo "$$p" && break; done)

BIN := .venv/bin
INSTALLED := .venv/.installed
PIP := -m pip --disable-pip-version-check

# Some tests measure time; two targets at once would disturb each other.
.NOTPARALLEL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test slow lint lock bench-smoke clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1	\2/' | expand -t 14

demo: $(INSTALLED) ## index the standard library of the Python here, and search it
	@$(BIN)/embedkit demo

test: lint ## all checks and the default tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

slow: $(INSTALLED) ## the slow tests, of which each benchmark at smoke size is one
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow -n auto --dist worksteal

lint: $(INSTALLED) ## ruff, mypy, import contracts, and whether the README's method table is fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m benchmarks.run --table --check README.md

bench-smoke: $(INSTALLED) ## every benchmark at smoke size; stores nothing
	@$(BIN)/python -m benchmarks.run --all --smoke

# HOLD names what shall not move: make lock HOLD='torch==2.13.0'
lock: ## resolve .[all,dev] anew and pin what came in requirements.lock
	@$(call require-python)
	@rm -rf .venv-lock
	@"$(PYTHON)" -m venv .venv-lock
	@echo "resolving and installing anew (one to five minutes)"
	@.venv-lock/bin/python $(PIP) install -qq -e ".[all,dev]" $(HOLD)
	@.venv-lock/bin/python $(PIP) freeze --exclude-editable --exclude setuptools > .venv-lock/freeze
	@{ echo "# What .[all,dev] came to, for CPython 3.11 and newer: a constraints file for pip -c."; \
	  echo "# What only some builds of torch bring is left out. Made by: make lock$(if $(HOLD), HOLD='$(HOLD)')"; \
	  sed -E -e '/^(cuda-|nvidia-|triton==)/d' -e 's/\+[A-Za-z0-9.]+$$//' .venv-lock/freeze; } > requirements.lock
	@rm -rf .venv-lock

clean: ## remove .venv, caches and builds
	@rm -rf .venv .venv-lock build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find embedkit benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml requirements.lock
	@$(call require-python)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv --clear .venv
	@echo "installing embedkit and its tools into .venv (one to five minutes)"
	@$(BIN)/python $(PIP) install -qq -c requirements.lock -e ".[all,dev]"
	@touch $@

define require-python
"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
  echo "embedkit needs Python 3.11 or newer, $(if $(PYTHON),which $(PYTHON) is not,and none was found);" \
    "name one: make PYTHON=python3.12" >&2; exit 1; }
endef
