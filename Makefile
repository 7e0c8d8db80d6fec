# make demo    install, compare twelve methods on a folder of pictures, write demo/comparison/report.html (a few minutes)
# make test    install with the development tools, run all tests      ARGS="tests/methods -x" narrows it,
#                                                                     WORKERS=0 runs them in one process instead of two
# make check   lint, format, types, import arrows, documentation, then all tests
# make bench   measure the benchmarks, write results/benchmarks.csv
# make docs    build the documentation in docs/_build/html
# make clean   remove the environment and everything built
#
# Needs python3 (3.11 or newer), make and a network; PYTHON=/path/to/python chooses another interpreter.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Two threads that share a core with another process make a small torch step many times slower: one thread each.
export OMP_NUM_THREADS ?= 1
export PYTHONUNBUFFERED := 1

.PHONY: help demo test check bench docs clean
help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/q'

demo: $(VENV)/.installed-train
	test -d demo/pictures || $(BIN)/python docs/demo_pictures.py demo/pictures
	$(BIN)/longtail compare folder:demo/pictures --group-by none --seeds 3 --out demo/comparison

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory docs
	$(MAKE) --no-print-directory test

bench: $(VENV)/.installed-train
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python docs/build_tables.py

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html
	@echo "documentation: docs/_build/html/index.html"

clean:
	rm -rf $(VENV) docs/_build docs/_generated docs/api docs/methods build dist demo

$(VENV)/bin/python:
	@for python in $(PYTHON) python3.13 python3.12 python3.11 none; do \
	  if [ $$python = none ]; then \
	    echo "longtail needs Python 3.11 or newer, and found none: install it, or name it with make PYTHON=/path/to/python" >&2; \
	    exit 1; \
	  fi; \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	done; \
	if ! $$python -m venv $(VENV) >$(VENV).log 2>&1; then \
	  rm -rf $(VENV); cat $(VENV).log >&2; rm -f $(VENV).log; \
	  echo "$$python cannot make a virtual environment: install its venv module (on Debian and Ubuntu: apt install python3-venv)" >&2; \
	  exit 1; \
	fi; \
	rm -f $(VENV).log

$(VENV)/.installed-train: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing longtail[train] in $(VENV) (PyTorch comes with it: several GB, some minutes)"
	@$(INSTALL) --editable ".[train]"
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing longtail[dev] in $(VENV) (PyTorch comes with it: several GB, some minutes)"
	@$(INSTALL) --editable ".[dev]"
	@touch $@ $(VENV)/.installed-train
