# Thin names for real commands; `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BED := tests/hosts/bed
DEMO_APPS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/dockyard-fleet/apps
INVENTORY ?= inventories/demo
STACKS ?=
LIMIT ?=
ARGS ?=

.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 18

venv: $(VENV)/.ready ## the controller's Python environment

$(VENV)/.ready: requirements.txt tests/venv
	tests/venv $(PYTHON) $(VENV)

deploy: venv ## bring up the demo fleet and deploy to it; INVENTORY=... for real hosts, STACKS=a,b, LIMIT=pi
	@if [ "$(INVENTORY)" = inventories/demo ]; then $(BED) up demo-pi demo-ec2 && $(BIN)/python tests/apps/oura/make.py "$(DEMO_APPS)/oura" >/dev/null; fi
	$(BIN)/ansible-playbook playbooks/deploy.yml -i $(INVENTORY) $(if $(LIMIT),-l $(LIMIT)) $(if $(STACKS),-e dockyard_stacks=$(STACKS)) $(ARGS)

lint: venv ## ansible-lint, yamllint, syntax of all Python
	tests/lint

unit: venv ## unit tests
	$(BIN)/python -m pytest tests/unit -q -p no:cacheprovider -n auto

test-fast: lint unit ## for daily work, under 2 minutes

sanity: venv ## ansible-test sanity and galaxy-importer on the built collection
	tests/sanity.sh

molecule: venv ## the scenarios on real test hosts
	tests/scenarios

molecule-heavy: venv ## the scenarios of whole stacks (oura, emorobcare, strain_seer, stream_checker) and of a migration
	tests/scenarios --heavy

journeys: venv ## killed runs, drift, ways back and bad input on real test hosts
	$(BIN)/python -m pytest tests/journeys -q -p no:cacheprovider -m "not heavy" --durations=10

journeys-heavy: venv ## emorobcare, strain_seer, oura with all its packages, development with a mounted source, killed migrations
	$(BIN)/python -m pytest tests/journeys -q -p no:cacheprovider -m heavy

test: test-fast sanity molecule journeys ## all that CI runs
	@echo "make test-all adds molecule-heavy (a scenario for each of oura, emorobcare, strain_seer, stream_checker and a migration), journeys-heavy (migrations that are killed; emorobcare and strain_seer; oura with all packages and with a lesser parser; development with a mounted source) and test-pi (the arm64 machine)"

test-pi: venv ## the whole deployment on the arm64 machine
	tests/pi/run

test-all: test molecule-heavy journeys-heavy test-pi ## CI's tests, the heavy scenarios and journeys, and the arm64 machine

clean: ## remove the test hosts and the environment
	-$(BED) remove --all
	rm -rf $(VENV) .cache

.PHONY: help venv deploy lint unit test-fast sanity molecule molecule-heavy journeys journeys-heavy test test-pi test-all clean
