# `make` lists the commands. Every command does its own set-up: Python >= 3.11 and make are enough.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where this is set each process reads all the source anew, seconds at every start; tests and the demo start hundreds.
unexport PYTHONDONTWRITEBYTECODE

SPARK := .tools/spark
MOTO := .tools/moto

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak spark bench lint format clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1 \2/' | awk '{c=$$2; $$1="";$$2=""; printf "  make %-8s%s\n", c, $$0}'

setup: $(STAMP)  ## make .venv with everything in it, so that .venv/bin/commonroom runs

$(STAMP): requirements/all.txt requirements/uv.txt pyproject.toml package-lock.json scripts/setup
	@PYTHON="$(PYTHON)" VENV="$(VENV)" scripts/setup
	@touch $(STAMP)

demo: setup  ## run an invented county and its portal on this machine
	@$(RUN)/commonroom demo $(ARGS)

test: lint $(MOTO)/.installed  ## lint, types, every test: under 15 minutes
	@$(RUN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=40 \
		-m "not soak" $(ARGS)

# More than the cores of a small machine: many tests wait for processes that they have killed.
WORKERS ?= 3

soak: setup $(MOTO)/.installed  ## the long fault trials, results as JSON in test-results/
	@if command -v java >/dev/null 2>&1; then $(MAKE) --no-print-directory $(SPARK)/.installed; fi
	@PYTHONPATH=$(CURDIR)/$(SPARK) $(RUN)/python -m pytest -m soak $(ARGS)

spark: $(SPARK)/.installed  ## measures on a cluster of Apache Spark with two workers; needs Java 17 or 21
	@PYTHONPATH=$(CURDIR)/$(SPARK) $(RUN)/python -m pytest -q -m spark tests/engines $(ARGS)

# The whole of Spark (450 MB) in a folder of its own: the client in .venv is the same package and is laid aside by it.
$(SPARK)/.installed: $(STAMP) requirements/spark.txt
	@PATH="$$PATH:$(CURDIR)/.tools/bin" uv pip install --quiet --python $(RUN)/python --target $(SPARK) --no-deps \
		--no-build-isolation --require-hashes -r requirements/spark.txt
	@touch $@

# The tests' object store in a folder of its own: it wants an older python-dateutil than the system does.
$(MOTO)/.installed: $(STAMP) requirements/moto.txt
	@PATH="$$PATH:$(CURDIR)/.tools/bin" uv pip install --quiet --python $(RUN)/python --target $(MOTO) --no-deps \
		--require-hashes -r requirements/moto.txt
	@touch $@

bench: setup  ## measure speed against named peers, results as JSON in test-results/
	@for file in bench/*.py; do $(RUN)/python $$file || exit 1; done

lint: setup  ## ruff, mypy --strict, import-linter
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check --quiet .
	@$(RUN)/mypy
	@$(RUN)/lint-imports

format: setup  ## put the code into the house's form
	@$(RUN)/ruff check --fix --quiet .
	@$(RUN)/ruff format --quiet .

clean:  ## remove what the commands made, but not the demo's data
	@rm -rf $(VENV) .tools node_modules build dist test-results
