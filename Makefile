# make demo and make test do all their set-up themselves: they need Python >= 3.10 (with venv) and make.

PYTHON ?= python3
VENV ?= .venv
DEMO ?= demo
WORKERS ?= 2
BIN := $(VENV)/bin
MODEL := studies/generators/20-pixels/diffusion
BENCHMARKS := generation pretraining augmentation evaluation data search

PIECE ?= all
EXTRAS ?= test,dev
WHEELS ?= .whl

.PHONY: help demo test test-all test-lowest bench gpu docs accessible vendor lint format check audit dist clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    install the package into $(VENV), then the whole main job on the digits: table and report"
	@echo "make test    install the package with the test tools into $(VENV), then the tests (T=tests/cli runs a part, WORKERS=8 that many at once)"
	@echo "make test-all  the same, and those that take minutes: experiments, and the real data sets that are installed"
	@echo "make test-lowest  the tests with the lowest versions of the dependencies that are allowed, in $(VENV)-lowest (asks PyPI for gigabytes)"
	@echo "make bench   the benchmarks against other ways to do the same: studies/benchmarks and the table in docs/speed.md"
	@echo "make gpu     tests and benchmarks on this machine's GPU, without network: wheels come from $(WHEELS); PIECE=tests,generation; TINY=1"
	@echo "make docs    the documentation as a site that can be read from the disk: site/index.html"
	@echo "make accessible  the site's pages, or PAGES='RUN/report.html ...', checked with axe in a browser (asks npm; needs node and chromium)"
	@echo "make vendor  the plotting library of 'clsp explore' anew, from npm (asks its registry; needs node)"
	@echo "make lint    style, format, types, which room may know which, and what runs code"
	@echo "make check   lint and test"
	@echo "make audit   known holes in the lowest and in the installed versions of the dependencies (asks PyPI)"
	@echo "make dist    sdist and wheel into dist/, and what PyPI would say of them"
	@echo "make clean   remove $(VENV), $(DEMO) and caches"
	@echo "PYTHON=python3.12 chooses the interpreter, VENV=DIR another place for the environment"

demo: $(VENV)/.installed
	$(BIN)/clsp run --data digits --out $(DEMO)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --durations 25 -m "not slow" $(if $(T),$(T),--ignore=tests/test_sweep.py)
	$(if $(T),,$(BIN)/python -m pytest tests/test_sweep.py)  # it forks: it wants a process that no other test has used

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(T)

test-lowest: $(VENV)/pyvenv.cfg
	$(BIN)/python docs/lowest.py > $(VENV)/lowest.txt
	PIP_CONSTRAINT=$(abspath $(VENV)/lowest.txt) $(MAKE) VENV=$(VENV)-lowest EXTRAS=test test

bench: $(VENV)/.installed-test
	for name in $(BENCHMARKS); do \
	  if [ $$name = generation ]; then more="--diffusion $(MODEL) --quality 100"; else more=; fi; \
	  $(BIN)/python benchmarks/$$name.py $$more --json studies/benchmarks/result.json || exit 1; \
	done
	$(BIN)/python docs/tables.py

# The machine's own Python, with what it has: torch, lightning and timm are there, what lacks comes from a folder of wheels.
gpu:
	if [ -d "$(WHEELS)" ]; then $(PYTHON) -m pip install --disable-pip-version-check -q --no-index --no-deps --no-compile \
	  --upgrade --target build/gpu $(WHEELS)/*.whl; fi
	PYTHONPATH=src:build/gpu:benchmarks:$$PYTHONPATH $(if $(TINY),CLSP_GPU_TESTS=cpu) \
	  $(PYTHON) benchmarks/gpu.py --piece $(PIECE) $(if $(TINY),--tiny)

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

accessible: docs  # 404.html finds its styles on a server alone
	npm install --silent --no-save --prefix build/accessible axe-core@4 puppeteer-core@24
	NODE_PATH=build/accessible/node_modules node docs/accessible.cjs $(or $(PAGES),$(shell find site -name '*.html' ! -name 404.html))

vendor:
	src/clsp/explorer/vendor/build.sh

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -r src -ll

audit: $(VENV)/.installed-test
	$(BIN)/python -m pip install --disable-pip-version-check -q pip-audit
	$(BIN)/python docs/lowest.py > $(VENV)/lowest.txt
	$(BIN)/pip-audit --no-deps -r $(VENV)/lowest.txt
	$(BIN)/pip-audit --local --skip-editable

dist: $(VENV)/.installed-test
	rm -rf build dist
	$(BIN)/python -m pip install --disable-pip-version-check -q build twine
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: lint test

clean:
	rm -rf $(VENV) $(VENV)-lowest $(DEMO) build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/pyvenv.cfg:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "Python >= 3.10 is needed, $(PYTHON) is `$(PYTHON) --version 2>&1`; try make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
	  || { echo "$(PYTHON) lacks venv or ensurepip; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: pyproject.toml | $(VENV)/pyvenv.cfg
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[docs]'
	@touch $@ $(VENV)/.installed
