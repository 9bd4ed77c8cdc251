# make chat   a chat, from nothing          make test    all tests
# make check  style and strict types        make bench   measurements, written into docs/performance.md
# make docs   the pages that are made from the code

PYTHON := $(shell for p in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
            command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check
ARGS   ?=
TESTS  ?= tests

.PHONY: chat test check bench docs clean

chat: $(VENV)/chat.ok
	@$(PY) stream_chat.py $(ARGS) || { code=$$?; [ $$code -eq 130 ] || exit $$code; }

test: $(VENV)/dev.ok
	$(PY) -m pytest -q -n $${JOBS:-2} --dist worksteal $(TESTS)

check: $(VENV)/dev.ok
	$(PY) -m flake8 core db.py stream_chat.py tests bench
	$(PY) -m mypy

bench: $(VENV)/dev.ok
	$(PY) -m compileall -q core db.py stream_chat.py
	$(PY) -m bench.run

docs: $(VENV)/dev.ok
	$(PY) -m tests.make_docs

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Stream Chat needs Python 3.11 or newer; none was found. Install one, or name it: make chat PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is not complete here. On Debian and Ubuntu: apt install python3-venv"; exit 1; }

$(VENV)/chat.ok: requirements.txt requirements-local.txt | $(VENV)/bin/python
	@echo "Installing into $(VENV) (once) ..."
	@$(PIP) -r requirements.txt
	@$(PIP) -r requirements-local.txt || echo "The embedded engine cannot be installed here; everything else works."
	@$(PY) -m compileall -q core db.py stream_chat.py
	@touch $@

$(VENV)/dev.ok: requirements-dev.txt $(VENV)/chat.ok
	@$(PIP) -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache
