# make run | test | test-services | check | bench | bench-gateway | faults | soak | fuzz | image-steps | lock | clean.
# Nothing is installed outside of .venv, but for Debian's packages as root: Chromium, and what test-services needs.
#
# PYTHON=python3.12 chooses the interpreter of a new .venv; HOST and PORT where `make run` listens.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
WORKERS ?= 1
FUZZ_SECONDS ?= 30
VENV := .venv
PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help run test test-services browser check bench bench-gateway faults soak fuzz image-steps lock clean preflight
.DELETE_ON_ERROR:

help:
	@echo "make run     start the service here: http://$(HOST):$(PORT)  (PORT=8001 for another port)"
	@echo "make test    run the tests"
	@echo "make check   lint, types, migrations, insecure code, known vulnerabilities of dependencies"
	@echo "make bench   measure; make bench-gateway: the gateway alone"
	@echo "make test-services  the same on Debian's PostgreSQL 15, Redis, RabbitMQ, pgbouncer, Caddy and nginx"
	@echo "make faults  kill, cut, race and set clocks at full counts, for an hour: docs/reliability.md"
	@echo "make soak    an hour of steady mixed load: memory, latency, tables"
	@echo "make fuzz    every parser of outside bytes, half a minute each"
	@echo "make image-steps  the Dockerfile's steps in a clean root (root, debootstrap)"
	@echo "make lock    choose the versions of the dependencies anew"
	@echo "make clean   remove .venv and caches; data and keys under var/ stay"

# The interpreter itself, so that signals reach it.
run: $(VENV)/run.stamp
	@exec $(PY) manage.py up --host $(HOST) --port $(PORT) --workers $(WORKERS)

# Two processes: four were no faster beyond the noise on two cores (57 and 52 s). A module's tests mostly stay in one, so that
# what they share is made once.
test: $(VENV)/dev.stamp browser
	$(PY) -m pytest -n 2 --dist worksteal

test-services: $(VENV)/dev.stamp browser
	$(PY) -m tests.services

# The console's tests in a real browser want Chromium. It is installed where that needs no question.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Chromium for the tests in a browser"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			chromium fonts-dejavu-core >/dev/null && exit 0; \
	fi; \
	echo "No Chromium here: the tests in a browser are left out. To run them: sudo apt-get install chromium"

# makemigrations also compares with the database, where there is one; the warning says that there is none.
check: $(VENV)/dev.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy .
	$(PY) -W "ignore:Got an error checking a consistent migration history:RuntimeWarning" \
		manage.py makemigrations --check --dry-run
	$(PY) -m bandit --quiet --configfile pyproject.toml --recursive accounts billing cacheservice console gateway
	$(PY) -m tests.dependency_audit requirements.lock requirements-extras.lock

bench: $(VENV)/dev.stamp
	$(PY) -m bench

bench-gateway: $(VENV)/dev.stamp
	$(PY) -m bench --only gateway

faults: $(VENV)/dev.stamp
	$(PY) -m tests.faults

soak: $(VENV)/dev.stamp
	$(PY) -m tests.soak

fuzz: $(VENV)/dev.stamp
	$(PY) -m tests.fuzz --seconds $(FUZZ_SECONDS)

image-steps: $(VENV)/dev.stamp
	$(PY) -m tests.image_steps

COMPILE := $(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header
lock: $(VENV)/dev.stamp
	$(COMPILE) --upgrade pyproject.toml --output-file requirements.lock
	$(COMPILE) --upgrade pyproject.toml --group dev --constraint requirements.lock --output-file requirements-dev.lock
	$(COMPILE) --upgrade pyproject.toml --all-extras --constraint requirements.lock \
		--output-file requirements-extras.lock

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp says that its lock is installed. The dev lock holds the other one's versions too, so either order works.
$(VENV)/run.stamp: requirements.lock
	$(call install,requirements.lock)
$(VENV)/dev.stamp: requirements-dev.lock
	$(call install,requirements-dev.lock)

# What was interrupted is not trusted: pip takes a half-copied package for an installed one. So a .venv without a stamp,
# or with an install that did not come to its end, is made anew. The same when its interpreter is gone.
ifneq ($(shell test -x $(PY) && $(PY) -c "print(1)" 2>&1),1)
$(VENV)/run.stamp $(VENV)/dev.stamp: preflight
endif
define install
@$(MAKE) --no-print-directory preflight
@if [ -e $(VENV)/unfinished ] || ! ls $(VENV)/*.stamp >/dev/null 2>&1 || ! $(PY) -m pip --version >/dev/null 2>&1; then \
	echo "Making $(VENV)"; rm -f $(VENV)/*.stamp; $(PYTHON) -m venv --clear $(VENV); fi
@echo "Installing $(1)"
@touch $(VENV)/unfinished
@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)
@rm $(VENV)/unfinished
@touch $@
endef

preflight:
	@test -w . || { echo "cannot write to $(CURDIR): make needs it for .venv and var" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || \
		{ echo "$(PYTHON) is not installed: Python 3.11 or newer is needed (make PYTHON=python3.12 names another)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1): Python 3.11 or newer is needed (make PYTHON=python3.12 names another)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "$(PYTHON) has no venv: sudo apt-get install $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 1; }
