# Commands of the project. `make` installs the package, generates data, runs the stages that have to run, and prints
# where the report is.
#   SIZE=paper|embedded   first copy params/<size>.yaml to params.yaml
#   PYTHON=python3.12     interpreter for .venv, 3.11 to 3.13

PYTHON ?= python3
UV     := uv==0.13.9
VENV   := .venv
PY     := $(VENV)/bin/python
DVC    := $(PY) -m dvc
PORT   ?= 5000
STUDY_PORT ?= 8000
FUZZ_EXAMPLES ?= 10000
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

.PHONY: all install size check repro verify import-humans log human-study ui plan test test-ray fuzz lint types docs images \
        thresholds compare bench bench-gpu rehearse pretrain lock clean help

all: repro ## run the whole study: install, generate data, run stages, log to MLflow (default)
	@echo "Report: out/report/index.html    Runs and models: make ui"

install: $(READY) ## create .venv with the locked packages and this package in editable mode

# pip installs a pinned uv, uv the rest: ten times faster, with a hash check of every file. Bytecode is compiled here:
# without it, imports take three times as long, and PYTHONDONTWRITEBYTECODE would make that permanent. The same goes for
# librosa's functions, which numba compiles for fifteen seconds at their first import.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null || \
	  { echo "Python 3.11 to 3.13 is required, $(PYTHON) is another version: make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "cannot create $(VENV); on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check $(UV)
	$(VENV)/bin/uv pip install --python $(PY) --require-hashes --compile-bytecode --requirements requirements.lock
	$(VENV)/bin/uv pip install --python $(PY) --no-deps --editable .
	$(PY) -c 'import librosa.util.utils'
	@touch $@

size: install
ifdef SIZE
	@$(PY) -m synesthesia.pipeline.presets use $(SIZE)
endif

check: size ## check params.yaml and the presets: unknown keys, wrong types, impossible values
	@$(PY) -m synesthesia.pipeline.presets check

# Generated next to its destination and moved, so that an interrupted `make` leaves no partial data/. If its bytes differ
# from data.dvc (another machine's encoder), `dvc repro` records that and goes on; only a missing data.dvc needs `dvc add`.
data: | check ## generate the synthetic clips and lists of the embedded study if data/ is missing
	@! grep -q '^preset: paper' params.yaml || \
	  { echo "data/ is missing: put the lists there and the clips into folders elsewhere; the block data of" \
	    "params.yaml names both, docs/how-to/own-clips.md lists the supported layouts" >&2; exit 1; }
	rm -rf out/.data && mkdir -p out
	$(PY) -m synesthesia.synthetic.generate --out out/.data
	mv out/.data data
	test -f data.dvc || $(DVC) add data

repro: check data ## run every stage whose inputs changed, as `dvc repro` does
	$(DVC) repro

# Determinism check: dvc.lock holds the hash of every output.
verify: check data ## force-rerun every stage and fail if an output hash changes
	@mkdir -p out && cp dvc.lock out/.dvc.lock.before
	$(DVC) repro --force
	@diff -u out/.dvc.lock.before dvc.lock || { echo "these outputs changed in the second run" >&2; exit 1; }
	@rm out/.dvc.lock.before && $(DVC) status && echo "no output changed in the second run"

import-humans: check data ## export completed trials of the human study and run the stages that depend on them
	$(PY) -m synesthesia.human_study export
	$(DVC) repro

log: install ## log outputs to MLflow that it does not have yet, and runs of killed stages
	@$(PY) -m synesthesia.pipeline.log_runs

human-study: install ## serve the browser study on 127.0.0.1 (STUDY_PORT=8000), see docs/how-to/humans.md
	@$(PY) -m synesthesia.human_study serve --port $(STUDY_PORT)

ui: install ## serve MLflow's pages on 127.0.0.1 (PORT=5000)
	$(VENV)/bin/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port $(PORT)

plan: install ## list the stages that would run; SIZE=paper shows those of the paper preset and changes nothing
	@$(PY) -m synesthesia.pipeline.presets plan $(SIZE)

# pytest's exit code 5 (no tests) is no failure of either half. Files of the second half go to the workers in the order
# of tests/conftest.py, long ones first: xdist's own order starts the longest ones, which have the fewest tests, last. A
# third worker computes while the others wait for a browser or a server: a fifth of the time on two cores.
RAY_TESTS := tests/integration/test_ray_executor.py
test: install ## run the tests: first those without torch, then the rest; TESTS=path selects some
	$(PY) -m pytest -n 2 -m "not torch and not slow" $(TESTS) || test $$? -eq 5
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore $(RAY_TESTS) \
	  -m "torch or slow" $(TESTS) || test $$? -eq 5

test-ray: install ## test the Ray executor on a local cluster of two nodes; installs Ray (200 MB)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --editable '.[ray]' || \
	  { echo "Ray cannot be installed (see above), so its executor was not tested" >&2; exit 1; }
	$(PY) -m pytest $(RAY_TESTS)

fuzz: install ## try 10,000 damaged files and replies of each kind (FUZZ_EXAMPLES=1000 for fewer)
	SYNESTHESIA_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) $(PY) -m pytest -n 2 tests/fuzz

lint: types ## ruff check, ruff format --check, the type checker, and deptry
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m deptry src

types: install ## run the type checker
	$(VENV)/bin/basedpyright

docs: install ## build the documentation into site/; fail on broken links
	$(PY) scripts/gen_reference.py
	$(PY) -m mkdocs build --strict

images: install ## make the pictures of the docs from a finished study; needs Chromium
	$(PY) scripts/make_images.py

thresholds: install ## fail if a guarded metric is below its threshold (report.thresholds in params.yaml)
	$(PY) -m synesthesia.analysis.thresholds

compare: install ## compare metrics and parameters with a commit, as Markdown (BASE=origin/main)
	@echo "### Metrics against $(BASE)" && echo && $(DVC) metrics diff --md $(BASE) -- 
	@echo && echo "### Parameters against $(BASE)" && echo && $(DVC) params diff --md $(BASE) --

# Too long, or in need of a GPU: run by name.
BY_NAME := $(addprefix benchmarks/,seeds.py fresh_clone.py gpu.py ab_compare.py acceleration_switches.py \
             kernel_equality.py end_to_end_throughput.py agreement.py divergence_by_layer.py rehearsal.py shards.py)

bench: install ## run the CPU benchmarks; seeds.py and fresh_clone.py, half an hour each, are run by name
	@for file in $(filter-out $(BY_NAME),$(wildcard benchmarks/*.py)); do \
	  echo "== $$file"; $(PY) "$$file"; done

bench-gpu: install ## benchmark the paper's models at full size on a GPU against plain transformers and peft
	$(PY) benchmarks/kernel_equality.py
	$(PY) benchmarks/gpu.py
	$(PY) benchmarks/end_to_end_throughput.py
	$(PY) benchmarks/agreement.py

rehearse: install ## run the paper preset end to end on a GPU, with random weights of the real size
	$(PY) benchmarks/rehearsal.py

pretrain: install ## train the tiny models again (minutes on a GPU, hours on a CPU)
	$(PY) -m synesthesia.synthetic.pretraining all --out src/synesthesia/synthetic/weights

lock: ## write requirements.lock from pyproject.toml
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml

clean: ## remove out/, site/ and caches of tools; data/, mlruns/, .venv, and DVC's cache stay, so `make` restores out/
	rm -rf out site .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
