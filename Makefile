# Everything runs in .venv, which is created from requirements.lock when a target first needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The address of an index of torch builds; without it, pip uses its default index (on Linux, the CUDA build).
TORCH_INDEX ?=
SHAPE := build/shape/scoreline

.DEFAULT_GOAL := help
.PHONY: help install demo score test tests quick faults bench models engines gpu lint format types schemas docs lock wheel clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

install: $(READY)  ## create .venv from the lock file, with scoreline in it; TORCH_INDEX=... for the CPU build of torch

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "scoreline needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --no-deps --index-url "$(TORCH_INDEX)" \
	  "$$(grep '^torch==' requirements.lock)")
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps --editable .
	$(BIN)/python -m compileall -q pipeline jobs schemas scoreline  # as pip does for what is not editable
	@touch $(READY)

demo: $(READY)  ## train, save and score real data; ROWS=5000000 for a large file, TASK=quantiles for another task
	$(BIN)/scoreline demo $(if $(ROWS),--rows $(ROWS)) $(if $(TASK),--task $(TASK))

score: $(READY)  ## score files: make score BUNDLE=... INPUT=... OUTPUT=... (JOB=nightly.toml)
	$(BIN)/scoreline score $(if $(JOB),--job "$(JOB)") $(if $(BUNDLE),--bundle "$(BUNDLE)") \
	  $(if $(INPUT),--input "$(INPUT)") $(if $(OUTPUT),--output "$(OUTPUT)") $(ARGS)

# Empty, the variable has no effect: Python keeps the byte code of the tests and of the package. Without it, every process
# compiles the package, and each worker takes ten seconds more to rewrite the assertions.
tests quick: export PYTHONDONTWRITEBYTECODE :=
# Threads that wait for work sleep: two workers share the cores, and spinning takes them from each other.
tests quick: export OMP_WAIT_POLICY := passive

# The types are checked while the tests run, which wait now and then for a process or a signal.
test: $(READY)  ## lint, types and every test
	@$(MAKE) --no-print-directory --jobs 2 lint types tests

tests: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -q

quick: $(READY)  ## the fast tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow"

faults: $(READY)  ## the long tests (every filesystem call and request fails in turn, hundreds of kills, full disks): two hours or more
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m long

bench: $(READY)  ## every stage, then a comparison with other tools (ROWS=4000000 ROUNDS=5); installs the bench extra
	$(BIN)/scoreline bench --rows $(or $(ROWS),4000000)
	$(BIN)/python -c 'import lightning, ray' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint requirements.lock \
	  --editable '.[bench]'
	$(BIN)/python benchmarks/peers.py --rows $(or $(ROWS),4000000) --rounds $(or $(ROUNDS),5)

# torchvision must be built for the torch that is installed, so it comes from the same index.
TORCHVISION := torchvision>=0.25,<0.29
models: $(READY)  ## save, score and compare models of public libraries (ONLY=timm,rtdl); installs the models extra
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --no-deps --index-url "$(TORCH_INDEX)" '$(TORCHVISION)')
	$(BIN)/python -c 'import skl2onnx, timm, transformers' 2>/dev/null || $(BIN)/python -m pip install --quiet \
	  --constraint requirements.lock --editable '.[models]'
	$(BIN)/python -m pip install --quiet --no-deps 'pytorch-tabular>=1.2'  # requires pandas < 3, and runs with 3
	$(BIN)/python -c 'import lightgbm, skl2onnx, skorch, xgboost'  # else their tests are skipped
	$(BIN)/python -m pytest -q tests/saving/test_nets.py tests/saving/test_onnx_trees.py tests/saving/test_texts.py \
	  tests/docs/test_blocks.py
	$(BIN)/python benchmarks/models.py $(if $(ONLY),--only $(ONLY),--write)

engines: $(READY)  ## tests with Ray, Spark, Delta Lake and Iceberg; installs the engines extra, and needs Java
	@java -version 2>/dev/null || { echo "Spark needs Java 17 or newer: apt-get install openjdk-17-jre-headless"; exit 1; }
	$(BIN)/python -c 'import deltalake, polars, pyiceberg, pyspark, ray' 2>/dev/null || $(BIN)/python -m pip install --quiet \
	  --constraint requirements.lock --editable '.[engines]'
	$(BIN)/python -c 'import deltalake, polars, pyiceberg, pyspark, ray'  # else their tests are skipped
	$(BIN)/python -m pytest -q -m 'long or not long' tests/engines tests/outputs/test_committed.py tests/jobs/test_commit.py \
	  tests/inputs/tables tests/end_to_end/test_tables.py

gpu: $(READY)  ## tests and measurements on a GPU (ONLY=tests,limits); DEVICE=cpu SIZE=tiny for a dry run without one
	DEVICE=$(or $(DEVICE),cuda) SIZE=$(or $(SIZE),full) ONLY=$(ONLY) $(BIN)/python benchmarks/gpu/run.py

lint: $(READY)  ## check with ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## fix and format with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)  ## check types with mypy, in the layout of the installed package
	@mkdir -p $(SHAPE)
	@for f in scoreline/*.py scoreline/py.typed; do ln -sfn "../../../$$f" "$(SHAPE)/$$(basename $$f)"; done
	@for d in jobs pipeline schemas; do ln -sfn "../../../$$d" "$(SHAPE)/$$d"; done
	MYPYPATH=build/shape $(BIN)/mypy -p scoreline

schemas: $(READY)  ## export the JSON Schema of everything written on disk
	$(BIN)/python -m scoreline.schemas.export

docs: $(READY)  ## write the generated sections of docs/, and build the site into build/site; installs the docs extra
	$(BIN)/python -m tools.reference
	$(BIN)/python -c 'import zensical' 2>/dev/null || $(BIN)/python -m pip install --quiet --constraint requirements.lock \
	  --editable '.[docs]' || { echo "the site is not built: pip cannot install the docs extra of pyproject.toml"; exit 1; }
	$(BIN)/zensical build --clean --strict

lock: $(READY)  ## resolve requirements.lock again
	$(BIN)/pip-compile --quiet --extra demo --extra expressions --extra onnx --extra pack --extra text --extra dev --strip-extras --allow-unsafe --no-header --no-annotate \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --output-file requirements.lock pyproject.toml
	sed -i -e 's/^\(torch==[0-9.]*\)+.*/\1/' -e '/^pip==/d' -e '/^$$/d' -e '/^#/d' requirements.lock

wheel: $(READY)  ## build dist/scoreline-*.whl
	$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir dist .

clean:  ## remove everything that make has created
	rm -rf $(VENV) build dist demo-out *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
