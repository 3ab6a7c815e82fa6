# Two commands do everything on a fresh machine with python3 and make:
#   make quickstart    environment, install, a whole distillation run on the CPU
#   make test          environment, install, all tests
VENV ?= .venv
# Processes that share the tests out between them, a file at a time: what a file's tests share is made once.
JOBS ?= 2
BIN := $(VENV)/bin
INSTALL_INPUTS := pyproject.toml setup.py constraints.txt scripts/make-env scripts/overrides.txt

.PHONY: help env quickstart test check format docs clean
help:
	@sed -n 's/^#   //p' Makefile
	@echo "make env           only the environment ($(VENV))"
	@echo "make check         ruff, mypy"
	@echo "make format        ruff format and safe fixes"
	@echo "make docs          the pages in docs/ and the schema that come from the program"
	@echo "make clean         removes $(VENV) and caches; never runs/"

env: $(VENV)/.stillroom-base

$(VENV)/.stillroom-base: $(INSTALL_INPUTS)
	@scripts/make-env quickstart,dev
	@touch $@

$(VENV)/.stillroom-vllm: $(INSTALL_INPUTS)
	@scripts/make-env quickstart,dev vllm
	@touch $@ $(VENV)/.stillroom-base

quickstart: env
	@$(BIN)/stillroom run quickstart

test: $(VENV)/.stillroom-vllm
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

check: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p stillroom
	$(BIN)/mypy --explicit-package-bases tests scripts bench

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env
	$(BIN)/python scripts/cli_docs.py > docs/cli.md
	$(BIN)/python scripts/lint_docs.py > docs/lint.md
	$(BIN)/python scripts/recipe_docs.py > docs/recipe-keys.md
	$(BIN)/python scripts/fake_server_docs.py
	$(BIN)/stillroom schema > recipes/schema.json

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
