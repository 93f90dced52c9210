# `make demo` and `make test` set up everything that they need by themselves, on a fresh Debian machine too.
# pip's own settings (PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, ...) are honoured.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env test-env demo test lint clean

VENV := .venv
PY := $(VENV)/bin/python
PIP_FLAGS ?=
# By content, not by date: a checkout changes dates.
KEY := $(shell cksum < pyproject.toml | cut -d' ' -f1)
READY := $(VENV)/.ready-$(KEY)
TEST_READY := $(VENV)/.test-ready-$(KEY)
# Rendering without a screen, and what Qt's offscreen platform loads.
LIBRARIES := libEGL.so.1 libGL.so.1 libxkbcommon.so.0 libdbus-1.so.3 libfontconfig.so.1 libglib-2.0.so.0
PACKAGES := libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libxkbcommon0 libdbus-1-3 libfontconfig1 \
  libglib2.0-0 fonts-dejavu-core

help:
	@echo "make demo   segment a case and write the results to out/demo"
	@echo "make test   ruff and pytest"
	@echo "make lint   ruff alone"
	@echo "make env    the Python environment in $(VENV) alone"
	@echo "make clean  remove results and caches; $(VENV) stays"

env: $(READY)

test-env: $(TEST_READY)

demo: $(READY)
	$(PY) -m ICHWeakSegLib demo --output out/demo

test: lint
	$(PY) -m pytest

lint: $(TEST_READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

clean:
	rm -rf out build *.egg-info .pytest_cache .ruff_cache lightning_logs
	find . -name __pycache__ -not -path "./$(VENV)/*" -prune -exec rm -rf {} +

# The newest Python that fits and can make a virtual environment.
define find_python
	find_python() { \
	  for name in python3.13 python3.12 python3.11 python3.10 python3; do \
	    if "$$name" -c 'import sys, ensurepip, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
	        >/dev/null 2>&1; then echo "$$name"; return; fi; \
	  done; \
	}
endef

$(PY):
	@$(find_python); \
	python=$$(find_python); \
	if [ -z "$$python" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing python3-venv"; \
	  apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv; \
	  python=$$(find_python); \
	fi; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.10 to 3.13 with venv is needed. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2; \
	  exit 1; \
	fi; \
	echo "Making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv $(VENV)

$(READY): | $(PY)
	$(PY) -m pip install --quiet $(PIP_FLAGS) -e .
	@rm -f $(VENV)/.ready-*; touch $@

# slicer-core has wheels for some Pythons only: without it the tests in Slicer say that they are skipped.
$(TEST_READY): | $(PY)
	$(PY) -m pip install --quiet $(PIP_FLAGS) -e ".[training,cohort,dicom,prognosis,test]"
	@if $(PY) -m pip install --quiet $(PIP_FLAGS) --only-binary slicer-core,PySide6-Essentials -e ".[slicer-tests]"; then \
	  missing=; \
	  for library in $(LIBRARIES); do \
	    /sbin/ldconfig -p 2>/dev/null | grep -q "$$library" || missing="$$missing $$library"; \
	  done; \
	  if [ "$$(uname)" = Linux ] && [ -n "$$missing" ]; then \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	      apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	        apt-get install -y -qq --no-install-recommends $(PACKAGES) || echo "No pictures in the tests" >&2; \
	    else \
	      echo "For pictures in the tests: sudo apt-get install $(PACKAGES)" >&2; \
	    fi; \
	  fi; \
	else \
	  echo "slicer-core cannot be had for this Python: the tests in Slicer will be skipped" >&2; \
	fi
	@rm -f $(VENV)/.ready-* $(VENV)/.test-ready-*; touch $(READY) $@
