# `make demo`  the whole job on an embedded default: prepare, fine-tune, export, quantize, publish.
# `make test`  everything that must hold. `make test-fast`: what needs no training and no building.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export FINETUNE_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/finetune-run
export HF_HUB_DISABLE_TELEMETRY := 1
export DO_NOT_TRACK := 1
BIN := .venv/bin
# One more than there are cores: much of what tests do is waiting for servers.
WORKERS ?= $(shell expr $$(nproc) + 1)
NEXT = $(if $(filter $@,$(MAKECMDGOALS)),@echo "next: source .venv/bin/activate && python -m job check my.yaml$(1)",@:)
GENERATORS := scripts/spec_defaults.py scripts/spec_reference.py scripts/chart.py scripts/quant_table.py \
	scripts/architectures.py scripts/measured.py scripts/models.py

.PHONY: help setup system browser llama versitygw helm actionlint kubernetes smollm2 image e2e demo demo-plan test \
	test-fast test-families check docs lock bench clean

help: ## what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

system: ## the system packages that building needs (Debian; named where it may not install)
	@scripts/system.sh

setup: system ## the Python environment, from hash-locked requirements
	@scripts/environment.sh
	$(call NEXT)

llama: setup ## the bundled llama.cpp, built from its pinned source
	@PYTHON=$(BIN)/python scripts/build-llama.sh .venv/llama.cpp >/dev/null
	$(call NEXT, && python -m job run my.yaml)

versitygw: setup ## the S3 server that the demo and the tests publish to
	@PYTHON=$(BIN)/python scripts/build-go.sh versitygw .venv/bin/versitygw >/dev/null

helm: setup ## Helm, which the chart is tested with
	@PYTHON=$(BIN)/python scripts/build-go.sh helm .venv/bin/helm >/dev/null

actionlint: setup ## what the workflows are checked with
	@PYTHON=$(BIN)/python scripts/build-go.sh actionlint .venv/bin/actionlint >/dev/null

kubernetes: setup ## the control plane that the launcher is tested against
	@PYTHON=$(BIN)/python scripts/build-kubernetes.sh .venv/kubernetes >/dev/null

smollm2: setup ## the demo's base model, as a Hugging Face folder in the cache
	@$(BIN)/python scripts/smollm2.py >/dev/null

image: ## the image, with docker, podman or buildah; CUDA_ARCHITECTURES="75;80;86;89;90;100;120" for a release
	@scripts/build-image.sh

e2e: llama versitygw helm ## whole runs of the image on a real cluster (root; or KUBECONFIG); CASES="-k sweep" for some
	@scripts/e2e.sh $(CASES)

demo: demo-plan llama versitygw $(if $(SPEC),,smollm2) ## fine-tune SmolLM2-135M and publish GGUF files; SPEC=my.yaml runs another spec
	@$(BIN)/python scripts/demo.py $(SPEC)

demo-plan: ## what `make demo` would do, how long it takes, and what is there
	@scripts/demo-plan.sh $(SPEC)

browser: ## Chromium, in which the report is tested
	@scripts/system.sh chromium

test: llama versitygw kubernetes helm actionlint browser check ## everything that must hold
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests

test-fast: setup ## no training, no building: seconds
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" tests

test-families: llama ## the families of docs/models.md, each through training, export and llama.cpp
	@$(BIN)/python -m pytest -n $(WORKERS) -m families tests/families

check: setup ## types, lint, import contracts
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo 2>/dev/null | tail -5
	@$(BIN)/shellcheck -S warning scripts/*.sh scripts/image/*.sh bench/gpu/*.sh entrypoint.sh .ci/run

docs: llama ## what is written from code: the spec's reference and defaults, the table of types, the chart's files
	@for script in $(GENERATORS); do $(BIN)/python $$script; done

lock: setup ## compile requirements/*.in again
	@PATH=$(CURDIR)/$(BIN):$$PATH scripts/lock.sh

bench: llama ## speed and memory, side by side with what users would use instead
	@$(BIN)/python -m bench.export
	@$(BIN)/python -m bench.train

clean: ## the environment and what runs left behind; the cache stays
	rm -rf .venv build .pytest_cache .mypy_cache .ruff_cache
