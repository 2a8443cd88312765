# Commands of the project. `make` runs everything: install, data, all outdated stages; it prints the path of the report.
#   SIZE=paper|embedded   copies params/<SIZE>.yaml to params.yaml first
#   PYTHON=python3.12     interpreter for .venv, 3.11 to 3.13

PYTHON ?= python3
UV     := uv==0.13.9
VENV   := .venv
PY     := $(VENV)/bin/python
DVC    := $(PY) -m dvc
REPRO  := $(DVC) repro
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

.PHONY: all human-study import-humans install preset check test test-ray lint types docs repro verify log ui plan \
        thresholds compare bench bench-gpu rehearse pretrain lock clean help

all: repro ## the whole study: install, data, all outdated stages (default)
	@echo "The report: out/report/index.html    Runs and models: make ui"

install: $(READY) ## create .venv with the locked packages and this project

# pip installs a pinned uv, which installs the rest ten times faster and checks every file against its hash. Bytecode is
# compiled here, since imports without it take three times as long and PYTHONDONTWRITEBYTECODE would prevent it later.
# The import of librosa compiles its functions with numba, which takes fifteen seconds once.
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

preset: install
ifdef SIZE
	@$(PY) -m synesthesia.pipeline.presets use $(SIZE)
endif

check: preset ## check params.yaml and the presets: unknown keys, wrong types, impossible values
	@$(PY) -m synesthesia.pipeline.presets check

# Generated in a temporary folder and moved, so that an interrupted `make` leaves no partial data/. `dvc repro` records
# a data/ whose bytes differ from data.dvc (another encoder build) and continues; a missing data.dvc needs `dvc add`.
data: | check ## generate the clips and lists of the embedded study if data/ is missing
	@! grep -q '^preset: paper' params.yaml || \
	  { echo "data/ is missing: put the lists there and the clips into folders outside; the block data of" \
	    "params.yaml has both paths, docs/how-to/own-clips.md describes the formats" >&2; exit 1; }
	rm -rf out/.data && mkdir -p out
	$(PY) -m synesthesia.synthetic.generate --out out/.data
	mv out/.data data
	test -f data.dvc || $(DVC) add data

repro: check data ## run all outdated stages
	$(REPRO)

.PHONY: import-humans
import-humans: check data ## export the browser study's responses and run what depends on them
	$(PY) -m synesthesia.human_study export
	$(REPRO)

# Determinism check: dvc.lock has the hash of every output.
verify: check data ## force-rerun every stage and fail if any output hash changes
	@mkdir -p out && cp dvc.lock out/.dvc.lock.before
	$(REPRO) --force
	@diff -u out/.dvc.lock.before dvc.lock || { echo "these outputs changed in the second run" >&2; exit 1; }
	@rm out/.dvc.lock.before && $(DVC) status && echo "the second run changed no output"

log: install ## log outputs to MLflow that it does not have yet
	@$(PY) -m synesthesia.pipeline.log_runs

human-study: install ## serve the browser study on 127.0.0.1 (STUDY_PORT=8000), see docs/how-to/humans.md
	@$(PY) -m synesthesia.human_study serve --port $(STUDY_PORT)

ui: install ## serve the MLflow UI on 127.0.0.1 (PORT=5000)
	$(VENV)/bin/mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db --host 127.0.0.1 --port $(PORT)

plan: install ## print the stages that would run (SIZE=paper: those of the paper); changes nothing
	@$(PY) -m synesthesia.pipeline.presets plan $(SIZE)

# Exit code 5 of pytest (no tests selected) is not a failure. In the second half, tests/conftest.py orders the files by
# duration, longest first; the order of xdist would start the longest file last. A third worker runs while the others
# wait for a browser or a server, which saves a fifth of the time on two cores.
RAY_TESTS := tests/integration/test_ray_executor.py
test: install ## run the tests: first those without torch, then the rest (Ray: `make test-ray`)
	$(PY) -m pytest -n 2 -m "not torch and not slow" $(TESTS) || test $$? -eq 5
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore $(RAY_TESTS) \
	  -m "torch or slow" $(TESTS) || test $$? -eq 5

test-ray: install ## test the Ray executor on a local cluster of two nodes; installs Ray (200 MB)
	@$(VENV)/bin/uv pip install --quiet --python $(PY) --editable '.[ray]' || \
	  { echo "Ray cannot be installed (see above), so its executor was not tested" >&2; exit 1; }
	$(PY) -m pytest $(RAY_TESTS)

lint: install ## check style and format with ruff
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: install ## check types with basedpyright
	$(VENV)/bin/basedpyright

docs: install ## build the documentation into site/
	$(PY) -m mkdocs build --strict

thresholds: install ## fail if a metric is below its threshold (report.thresholds in params.yaml)
	$(PY) -m synesthesia.analysis.thresholds

compare: install ## compare metrics and parameters with a commit, as Markdown (BASE=origin/main)
	@echo "### Metrics against $(BASE)" && echo && $(DVC) metrics diff --md $(BASE) -- 
	@echo && echo "### Parameters against $(BASE)" && echo && $(DVC) params diff --md $(BASE) --

BY_NAME := $(addprefix benchmarks/,acceleration_switches.py seeds.py newcomer.py gpu.py in_turns.py own_kernels.py fed.py agreement.py parting.py rehearsal.py shards.py)

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

pretrain: install ## retrain the tiny models of the embedded study (minutes on a GPU, hours on a CPU)
	$(PY) -m synesthesia.synthetic.pretraining all --out src/synesthesia/synthetic/weights

lock: ## resolve pyproject.toml into requirements.lock
	$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --extra dev --output-file requirements.lock pyproject.toml

clean: ## delete out/ and tool caches; DVC's cache remains, so that `make` restores out/ in seconds
	rm -rf out .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -prune -exec rm -rf {} +

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
