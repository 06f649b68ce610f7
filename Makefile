# Everything runs inside $(VENV), which the first target that needs it creates. Nothing but python3 and make
# has to be there. Stamps ($(VENV)/.installed-NAME) make the second call quick; a changed pyproject.toml renews them.

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
CAPTUM ?= captum==0.9.0
DEMO_DIR ?= runs/demo
BENCH_DIR ?= runs/bench
TARGETS_DIR ?= runs/targets
DIST_DIR ?= runs/dist
TARGETS_ARGS ?=
PYTEST_ARGS ?=

PY := $(VENV)/bin/python
# Compilers for devices that are not there make every `import jax` look for those, so they live apart.
TARGETS_VENV ?= $(VENV)-targets
TARGETS_PY := $(TARGETS_VENV)/bin/python
PYTEST := $(PY) -m pytest -q -n 2 --dist worksteal

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test quick parity bench bench-full targets targets-quick scaling docs dist dist-check lint format clean

help: ## list these targets
	@echo "make TARGET   (PYTHON=$(PYTHON), VENV=$(VENV))"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-examples ## train a x3 super-resolution network on photographs, leave the results in runs/demo
	$(PY) -m examples.super_resolution demo --out $(DEMO_DIR)

test: $(VENV)/.installed-test ## all tests and the package's doctests
	$(PYTEST) $(PYTEST_ARGS)

quick: $(VENV)/.installed-test ## the tests without those marked slow
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

parity: $(VENV)/.installed-test $(VENV)/.installed-torch ## compare with PyTorch (installs it on Python 3.11; skips elsewhere)
	@if $(PY) -c "import torch" 2>/dev/null; \
	then $(PYTEST) tests/test_*torch_parity.py tests/test_*_torch.py $(PYTEST_ARGS); \
	else echo "parity skipped: $(TORCH) is installed on Python 3.11 only; recorded results are part of 'make test'"; fi

bench: $(VENV)/.installed-bench $(VENV)/.installed-torch ## time the operators of some layers against stock JAX and PyTorch, leave a report in runs/bench
	@mkdir -p $(BENCH_DIR)
	$(PY) -m benchmarks.run --quick --out $(BENCH_DIR)/quick.jsonl
	$(PY) -m benchmarks.report $(BENCH_DIR)/quick.jsonl --out $(BENCH_DIR)/quick

bench-full: $(VENV)/.installed-bench $(VENV)/.installed-torch ## the same of all layers, of 100 random ones, and of whole training steps
	@mkdir -p $(BENCH_DIR)
	$(PY) -m benchmarks.run --out $(BENCH_DIR)/operators.jsonl
	$(PY) -m benchmarks.run --random 100 --seed 1 --out $(BENCH_DIR)/operators.jsonl
	$(PY) -m benchmarks.train --out $(BENCH_DIR)/training.jsonl
	$(PY) -m benchmarks.report $(BENCH_DIR)/operators.jsonl --out $(BENCH_DIR)/full

targets: $(TARGETS_VENV)/.installed-cuda ## compile the operators for an H100 and a TPU v5e that are not there, check the programs
	JAX_PLATFORMS=cpu $(TARGETS_PY) -m pytest -q -n 2 --dist worksteal tests/test_targets.py \
	  tests/test_targets_compiled.py tests/test_shards_compiled.py $(PYTEST_ARGS)
	$(TARGETS_PY) -m benchmarks.targets --out $(TARGETS_DIR) $(TARGETS_ARGS)

targets-quick: $(TARGETS_VENV)/.installed-cuda ## of those programs the ones most easily wrong, checked only
	JAX_PLATFORMS=cpu $(TARGETS_PY) -m pytest -q -n 2 --dist worksteal -m "not slow" tests/test_targets.py \
	  tests/test_targets_compiled.py tests/test_shards_compiled.py $(PYTEST_ARGS)

scaling: $(TARGETS_VENV)/.installed-cuda ## compile the examples' training steps for 256 TPU chips that are not there
	@$(MAKE) --no-print-directory VENV=$(TARGETS_VENV) $(TARGETS_VENV)/.installed-examples
	$(TARGETS_PY) -m benchmarks.scaling --out $(TARGETS_DIR)
	$(TARGETS_PY) -m benchmarks.shards --out $(TARGETS_DIR)

docs: $(VENV)/.installed-docs ## build the documentation into site/, strictly; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict # with --quiet it would not see its own warnings

dist: $(VENV)/.installed-dist ## build wheel and sdist into dist/
	rm -rf dist
	$(PY) -m build --quiet
	$(PY) -m twine check --strict dist/*

# In the place of the sdist's own package its tests find the one that the wheel has installed.
dist-check: dist ## install the wheel into an environment of its own, and run the sdist's tests on it
	rm -rf $(DIST_DIR) && mkdir -p $(DIST_DIR)
	tar -xzf dist/jaxconv-*.tar.gz -C $(DIST_DIR) --strip-components=1
	rm -r $(DIST_DIR)/jaxconv
	$(PYTHON) -m venv $(DIST_DIR)/.venv
	$(DIST_DIR)/.venv/bin/python -m pip install -qq --disable-pip-version-check "$$(echo dist/jaxconv-*.whl)[test]"
	cd $(DIST_DIR) && unset PYTHONPATH && \
	ln -s "$$(.venv/bin/python -c "import os, jaxconv; print(os.path.dirname(jaxconv.__file__))")" jaxconv && \
	readlink jaxconv | grep site-packages && \
	.venv/bin/python -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev ## ruff and pyright, changing nothing
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

format: $(VENV)/.installed-dev ## let ruff fix and format
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

clean: ## remove caches and what runs left behind; keeps the environment
	rm -rf runs site build dist .pytest_cache .ruff_cache .hypothesis .jax_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit("jaxconv needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] \
	  + "; name another one: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(TARGETS_VENV)/.installed-cuda: pyproject.toml
	@$(MAKE) --no-print-directory VENV=$(TARGETS_VENV) $(TARGETS_VENV)/.installed-targets
	@version=$$($(TARGETS_PY) -c "import jax; print(jax.__version__)"); \
	$(TARGETS_PY) -m pip install -qq --disable-pip-version-check --no-deps \
	  jax-cuda13-plugin==$$version jax-cuda13-pjrt==$$version
	@touch $@

$(VENV)/.installed-torch: pyproject.toml | $(PY)
	@if $(PY) -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))"; \
	then echo "installing $(TORCH) and $(CAPTUM) into $(VENV)"; \
	  $(PY) -m pip install -qq --disable-pip-version-check $(TORCH) $(CAPTUM); fi
	@touch $@

# The extra's name is the stem: .installed-test holds '.[test]'.
$(VENV)/.installed-%: pyproject.toml | $(PY)
	@echo "installing jaxconv[$*] into $(VENV) (once, a minute or two)"
	@$(PY) -m pip install -qq --disable-pip-version-check --editable '.[$*]'
	@touch $@
