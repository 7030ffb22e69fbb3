# dodo-customerio: every chore is one verb. `make help` lists them.
# Needs Python 3.11+, and for whatever touches Kafka: JDK 17+ and Maven. Nothing else is installed by hand.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# Some machines forbid compiled files. The tests start hundreds of Pythons, and each would compile everything anew.
export PYTHONDONTWRITEBYTECODE :=
.PHONY: help install demo test lint types unit chaos platforms bench peers lock clean

# By the shell, since make's own functions take a path with a blank for two.
override ROOT := $(shell f='$(MAKEFILE_LIST)'; [ "$${f:0:1}" != " " ] || f="$${f:1}"; cd "$$(dirname "$$f")" && pwd)
# macOS' make 3.81 does not know .SHELLFLAGS: a recipe whose failure must not pass unseen says so itself.
STRICT := set -eu -o pipefail
# Not every machine has sha256sum, and this one has a Python by then.
DIGEST := -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest()[:32])'
VENV := $(ROOT)/.venv
PY := $(VENV)/bin/python
PEERS := $(ROOT)/.venv-bench
DRAWERS := $(ROOT)/.venv-docs
LISTER := $(ROOT)/.venv-release
COMPILED := $(ROOT)/.venv-compiled
# The virtual environment is current when this fingerprint is its stamp: locks, project file, place, interpreter.
FINGERPRINT = $$(cd "$(ROOT)" && { cat requirements-dev.lock pyproject.toml; pwd; "$$p" -VV; } | "$$p" $(DIGEST))
python = $$(for p in $${PYTHON:-} python3.13 python3.12 python3.11 python3; do \
	command -v "$$p" >/dev/null 2>&1 && "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)

# Another environment, current by its stamp as .venv is: $(call environment,directory,lock file,a program of it,what is said).
# Of the same Python, unless the shell's $by is another.
environment = $(STRICT); cd "$(ROOT)"; by="$${by:-$(PY)}"; want=$$({ cat $(2); pwd; "$$by" -VV; } | "$$by" $(DIGEST)); \
	if [ -x "$(1)/bin/$(3)" ] && [ "$$(cat "$(1)/.stamp" 2>/dev/null || true)" = "$$want" ]; then exit 0; fi; \
	echo "Installing $(4) ..."; rm -rf "$(1)"; "$$by" -m venv "$(1)"; \
	"$(1)/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(2); \
	echo "$$want" > "$(1)/.stamp"

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' "$(ROOT)/Makefile"

install: ## create or refresh .venv from the lock (hashes checked); does nothing when it is current
	@$(STRICT); cd "$(ROOT)"; p=$(python); \
	if [ -z "$$p" ]; then echo "Python 3.11 or newer is missing. Debian: apt-get install python3 python3-venv" >&2; exit 2; fi; \
	want=$(FINGERPRINT); \
	if [ -x "$(PY)" ] && [ "$$(cat "$(VENV)/.stamp" 2>/dev/null || true)" = "$$want" ] && "$(PY)" -c 'import pipeline' 2>/dev/null; then exit 0; fi; \
	echo "Installing into .venv ..."; rm -rf "$(VENV)"; \
	"$$p" -m venv "$(VENV)" || { rm -rf "$(VENV)"; echo "python3 -m venv failed. Debian: apt-get install python3-venv" >&2; exit 2; }; \
	"$(PY)" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock; \
	"$(PY)" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	echo "$$want" > "$(VENV)/.stamp"

tools: # Java and Maven, or a message that says what to install
	@for t in java mvn; do command -v $$t >/dev/null 2>&1 || { \
	echo "$$t is missing: a local Apache Kafka needs JDK 17+ and Maven." >&2; \
	echo "Debian: apt-get install default-jdk-headless maven. Or run the whole chain with Docker: docker compose --profile sandbox up" >&2; exit 2; }; done

demo: tools install ## the whole chain on a local Apache Kafka: signed traffic in, a reconciled table out (DEMO='--webhooks 20000')
	@cd "$(ROOT)" && exec "$(PY)" -m pipeline demo $(DEMO)

test: tools install lint types unit ## lint, type-check and run every test, the ones on real Kafka included

lint: install ## formatting, lint rules, import layers
	@cd "$(ROOT)" && "$(PY)" -m ruff format --check --quiet . && "$(PY)" -m ruff check --quiet . && "$(VENV)/bin/lint-imports" --no-cache | tail -n 4

types: install ## mypy, strict
	@cd "$(ROOT)" && "$(PY)" -m mypy

# Most tests wait for a broker or a process, so six at a time fit on two cores, on one broker (N=4: fewer). A file stays in one process, with what it starts for its tests and with the files that share it (tests/sharing.py), in the order of tests/conftest.py. Those
# that measure a rate come last and have the machine to themselves. 5: no test was selected.
unit: tools install ## the tests alone (T='tests/sink -k batch')
	@cd "$(ROOT)" && { "$(PY)" -m pytest -n $(or $(N),6) --dist loadfile --no-loadscope-reorder -m "not alone" $(T) || [ $$? = 5 ]; } && { "$(PY)" -m pytest -m alone $(or $(T),$$(grep -rl --include='*.py' 'mark\.alone' tests)) || [ $$? = 5 ]; }

# Apart from `unit`: with Python 3.11 tracing nearly doubles what such a test costs (8 s of processor time become 14).
# Without what only Kafka can test: those parts run in processes of their own.
.PHONY: coverage
coverage: install ## branch coverage of the rooms that decide, with its floor; the lines that no test reaches (T='tests/sink')
	@cd "$(ROOT)" && rm -rf .coverage.d && mkdir .coverage.d && "$(PY)" -m coverage run -m pytest -q -n $(or $(N),2) -m "not kafka and not chaos and not alone" \
	$(or $(T),tests/customerio tests/deadletters tests/dodo tests/sink tests/statestore tests/transform) && \
	"$(PY)" -m coverage combine --quiet && "$(PY)" -m coverage report $(if $(T),--fail-under 0)

chaos: tools install ## the long form of the kill, freeze and restart tests; SEED=n: that season of faults alone (FAULTS=30 WEBHOOKS=10000)
	@cd "$(ROOT)" && CHAOS_SECONDS=$${CHAOS_SECONDS:-300} CHAOS_SEED=$(or $(SEED),$(CHAOS_SEED)) CHAOS_FAULTS=$(FAULTS) CHAOS_WEBHOOKS=$(WEBHOOKS) "$(PY)" -m pytest -m chaos --timeout 3600 $(or $(T),$(if $(SEED),-s tests/chaos/season/test_seasons.py))

.PHONY: soak
soak: tools install ## the chain at half of its load for two hours, and what of memory, descriptors, tasks rises (SOAK_SECONDS=300): docs/soak.md
	@cd "$(ROOT)" && SOAK_SECONDS=$${SOAK_SECONDS:-7200} "$(PY)" -m pytest -q -s -m chaos $(T) tests/chaos/soak

.PHONY: stock-faust
stock-faust: tools install ## what stock Faust loses on a real Apache Kafka, and the same records on ours: docs/stock-faust.md
	@cd "$(ROOT)" && CHAOS_SECONDS=1 "$(PY)" -m pytest -q -s -m chaos $(T) tests/chaos/stock_faust

# Each version that is promised and is no .venv's, in an environment beside it; PYTHONS names others, or where they are.
# The last run has Faust's other iterator, as a platform without its wheel does (docs/install.md).
.PHONY: pythons
SHORT := -m "not kafka and not chaos and not alone" --dist loadfile
CHAIN := tests/demo/test_chain.py -m "kafka and not chaos and not alone" -k reconciles -n 0
WHICH := -c 'import sys; print("%d.%d" % sys.version_info[:2])'
pythons: tools install ## the tests that need no broker, and one of the whole chain, on each other Python that is found (PYTHONS='python3.12', N=2)
	@$(STRICT); cd "$(ROOT)"; mine=$$("$(PY)" $(WHICH)); for p in $(or $(PYTHONS),python3.11 python3.12 python3.13); do \
	v=$$("$$p" $(WHICH) 2>/dev/null) || { echo "$$p: not found, so not tested"; continue; }; \
	if [ "$$v" = "$$mine" ]; then continue; fi; there="$(VENV)-$$v"; \
	(by="$$p"; $(call environment,$(VENV)-$$v,requirements-dev.lock,python,Python $$v into .venv-$$v)); \
	(cd / && "$$there/bin/python" -c 'import pipeline' 2>/dev/null) || \
	"$$there/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .; \
	echo "Python $$v:"; "$$there/bin/python" -m pytest -q -n $(or $(N),2) $(SHORT) $(T); "$$there/bin/python" -m pytest -q $(CHAIN); \
	done; echo "Python $$mine without the compiled iterator of Faust:"; NO_CYTHON=1 "$(PY)" -m pytest -q $(CHAIN)

# A wheel with machine code, installed where its own tests find it: `tree` is this checkout with the installed package in
# the place of the sources; behind it on the path, for the programs that tests start.
.PHONY: compiled compiled-install
compiled-install: install
	@(by=; $(call environment,$(COMPILED),requirements-dev.lock,python,what the compiled build needs into .venv-compiled))
	@$(STRICT); cd "$(ROOT)"; there="$(COMPILED)"; want=$$({ cat pyproject.toml hatch_build.py compile_modules.py $$(find pipeline topics -type f ! -path '*/__pycache__/*' | sort); "$(PY)" -VV; } | "$(PY)" $(DIGEST)); \
	if [ "$$(cat "$$there/.built" 2>/dev/null || true)" = "$$want" ]; then exit 0; fi; \
	echo "Compiling (two minutes of a processor) ..."; rm -rf "$$there/.built" "$$there/tree"; \
	DODO_CIO_COMPILE=1 "$$there/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --force-reinstall .; \
	mkdir "$$there/tree"; for f in * .ci .dockerignore .gitignore; do if [ "$$f" != pipeline ] && [ -e "$$f" ]; then ln -s "../../$$f" "$$there/tree/$$f"; fi; done; \
	ln -s "$$(cd / && "$$there/bin/python" -c 'import pathlib, pipeline; print(pathlib.Path(pipeline.__file__).parent)')" "$$there/tree/pipeline"; \
	echo "$$there/tree" > "$$(cd / && "$$there/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tests.pth"; \
	echo "$$want" > "$$there/.built"

compiled: tools compiled-install ## machine code by mypyc in .venv-compiled: that it decides as Python does, the tests that need no broker, the chain (N=2)
	@$(STRICT); cd "$(ROOT)"; there="$(COMPILED)/bin/python"; "$(PY)" -m tests.builds "$$there" "$(COMPILED)/tree"; \
	cd "$(COMPILED)/tree"; "$$there" -m pytest -q -n $(or $(N),2) $(SHORT) $(T); "$$there" -m pytest -q $(CHAIN)

platforms: tools install ## the chain on Apache Kafka 3.0 to the newest, three brokers each (PLATFORMS='3.5.2 4.2.1'); fetches their jars with Maven
	@cd "$(ROOT)" && PLATFORMS="$${PLATFORMS:-all}" "$(PY)" -m pytest -m platforms -s -q --timeout 1800 $(T) tests/platforms

bench: tools install peers ## figures beside the peers' in the same run (B='transform --short', B=--help); no part of `make test`
	@cd "$(ROOT)" && exec "$(PY)" -m tests.bench $(B)

# The peers that `make bench` measures beside us, in an environment of their own: their bounds and ours need not agree.
peers: install
	@$(call environment,$(PEERS),requirements-bench.lock,python,the benchmark's peers into .venv-bench)

.PHONY: docs drawers
docs: drawers install ## write the pages of docs/ that are made from code anew, and draw their pictures
	@cd "$(ROOT)" && "$(PY)" -m tests.docs "$(DRAWERS)/bin/d2"

# What draws the pictures: no test needs it, so it has an environment of its own.
drawers: install
	@$(call environment,$(DRAWERS),requirements-docs.lock,d2,D2 into .venv-docs)

.PHONY: dist lister
dist: tools lister install ## wheel, sdist and list of parts in dist/, proved by the demo from an empty environment (DIST='--webhooks 5000')
	@cd "$(ROOT)" && "$(PY)" -m tests.release "$(LISTER)/bin/cyclonedx-py" $(DIST)

# What lists the parts of a release: an environment of its own, so that it is no part itself.
lister: install
	@$(call environment,$(LISTER),requirements-release.lock,cyclonedx-py,CycloneDX into .venv-release)

lock: install ## refresh the six lock files from pyproject.toml (needs uv)
	@cd "$(ROOT)" && c="uv pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-annotate --no-header --generate-hashes"; \
	$$c pyproject.toml --extra javascript --extra otel --output-file requirements.lock && \
	$$c pyproject.toml --extra dev --constraints requirements.lock --output-file requirements-dev.lock && \
	$$c --group bench --constraints <(grep -E '^(aiokafka|faust-streaming|mode-streaming|orjson|uvloop)==' requirements.lock | sed 's/[ ;].*//') --output-file requirements-bench.lock && \
	$$c --group compile --constraints <(grep -E '^[a-z]' requirements-dev.lock | sed 's/ .$$//') --output-file requirements-compile.lock && \
	$$c --group docs --output-file requirements-docs.lock && \
	$$c --group release --output-file requirements-release.lock

clean: ## remove the virtual environment, caches and local data
	@cd "$(ROOT)" && rm -rf .venv .venv-3.* .venv-bench .venv-docs .venv-release .venv-compiled .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist ./*-data && find pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +
