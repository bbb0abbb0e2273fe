# Everything sets itself up in .venv; nothing but Python 3.11 or later, git and make is needed.
.PHONY: demo test lint bench faults redaction-report clean
.DEFAULT_GOAL := demo

BIN := .venv/bin

demo:
	@tools/setup demo
	@$(BIN)/otel-audit demo $(ARGS)

# FAULTS=long make test: longer fault runs, and Spark among the engines that read the store.
test:
	@tools/setup test
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pytest $(ARGS)

lint:
	@tools/setup lint
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/python tools/check_modules.py

# FAULTS=long for the long forms: 2,000 kills, every byte cut and every bit flipped over 64 KiB.
faults:
	@tools/setup test
	@PATH="$(CURDIR)/$(BIN):$$PATH" FAULTS="$(FAULTS)" $(BIN)/python -m pytest tests/faults $(ARGS)

bench:
	@tools/setup test
	@$(BIN)/python -m tests.bench $(ARGS)

# Recall and precision of the redaction rules; ARGS="--misses" lists what was missed.
redaction-report:
	@tools/setup test
	@$(BIN)/python -m tests.redaction.report $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis audit-data
