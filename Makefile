# Two commands matter: `make demo` and `make test`. Both may be run again at any time.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint docs clean

help:
	@echo "make demo       install into .venv, index the demo media, search them"
	@echo "make test       install what tests need, check style and types, run the tests"
	@echo "make test-slow  run the tests that take minutes"
	@echo "make lint       check style and types only"
	@echo "make docs       write docs/cli.md, docs/settings.md and the README's pictures again"
	@echo "make clean      remove .venv, the demo's library and caches"

demo: $(VENV)/.installed
	@MMRAG_HOME="$(CURDIR)/demo-library" $(BIN)/mmrag demo

test: lint
	@$(call pytest,tests)

test-slow: $(VENV)/.installed-dev
	@$(call pytest,slow tests,-m "slow and not live" --timeout 1200)

lint: $(VENV)/.installed-dev
	@$(call step,format,$(BIN)/ruff format --check)
	@$(call step,lint,$(BIN)/ruff check)
	@$(call step,types,$(BIN)/mypy)

docs: $(VENV)/.installed-dev
	$(BIN)/python scripts/make_docs.py
	$(BIN)/python scripts/make_readme_picture.py
	$(BIN)/python scripts/make_gallery_pictures.py

clean:
	rm -rf $(VENV) demo-library build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Stamps say what is installed; they are older than a pyproject.toml that has changed since.
$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "==> installing mmrag and what it stands on into $(VENV) (once; minutes)"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "==> installing what the tests need into $(VENV) (once)"
	@$(INSTALL) -e ".[dev]" | { grep -v "^Requirement already satisfied" || true; }
	@touch $@

$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "mmrag needs Python 3.10 or newer; $(PYTHON) is older or missing. Name another:"; \
	  echo "  make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) can't make virtual environments yet. This mends it:"; \
	  echo "  sudo apt-get install -y python3-venv"; exit 2; }
	@echo "==> making $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)

# $(call step,NAME,COMMAND): say what runs, and what failed
define step
echo "==> $(1)"; $(2) || { echo "==> FAILED: $(1) ($(2))" >&2; exit 1; }
endef

# Some tests watch real processes and their time limits, and a busy machine may fail one of them:
# what failed is run once more, with nothing beside it, and must pass then. Both runs are printed.
define pytest
echo "==> $(1)"; \
PYTEST="$(BIN)/python -m pytest"; AGAIN="--last-failed --last-failed-no-failures none --maxfail 3"; \
$$PYTEST -n 2 --dist loadfile $(2) || { [ $$? = 1 ] && \
  echo "==> what failed, with nothing beside it" && $$PYTEST $$AGAIN $(2); } || \
{ echo "==> FAILED: $(1)" >&2; exit 1; }
endef
