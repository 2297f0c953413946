# make up      set everything up and run the organisation       make test   set everything up and test
# make install the set-up alone: .venv/bin/waypost              make lock   renew the locked dependencies
# make test-compose   build the image, and run and test the containers of docker-compose.yml
.PHONY: up install install-tests install-programs test test-compose check lint lock
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PROGRAMS := swaks isync msmtp curl

install: $(VENV)/.installed

install-tests: $(VENV)/.installed-tests

up: install
	$(BIN)/waypost up

test: install-tests install-programs check

test-compose:
	@python3 -m tests.compose.engine
	@$(MAKE) --no-print-directory install
	@$(BIN)/python -m tests.compose

check: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: install-tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The distribution's interpreter is built with the optimisations that many self-built ones lack.
$(VENV)/bin/python:
	@set -eu; \
	for python in /usr/bin/python3 python3; do \
	  if command -v $$python >/dev/null && $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then break; fi; \
	  python=; \
	done; \
	[ -n "$$python" ] || { echo "Waypost needs Python 3.11 or newer: apt-get install -y python3 python3-venv" >&2; exit 1; }; \
	if ! $$python -c 'import venv, ensurepip' 2>/dev/null; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y python3-venv; \
	  else \
	    echo "Python's venv module is missing: sudo apt-get install -y python3-venv" >&2; exit 1; \
	  fi; \
	fi; \
	$$python -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes --no-deps -r requirements.lock
	$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.installed-tests: requirements-test.lock $(VENV)/.installed
	$(PIP) --require-hashes --no-deps -r requirements-test.lock
	@touch $@

install-programs:
	@missing=; for program in swaks mbsync msmtp curl; do \
	  command -v $$program >/dev/null || missing=yes; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $(PROGRAMS); \
	  else \
	    echo "Mail programs that tests use are missing: sudo apt-get install -y $(PROGRAMS)" >&2; \
	  fi; \
	fi

lock:
	$(PIP) --require-hashes --no-deps -r requirements-test.lock
	$(BIN)/pip-compile --quiet --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --extra test --extra lock --output-file requirements-test.lock pyproject.toml
