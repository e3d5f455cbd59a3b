# Every target sets itself up: a virtual environment in .venv, the package in editable mode, the tools.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-slow check format docs site web bench audit clean

demo: $(INSTALLED)
	$(BIN)/textdiff demo --out demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 -m "not slow"

# Killed processes, whole command lines, clusters: what takes many seconds a test.
test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations=25 -m slow

check: $(INSTALLED) .build/textdiff
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	MYPYPATH=.build $(BIN)/mypy -p textdiff
	$(MAKE) --no-print-directory test

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

# By a tool in an environment of its own, which looks at ours from outside.
audit: $(INSTALLED)
	test -x .venv/audit/bin/pip-audit || { $(PYTHON) -m venv .venv/audit && \
		.venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit; }
	.venv/audit/bin/pip-audit --progress-spinner off --timeout 5 --skip-editable \
		--path "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

clean:
	rm -rf .venv .build build dist *.egg-info demo

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[dev,demo,baselines]'
	touch $@

# mypy wants a folder that carries the import name; the package's root is this one.
.build/textdiff:
	mkdir -p .build
	ln -sfn .. .build/textdiff
