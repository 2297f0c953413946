# make up      set everything up and run the organisation       make test   set everything up and test
# make install the set-up alone: .venv/bin/waypost              make lock   renew the locked dependencies
# make bench  compare with Postfix + Dovecot; CASE="NAME …" for some (CASE=--help names them), ROUNDS=3, SCALE=1
# make docs    make docs/ anew where it is made from the code   make soak MINUTES=10   faults on real servers
# make fuzz SECONDS=600   hostile octets for all that reads from the network, so long for each; TARGETS="mime rpc" for some
# make quick   the tests to run all the time: units and properties, nothing slow
# make test-compose   build the image, and run and test the containers of docker-compose.yml
CASE :=
ROUNDS := 3
SCALE := 1
.PHONY: quick fuzz bench install-bench up install install-tests install-programs install-curl test test-compose check lint docs lock docs/programs.md
.DELETE_ON_ERROR:

VENV := .venv
BIN := $(VENV)/bin
NODE := tests/programs/node_modules
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPARED := postfix dovecot:dovecot-imapd,dovecot-lmtpd
PROGRAMS := curl fetchmail getmail:getmail6 mbsync:isync msmtp neomutt node:nodejs npm offlineimap:offlineimap3 s-nail swaks:swaks,netbase,libnet-ssleay-perl

# $(call need,PROGRAMS,WHAT FOR): installs the Debian packages of programs that are missing when this is root, else
# names the line to run. A program that is called otherwise than its package, or needs more: program:package,package.
define need
@missing=; packages=; \
for each in $(1); do \
  command -v $${each%:*} >/dev/null || { missing="$$missing $${each%:*}"; packages="$$packages $${each#*:}"; }; \
done; \
packages=$$(echo "$$packages" | tr , ' '); \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    echo "Installing$$missing, $(2)"; \
    { $(APT) update && $(APT) install -y --no-install-recommends $$packages >/dev/null; } || \
      echo "They could not be installed." >&2; \
  else \
    echo "Missing:$$missing, $(2). To have it: sudo apt-get install -y --no-install-recommends$$packages" >&2; \
  fi; \
fi
endef
APT := DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300

install: $(VENV)/.installed

install-tests: $(VENV)/.installed-tests

up: install install-curl
	$(BIN)/waypost up

test: export WAYPOST_FUZZ_SECONDS := 60
test: install-tests install-programs check

quick: install-tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m "not slow" tests/unit tests/property

bench: install install-bench
	@$(BIN)/python -m benchmarks --rounds $(ROUNDS) --scale $(SCALE) $(CASE)

install-bench:
	$(call need,$(COMPARED),which Waypost is compared with)

test-compose:
	@python3 -m tests.compose.engine
	@$(MAKE) --no-print-directory install
	@$(BIN)/python -m tests.compose

soak: install-tests
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),3) $(if $(SEED),--seed $(SEED))

fuzz: install-tests
	$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(if $(SEED),--seed $(SEED)) $(TARGETS)

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
	    echo "Installing python3-venv"; $(APT) update && $(APT) install -y python3-venv >/dev/null; \
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
	$(call need,$(PROGRAMS),mail programs that tests use)
	@$(MAKE) --silent --no-print-directory $(NODE)/.package-lock.json

# Libraries of Node.js that tests use; without npm their tests are skipped and say so.
$(NODE)/.package-lock.json: tests/programs/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing the mail libraries of Node.js"; \
	  cd tests/programs && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch ../../$@; \
	else echo "Missing: npm, for the mail libraries of Node.js." >&2; fi

install-curl:
	$(call need,curl,which the lines to paste use)

docs: install
	$(BIN)/waypost config reference --into docs/configuration.md
	$(BIN)/python docs/tools/rfcs.py

# The table of mail programs, written by a run of their tests.
docs/programs.md: install-tests install-programs
	$(BIN)/python -m tests.programs.table --into $@

lock:
	$(PIP) --require-hashes --no-deps -r requirements-test.lock
	$(BIN)/pip-compile --quiet --output-file requirements.lock pyproject.toml
	$(BIN)/pip-compile --quiet --extra test --extra lock --output-file requirements-test.lock pyproject.toml
