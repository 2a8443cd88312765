# The study's commands. `make` does everything: installs, makes the data, runs what has to run, says where the report is.
#   SIZE=paper|embedded   puts params/<size>.yaml into params.yaml first
#   PYTHON=python3.12     the interpreter for .venv, 3.11 to 3.13

PYTHON ?= python3
UV     := uv==0.13.9
VENV   := .venv
PY     := $(VENV)/bin/python
DVC    := $(PY) -m dvc
# stages become forks of a process that has imported torch and MLflow: see the module
REPRO  := $(PY) -m synesthesia.utils.preload_server $(DVC) repro
PORT   ?= 5000
STUDY_PORT ?= 8000
BASE   ?= origin/main
READY  := $(VENV)/.ready

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: all human-study import-humans install size check test test-ray lint repro again log ui dry bounds compare bench bench-gpu rehearse \
        pretrain lock clean help

all: repro ## the whole study: install, data, every stage that has to run, MLflow (the default)
	@echo "The report: out/report/index.html    Runs and models: make ui"

install: $(READY) ## .venv with the locked packages and this one

# pip brings a pinned uv, uv the rest: ten times faster, every file checked against its hash. Bytecode is compiled here,
# since imports without it take three times as long and PYTHONDONTWRITEBYTECODE would keep it so; so are librosa's
# functions by numba, which takes fifteen seconds at their first import.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || \
	  { echo "Python 3.11 to 3.13 is needed, $(PYTHON) is not one: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "cannot make $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check $(UV)
	$(VENV)/bin/uv pip install --python $(PY) --require-hashes --compile-bytecode --requirements requirements.lock
	$(VENV)/bin/uv pip install --python $(PY) --no-deps --editable .
	$(PY) -c 'import librosa.util.utils'
	@touch $@

size: install
ifdef SIZE
	@$(PY) -m synesthesia.pipeline.presets use $(SIZE)
endif

check: size ## params.yaml and the presets: unknown keys, wrong types, impossible values
	@$(PY) -m synesthesia.pipeline.presets check

# Made beside and moved, so that an interrupted `make` leaves no half of it. `dvc repro` takes note of a data/ whose
# bytes differ from data.dvc's (another machine's encoder) and goes on; only the first data.dvc needs `dvc add`.
data: | check ## the embedded world's clips and lists, where data/ is missing
	@! grep -q '^preset: paper' params.yaml || \
	  { echo "data/ is missing: put the lists there, and the clips into folders outside of it; the block data of" \
	    "params.yaml names both, docs/scale.md says which lists and layouts are understood" >&2; exit 1; }
	rm -rf out/.data && mkdir -p out
	$(PY) -m synesthesia.synthetic.generate --out out/.data
	mv out/.data data
	test -f data.dvc || $(DVC) add data

repro: check data
	$(REPRO)

.PHONY: import-humans
import-humans: check data ## export the browser study's responses and run what depends on them
	$(PY) -m synesthesia.human_study export
	$(REPRO)

# What a rerun must not do: change an out. dvc.lock holds every out's hash.
again: check data ## every stage once more, by force; fails where any out changes
	@mkdir -p out && cp dvc.lock out/.dvc.lock.before
	$(REPRO) --force
	@diff -u out/.dvc.lock.before dvc.lock || { echo "these outs changed in a second run" >&2; exit 1; }
	@rm out/.dvc.lock.before && $(DVC) status && echo "a second run changed no out"

log: install ## enter into MLflow what is under out/ and not there yet
	@$(PY) -m synesthesia.pipeline.log_runs

human-study: install ## serve the browser study on 127.0.0.1 (STUDY_PORT=8000), see docs/how-to/humans.md
	@$(PY) -m synesthesia.human_study serve --port $(STUDY_PORT)

ui: install ## MLflow's pages on 127.0.0.1 (PORT=5000)
	$(VENV)/bin/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port $(PORT)

dry: install ## the stages that would run, as a list; SIZE=paper shows the paper's and touches nothing
	@$(PY) -m synesthesia.pipeline.presets dry $(SIZE)

# pytest's code 5 (nothing to run) is no failure of either half. Files of the second half go to the workers in the order
# of tests/conftest.py, long ones first: xdist's own order begins the longest, which holds the fewest tests, last. A third
# worker computes while the others wait for a browser or a server: a fifth of the time on two cores.
RAY_TESTS := tests/integration/test_ray_executor.py
test: install ## the tests: first those that need no torch, then the rest; Ray's are `make test-ray`
	$(PY) -m pytest -n 2 -m "not torch and not slow" $(TESTS) || test $$? -eq 5
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore $(RAY_TESTS) \
	  -m "torch or slow" $(TESTS) || test $$? -eq 5

test-ray: install ## the Ray engine on a local cluster of two machines; installs Ray (200 MB)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --editable '.[ray]' || \
	  { echo "Ray cannot be installed (see above), so its engine was not tested" >&2; exit 1; }
	$(PY) -m pytest $(RAY_TESTS)

lint: install ## ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

bounds: install ## fail where a guarded metric lies below its bound (report.thresholds in params.yaml)
	$(PY) -m synesthesia.analysis.thresholds

compare: install ## metrics and parameters against a commit, as Markdown (BASE=origin/main)
	@echo "### Metrics against $(BASE)" && echo && $(DVC) metrics diff --md $(BASE) -- 
	@echo && echo "### Parameters against $(BASE)" && echo && $(DVC) params diff --md $(BASE) --

BY_NAME := $(addprefix benchmarks/,seeds.py newcomer.py gpu.py in_turns.py own_kernels.py fed.py agreement.py parting.py rehearsal.py shards.py)

bench: install ## measurements behind the README's figures; seeds.py and newcomer.py, half an hour each, are run by name
	@for file in $(filter-out $(BY_NAME),$(wildcard benchmarks/*.py)); do \
	  echo "== $$file"; $(PY) "$$file"; done

bench-gpu: install ## the paper's LLMs at full size on a GPU, beside plain transformers and peft
	$(PY) benchmarks/own_kernels.py
	$(PY) benchmarks/gpu.py
	$(PY) benchmarks/fed.py
	$(PY) benchmarks/agreement.py

rehearse: install ## the paper-size parameters end to end on a GPU, with random weights of the real size
	$(PY) benchmarks/rehearsal.py

pretrain: install ## make the miniature models again (minutes on a GPU, hours on a CPU)
	$(PY) -m synesthesia.synthetic.pretraining all --out src/synesthesia/synthetic/weights

lock: ## requirements.lock from pyproject.toml
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml

clean: ## remove out/ and caches of tools; data/, mlruns/, .venv and DVC's cache stay, so `make` has it back in seconds
	rm -rf out .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
