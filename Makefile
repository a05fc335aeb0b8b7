# The commands of pokemon-il. Everything runs in .venv, which `make venv` makes.
#   make dagger                      the main job on the game that is included
#   make train ARGS="--steps 500"    one stage, with a setting changed
#   make doctor                      what this machine has and lacks
CONFIG ?= configs/quest.yaml
ARGS ?=
# The newest Python found that can make an environment; another one: make PYTHON=/path/to/python3
ifndef PYTHON
PYTHON := $(firstword $(foreach v,3.14 3.13 3.12 3.11 3.10,$(shell command -v python$(v) >/dev/null 2>&1 && python$(v) -c 'import ensurepip, venv' >/dev/null 2>&1 && echo python$(v))) python3)
endif
# no: never run apt-get, neither as root nor by sudo
SUDO ?= yes
# cpu: torch without CUDA, from the index of its makers (0.2 GB in place of 3); default: PyPI's
TORCH ?= default
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
# no: pip, even where uv is there
UV ?= $(shell command -v uv 2>/dev/null || echo no)
# Tests of one file share what it sets up; those that take longest begin first (tests/conftest.py).
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
BIN := .venv/bin
PIPELINE := $(BIN)/python -m pipeline
STAGES := collect preprocess train label evaluate dagger curriculum compare author

.DEFAULT_GOAL := help
.PHONY: help doctor venv dev $(STAGES) inspect rom test test-quick test-oldest lint bench bench-loader bench-experts clean

help:  ## this list
	@grep -hE '^[a-z -]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'
	@echo '  CONFIG=configs/NAME.yaml chooses the experiment, ARGS="--section.key value" changes a setting.'

venv: .venv/.installed  ## the virtual environment .venv with all that the pipeline needs

doctor:  ## what this machine has and lacks, with the command for each gap
	@$(PYTHON) -I pipeline/commands/doctor.py

# $(call debian,PACKAGE ...): install Debian packages as root or by sudo, or say how.
define debian
	if [ "$(SUDO)" != no ] && [ "$$(id -u)" = 0 ]; then run=; \
	elif [ "$(SUDO)" != no ] && sudo -n true 2>/dev/null; then run=sudo; else \
	  echo "error: the system packages $(1) are missing; install them with: sudo apt-get install $(1)" >&2; exit 2; fi; \
	echo "installing $(1) with apt-get (SUDO=no forbids it)"; \
	$$run apt-get update -qq && DEBIAN_FRONTEND=noninteractive $$run apt-get install -y -qq $(1) >/dev/null
endef

# pip or uv, with the versions of constraints.txt; torch's own index only with TORCH=cpu.
INDEX := $(if $(filter cpu,$(TORCH)),--extra-index-url $(TORCH_INDEX))
ifeq ($(UV),no)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(INDEX)
else
INSTALL := $(UV) pip install --quiet --python $(BIN)/python -c constraints.txt $(INDEX) $(if $(INDEX),--index-strategy unsafe-best-match)
endif

.venv/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' || \
	  { echo "error: $(PYTHON) is not Python 3.10 to 3.14; say which with: make PYTHON=/path/to/python3" >&2; exit 2; }
	@if [ -x $(BIN)/python ] && [ "$(origin PYTHON)" = "command line" ] && \
	    [ "$$($(BIN)/python -V)" != "$$($(PYTHON) -V)" ]; then \
	  echo "error: .venv is of $$($(BIN)/python -V), $(PYTHON) is $$($(PYTHON) -V); run 'make clean' first" >&2; exit 2; fi
	@$(PYTHON) -I pipeline/commands/doctor.py --gaps 2>/dev/null || true
	@if ! { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | grep -q libmgba.so.0.10 && [ "$(SUDO)" != no ] && \
	    { [ "$$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }; then \
	  for name in libmgba0.10t64 libmgba0.10; do if apt-cache show $$name >/dev/null 2>&1; then \
	  $(call debian,$$name bubblewrap); break; fi; done; fi
	@if [ "$(UV)" = no ] && ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
	  $(call debian,python3-venv); fi
	@echo "installing Python packages into .venv for $$($(PYTHON) -V) (a minute or two$(if $(filter cpu,$(TORCH)),,; 6 GB, nearly all of it CUDA libraries of PyPI's torch))"
	@test -x $(BIN)/python || if [ "$(UV)" = no ]; then $(PYTHON) -m venv .venv; else \
	  $(UV) venv --quiet --python $(PYTHON) .venv; fi
	@$(INSTALL) -e .
	@UV='$(filter-out no,$(UV))' $(BIN)/python -m pipeline.emulator.installing
	@touch $@

dev: .venv/.dev

.venv/.dev: .venv/.installed
	@command -v h5dump >/dev/null && command -v h5ls >/dev/null && command -v bwrap >/dev/null || \
	  { $(call debian,hdf5-tools bubblewrap); }
	@$(INSTALL) -e '.[dev]'
	@touch $@

.venv/.bench: .venv/.dev
	@$(INSTALL) -e '.[bench]'
	@# Without what it declares: egl_probe has to be compiled, and its dataset uses none of it.
	@$(INSTALL) --no-deps robomimic
	@touch $@

collect: venv  ## the expert (or a checkpoint) plays: a raw shard
preprocess: venv  ## raw shards to 84x84 shards
label: venv  ## the expert's button for every step
train: venv  ## behavioural cloning on the labelled shards
evaluate: venv  ## the network plays unseen games
dagger: venv  ## the main job: rounds of all five, with a table at the end
curriculum: CONFIG = configs/curriculum.yaml
curriculum: venv  ## milestone after milestone: expert's gate, rounds, a table at the end
compare: CONFIG = configs/compare.yaml
compare: venv  ## cloning against DAgger at equal labels (an hour on 2 cores; CONFIG=configs/compare-select.yaml: which steps to ask)
author: venv  ## a language model writes the expert's programs, a milestone at a time
$(STAGES):
	@$(PIPELINE) $@ --config $(CONFIG) $(ARGS)

inspect: venv  ## what lies in datasets/
	@$(PIPELINE) data ls --config $(CONFIG) $(ARGS)

rom:  ## build the game's cartridge from its source
	@command -v arm-none-eabi-gcc >/dev/null || { $(call debian,gcc-arm-none-eabi); }
	@$(MAKE) -C pipeline/games/quest/source

lint: dev  ## ruff and mypy
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then $(BIN)/mypy; else \
	  echo "mypy is left out: numpy and torch for Python 3.10 have types of an older kind"; fi

# The tests start this project hundreds of times; without caches each start would compile it anew.
test test-quick: export PYTHONDONTWRITEBYTECODE :=

test: lint  ## all checks and tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) $(ARGS)

test-quick: dev  ## the tests that take under 0.1 seconds each (a minute on 2 cores)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(SPREAD) -m 'not slow' $(ARGS)

test-oldest:  ## the quick tests with the lowest versions that setup.cfg allows (PYTHON=python3.10)
	@test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-oldest.txt
	@.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest $(SPREAD) -m 'not slow' $(ARGS)

bench: .venv/.bench  ## speed, as ratios against named baselines
	@$(BIN)/python -m tests.bench $(ARGS)

bench-loader: .venv/.bench  ## speed of loading beside a replay buffer, h5py, robomimic, webdataset
	@$(BIN)/python -m tests.bench.bench_loader $(ARGS)

bench-experts: .venv/.bench  ## labels a second by sandbox, and what asking a model adds
	@$(BIN)/python -m tests.bench.bench_experts $(ARGS)

clean:  ## remove what can be made again (not datasets, not checkpoints)
	rm -rf .venv .venv-oldest build *.egg-info .pytest_cache .mypy_cache .ruff_cache pipeline/games/quest/source/build
	find pipeline tests -name __pycache__ -type d -exec rm -rf {} +
