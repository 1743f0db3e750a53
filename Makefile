# `make` alone lists what there is. Everything runs in .venv, which is made once from requirements.lock.
# What stands in ARGS is added to the command that a target runs, as in `make test ARGS="-k tokenizer"`.

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed

# The first interpreter that is Python 3.11 or later; name another with `make PYTHON=...`.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14 python; do \
	$$p $(NEW_ENOUGH) >/dev/null 2>&1 && echo $$p && break; done)

# On Linux the package index has the CUDA build, some gigabytes. Without an NVIDIA GPU the CPU build is
# tried first from here, and quickly given up where the place can't be reached.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := $(shell grep '^torch==' requirements.lock)

# What test-e2e needs of the system, as Debian package:program or package:file; the browser may be another.
CHROMIUM ?= chromium
E2E_PACKAGES := chromium:$(CHROMIUM) postgresql:initdb dicom3tools:dciodvfy dcmtk:dsrdump \
	orthanc:/usr/sbin/Orthanc orthanc-dicomweb:/usr/share/orthanc/plugins/libOrthancDicomWeb.so
E2E_LOCK := tests/e2e/requirements.lock
E2E_STAMP := $(VENV)/installed-e2e

# Processes of a training: one a GPU, or two on a CPU.
PROCESSES ?= $(shell nvidia-smi --list-gpus 2>/dev/null | grep -c . | sed 's/^0$$/2/')

# Where `make scoreboard` leaves results, and whose table it renews.
SCORES ?= runs/eval/phantoms-nano
README ?= README.md

.DEFAULT_GOAL := help
.PHONY: help install demo test test-e2e lint bench nano-table scoreboard train-nano clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

install: $(STAMP)  ## make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) $(NEW_ENOUGH) || { echo "Python 3.11 or later is needed" \
		"and $(or $(PYTHON),none) was found; name one with: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null 2>&1; then \
		echo "no NVIDIA GPU here: trying the CPU build of $(TORCH) first"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --timeout 5 --retries 0 \
			--index-url $(TORCH_CPU_INDEX) $(TORCH) \
			|| echo "no CPU build from $(TORCH_CPU_INDEX); taking torch from the package index" >&2; \
	fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(STAMP)  ## run every task on real files and simulated studies, as one page
	$(BIN)/python -m unimedvl.demo $(ARGS)

# Files of tests run side by side, each in one thread; more than eight processes would only take memory.
test: $(STAMP)  ## run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

test-e2e: $(E2E_STAMP)  ## test what needs a browser, a database or DICOM tools (installs them where it may)
	@there() { command -v "$$1" || ls "$$1" /usr/lib/postgresql/*/bin/"$$1"; } >/dev/null 2>&1; \
	for need in $(E2E_PACKAGES); do \
		package=$${need%%:*}; wanted=$${need#*:}; there "$$wanted" && continue; \
		test "$$(id -u)" = 0 && command -v apt-get >/dev/null 2>&1 && echo "installing $$package" \
			&& { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y "$$package"; } >/dev/null 2>&1; \
		there "$$wanted" || { echo "test-e2e needs $$wanted, which can't be installed here; as root on Debian:" \
			"apt-get install $$package (another browser is named with CHROMIUM=/path/to/it)" >&2; exit 1; }; \
	done
	CHROMIUM=$(CHROMIUM) $(BIN)/python -m pytest tests/e2e $(ARGS)

$(E2E_STAMP): $(STAMP) $(E2E_LOCK)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(E2E_LOCK)
	@touch $@

lint: $(STAMP)  ## check the code's style
	$(BIN)/ruff check . $(ARGS)

bench: $(STAMP)  ## measure speed against this machine's own limits
	$(BIN)/python -m benchmarks.machine $(ARGS)

nano-table: $(STAMP)  ## measure the embedded model on held-out simulated studies
	$(BIN)/python -m benchmarks.nano $(ARGS)

scoreboard: $(STAMP)  ## evaluate the embedded model on simulated studies and put the short table into the README
	$(BIN)/unimedvl eval run phantoms $(ARGS) --folder $(SCORES)
	$(BIN)/unimedvl eval report $(SCORES) --readme $(README)

train-nano: $(STAMP)  ## train the embedded model again, from nothing (hours)
	$(BIN)/torchrun --standalone --nproc-per-node $(PROCESSES) -m unimedvl train recipes/nano/curriculum.yaml $(ARGS)

clean:  ## remove .venv and what tools left behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find unimedvl tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
