# make chat   a chat, from nothing          make bench     measurements, written into docs/performance.md
# make check  style and strict types        make docs      the pages that are made from the code
# make quick  a few tests of every room      make coverage  all tests, and how much of the code they reach
# make test   all tests                     make lock      the newest versions that requirements*.txt allow
# make facts  which default models and API versions are past or near their end (run it before a release)
# make prove  checks every promise of docs/guarantees.md (FULL=1, MINUTES=60, ONLY=kills,cuts, SEED=7, WRITE=1)
# make sbom   what the program consists of, in sbom.json (CycloneDX)
# make mutants  changes the code one thing at a time and counts what no test notices
# make pictures  the pictures of the README and of docs/, from the program itself and from the page in a real browser
# make eval   how often the line that answers a question is in the context, written into docs/context.md

VENV   := .venv
PY     := $(VENV)/bin/python
ARGS   ?=
TESTS  ?= tests
UV     := uv==0.13.9
# A Python from 3.11 on: the one that PYTHON names, else the first that is found.
NAMED  := $(PYTHON)
RECENT := 'import sys; sys.exit(sys.version_info < (3, 11))'
FOUND  := $(shell for p in $(if $(NAMED),"$(NAMED)",$(PY) python3 python3.14 python3.13 python3.12 python3.11 python); do \
            command -v "$$p" >/dev/null 2>&1 && "$$p" -c $(RECENT) 2>/dev/null && echo "$$p" && break; done)
FOUND_OR_WHY = @test -n "$(FOUND)" || { \
	if [ -n "$(NAMED)" ] && ! command -v "$(NAMED)" >/dev/null 2>&1; then echo "error: PYTHON=$(NAMED): there is no such program."; \
	elif [ -n "$(NAMED)" ]; then version=$$("$(NAMED)" -V 2>/dev/null | head -n 1); \
		case "$$version" in Python*) echo "error: PYTHON=$(NAMED) is $$version; Stream Chat needs Python 3.11 or newer.";; \
		*) echo "error: PYTHON=$(NAMED) does not run as Python here. Stream Chat needs Python 3.11 or newer.";; esac; \
	elif command -v python3 >/dev/null 2>&1; then echo "error: Stream Chat needs Python 3.11 or newer; python3 is $$(python3 -V 2>&1)."; \
	else echo "error: Stream Chat needs Python 3.11 or newer, and no Python was found."; fi; \
	echo "Install one (apt install python3, brew install python), or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python"; exit 1; } >&2

.PHONY: mutants chat quick test coverage check bench prove sbom eval docs pictures facts lock clean chat-environment test-environment

chat: chat-environment
	@$(PY) stream_chat.py $(ARGS) || { code=$$?; [ $$code -eq 130 ] || exit $$code; }

test: test-environment
	$(PY) -m pytest -q -n $${JOBS:-4} --dist worksteal $(TESTS)

quick: test-environment
	$(PY) -m pytest -q -n $${JOBS:-2} --dist worksteal --quick -m "not processes" $(TESTS)

coverage: test-environment
	$(PY) -m pytest -q -n $${JOBS:-2} --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90 $(TESTS)

check: test-environment
	$(PY) -m flake8 core db.py stream_chat.py tests bench install
	$(PY) -m mypy
	$(PY) -m tests.web.check_javascript
	$(PY) -I install/audit.py

sbom: test-environment
	$(PY) -I install/audit.py --sbom

bench: test-environment
	$(PY) -m compileall -q core db.py stream_chat.py
	$(PY) -m bench.run

prove: test-environment
	$(PY) -m tests.prove $(if $(FULL),--full --state .prove.jsonl) $(if $(ONLY),--only $(ONLY)) \
		$(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(if $(MINUTES),--minutes $(MINUTES)) \
		$(if $(WRITE),--write)

eval: test-environment
	$(PY) -m bench.context_$(if $(filter answers,$(ARGS)),answers,eval) --write $(filter-out answers,$(ARGS))

facts: test-environment
	$(PY) -m tests.check_facts

mutants: test-environment
	$(PY) -m tests.mutate $(ARGS)

docs: test-environment
	$(PY) -m tests.make_docs

pictures: test-environment
	$(PY) -m docs.make_pictures
	$(PY) -m tests.web.pictures

chat-environment:
	$(FOUND_OR_WHY)
	@"$(FOUND)" -I install/environment.py chat $(if $(NAMED),named)

test-environment:
	$(FOUND_OR_WHY)
	@"$(FOUND)" -I install/environment.py test $(if $(NAMED),named)

# One lock file for each set; --universal: for every system and every Python from 3.11 on.
COMPILE = $(VENV)/bin/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate --upgrade
lock: test-environment
	@$(PY) -m pip install --quiet --disable-pip-version-check $(UV)
	$(COMPILE) requirements.txt -o requirements.lock
	$(COMPILE) requirements-local.txt -c requirements.lock -o requirements-local.lock
	$(COMPILE) requirements-web.txt -c requirements.lock -o requirements-web.lock
	$(COMPILE) requirements.txt requirements-local.txt requirements-web.txt requirements-dev.txt \
		-c requirements.lock -c requirements-local.lock -c requirements-web.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache
