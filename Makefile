# Every target sets itself up: a virtual environment in .venv, the package in editable mode, the tools.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEVELOPMENT := '.[dev,demo,baselines]'
# Processes of the tests, of 3 GB each: `make test WORKERS=8`.
WORKERS ?= 2
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=25

# Extras that requirements.lock has versions for: what the figures in docs/results.md need, and what users work with.
LOCKED := baselines demo encoders label medical mlflow ngff onnx slides tensorboard

EXTRAS := $(LOCKED) bench browser docs gs ray s3
TRY := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python release/try_wheel.py dist/*.whl --full

# Each of hundreds of processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-slow test-soak test-all lint check format docs site web bench package try-package lock audit clean

demo: $(INSTALLED)
	$(BIN)/textdiff demo --out demo

test: $(INSTALLED)
	$(PYTEST) -m "not slow"

# Killed processes, whole command lines, clusters, whole trainings: what takes two seconds or more a test.
test-slow: $(INSTALLED)
	$(PYTEST) -m "slow and not soak"

# What takes a minute or more a test: before a release.
test-soak: $(INSTALLED)
	$(PYTEST) -m soak

# Quick and slow tests at once, as CI does: libraries are imported and models made once.
test-all: $(INSTALLED)
	$(PYTEST) -m "not soak"

lint: $(INSTALLED) .build/textdiff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=.build:tests $(BIN)/mypy -p textdiff -m typed_use

check: lint test

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(INSTALLED)
	$(BIN)/python docs/make_cli.py
	$(BIN)/python docs/make_stub.py

# The documentation as a site, its notebooks executed: open site/index.html. Minutes; `NOTEBOOKS=0` leaves them as they are.
site: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The page of `textdiff label`; what is built is committed, since who installs the package has no Node.
web:
	cd pipeline/labelling/web && npm ci --no-audit --no-fund && npm run --silent check && npm run --silent build

bench: $(INSTALLED)
	$(BIN)/python benchmarks/speed/extract.py efficiency
	$(BIN)/python benchmarks/speed/extract.py early-exit
	$(BIN)/python benchmarks/speed/extract.py memory
	$(BIN)/python benchmarks/speed/cache_io.py
	test -f demo/cache/manifest.json || $(MAKE) --no-print-directory demo
	$(BIN)/python benchmarks/speed/train.py demo/cache
	$(BIN)/python benchmarks/accuracy/few_shot.py demo/cache --methods head,linear-probe,rgb-filters --n 4 \
		--seeds 0 --folds 3 --out demo/few-shot

# Wheel and sdist in dist/, checked, and the wheel tried in an empty environment with the libraries of .venv.
package: $(INSTALLED) .venv/release/.installed
	rm -rf dist build
	.venv/release/bin/pyproject-build
	.venv/release/bin/twine check --strict dist/*
	.venv/release/bin/check-wheel-contents dist
	$(BIN)/python release/check_files.py dist
	$(BIN)/python release/try_wheel.py dist/*.whl

# Everything installed anew: half an hour and several GB, so once before a release.
try-package: package
	for python in 3.11 3.12 3.13; do $(TRY) --python $$python || exit 1; done
	$(TRY) --python 3.11 --lowest
	for extra in $(EXTRAS); do $(TRY) --extra $$extra || exit 1; done

# requirements.lock: the versions of .venv, with which the tests passed, and their digests; for Python 3.11 to 3.13.
lock: $(INSTALLED) .build/textdiff
	$(BIN)/python -m pip list --format=freeze --exclude-editable > .build/installed.txt
	$(BIN)/uv pip compile setup.cfg $(addprefix --extra ,$(LOCKED)) --universal --python-version 3.11.1 \
		--constraint .build/installed.txt --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet \
		--output-file requirements.lock

# By a tool in an environment of its own, which looks at ours from outside.
audit: $(INSTALLED)
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && \
		.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	.venv/audit/bin/pip-audit --progress-spinner off --timeout 5 --skip-editable \
		--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

clean:
	rm -rf .venv .build build dist *.egg-info demo

# uv is done in a minute where pip takes five, but does not read pip's configuration: where that names a mirror, pip.
$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python --editable $(DEVELOPMENT) || \
		$(BIN)/python -m pip install --disable-pip-version-check --editable $(DEVELOPMENT)
	touch $@

# Tools in an environment of their own, so that ours holds what setup.cfg names alone.
.venv/release/.installed: $(INSTALLED)
	$(PYTHON) -m venv .venv/release
	.venv/release/bin/python -m pip install --quiet --disable-pip-version-check build twine check-wheel-contents
	touch $@

# mypy wants a folder that carries the import name; the package's root is this one.
.build/textdiff:
	mkdir -p .build
	ln -sfn .. .build/textdiff
