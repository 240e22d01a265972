# `make demo`  the whole job on an embedded default: prepare, fine-tune, export, quantize, publish.
# `make test`  everything that must hold. `make test-fast`: what needs no training and no building.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export FINETUNE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/finetune-run
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= $(shell nproc)

.PHONY: help setup system browser llama versitygw helm actionlint kubernetes smollm2 image e2e demo test test-fast check \
	chart lock bench clean

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

system: ## the system packages that building needs (Debian; named where it may not install)
	@scripts/system.sh

.venv/installed: requirements/dev.txt requirements/uv.txt pyproject.toml | system
	@echo "environment: .venv from requirements/dev.txt (torch is 5 GB; some minutes at first)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements/dev.txt
	@$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	@touch $@

setup: .venv/installed ## the Python environment, from hash-locked requirements

llama: .venv/installed ## the bundled llama.cpp, built from its pinned source
	@PYTHON=$(BIN)/python scripts/build-llama.sh .venv/llama.cpp >/dev/null

versitygw: .venv/installed ## the S3 server that the demo and the tests publish to
	@PYTHON=$(BIN)/python scripts/build-go.sh versitygw .venv/bin/versitygw >/dev/null

helm: .venv/installed ## Helm, which the chart is tested with
	@PYTHON=$(BIN)/python scripts/build-go.sh helm .venv/bin/helm >/dev/null

actionlint: .venv/installed ## what the workflows are checked with
	@PYTHON=$(BIN)/python scripts/build-go.sh actionlint .venv/bin/actionlint >/dev/null

kubernetes: .venv/installed ## the control plane that the launcher is tested against
	@PYTHON=$(BIN)/python scripts/build-kubernetes.sh .venv/kubernetes >/dev/null

smollm2: .venv/installed ## the demo's base model, as a Hugging Face folder in the cache
	@$(BIN)/python scripts/smollm2.py >/dev/null

image: ## the image, with docker, podman or buildah; CUDA_ARCHITECTURES="75;80;86;89;90;100;120" for a release
	@scripts/build-image.sh

e2e: llama versitygw helm ## whole runs of the image on a real cluster (root; or KUBECONFIG); CASES="-k sweep" for some
	@scripts/e2e.sh $(CASES)

demo: llama versitygw smollm2 ## fine-tune SmolLM2-135M and publish GGUF files; SPEC=my.yaml runs another spec
	@$(BIN)/python scripts/demo.py $(SPEC)

browser: ## Chromium, in which the report is tested
	@scripts/system.sh chromium

test: llama versitygw kubernetes helm actionlint browser check ## everything that must hold
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests

test-fast: setup ## no training, no building: seconds
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" tests

check: setup ## types, lint, import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null | tail -5
	@$(BIN)/shellcheck -S warning scripts/*.sh scripts/image/*.sh entrypoint.sh .ci/run

chart: setup ## what the chart reads of Python: values, schema, placement, table
	@$(BIN)/python scripts/chart.py

lock: setup ## compile requirements/*.in again
	@PATH=$(CURDIR)/$(BIN):$$PATH scripts/lock.sh

bench: llama ## speed and memory, side by side with what users would use instead
	@$(BIN)/python -m bench.export
	@$(BIN)/python -m bench.train

clean: ## the environment and what runs left behind; the cache stays
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache
