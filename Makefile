# Everything starts from here; the environment is made on the first call, in .venv, from requirements.lock.
PYTHON ?= python3
CORES ?= all
# Options for pip, such as the address of another torch build (see the README).
PIP_OPTIONS ?=
# Options for snakemake, such as --configfile workflow/presets/smoke.yaml
OPTIONS ?=
# Processes for make test; one of them runs the tests of the whole pipeline, which take two cores part of the time.
WORKERS ?= 2
# Where make report writes.
REPORT ?= results/report.html
BIN := .venv/bin
DOCS := .venv-docs/bin
READY := .venv/.ready

.PHONY: help venv figures smoke paper report test slurm test-slurm chromium test-browser docs lint format schema measures scorecard gallery lock clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 14

venv: $(READY) ## Set up the environment alone

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "repalign needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $(READY)

figures: $(READY) ## Every figure at laptop scale, into results/figures
	$(BIN)/snakemake --cores $(CORES) $(OPTIONS)

smoke: $(READY) ## The whole pipeline on tiny sizes, into results/smoke
	$(BIN)/snakemake --cores $(CORES) --configfile workflow/presets/smoke.yaml $(OPTIONS)

paper: $(READY) ## The papers' own sizes (downloads, hours), into results/paper
	$(BIN)/snakemake --cores $(CORES) --configfile workflow/presets/paper.yaml $(OPTIONS)

report: $(READY) ## One HTML file with every figure, caption, table and run time, results/report.html
	$(BIN)/snakemake --cores $(CORES) report_pages $(OPTIONS)
	$(BIN)/snakemake --report $(REPORT) --report-stylesheet workflow/report/style.css report_pages $(OPTIONS)

test: $(READY) ## All tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS)

slurm: ## Install a SLURM of one node, for its tests (Debian, as root)
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
		{ echo "make slurm needs apt-get and root; elsewhere install slurm-wlm, slurmdbd, munge and mariadb-server" >&2; exit 1; }
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
		slurm-wlm slurm-wlm-basic-plugins slurmdbd slurm-wlm-mysql-plugin munge mariadb-server >/dev/null

test-slurm: $(READY) ## The tests of the cluster profile, on a SLURM of one node (make slurm)
	$(BIN)/python -m pytest -m slurm tests/test_slurm.py

chromium: ## Install a browser, for the tests of the report and of the site (Debian, as root)
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
		{ echo "make chromium needs apt-get and root; elsewhere install Chromium" >&2; exit 1; }
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends chromium >/dev/null

test-browser: $(READY) ## The report and the site in a real browser (make chromium, make docs)
	$(BIN)/python -m pytest -m browser tests/test_browser.py

docs: .venv-docs/.ready ## The pages of docs as a site, into site
	$(DOCS)/mkdocs build --strict

.venv-docs/.ready: docs/requirements.txt
	$(PYTHON) -m venv .venv-docs
	$(DOCS)/pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -r docs/requirements.txt
	touch $@

lint: $(READY) ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy
	$(BIN)/snakemake --lint

format: $(READY) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile workflow

schema: $(READY) ## Write the JSON schema of the configuration
	$(BIN)/python -m repalign.config > workflow/schemas/config.schema.json

measures: $(READY) ## Write docs/measures.md from the docstrings
	$(BIN)/python -m repalign.alignment > docs/measures.md

scorecard: $(READY) ## Every claim of the papers with its verdict, into results and docs/scorecard.md
	$(BIN)/snakemake --cores $(CORES) $(OPTIONS) scorecard
	$(BIN)/python -m repalign.scorecard results/scorecard.md docs/scorecard.md

gallery: $(READY) ## The figures of results, made smaller, and their page, docs/gallery.md
	$(BIN)/snakemake --cores $(CORES) run_times $(OPTIONS)
	$(BIN)/python scripts/gallery.py results

lock: $(READY) ## Write the versions of this environment into requirements.lock
	{ head -n 2 requirements.lock; $(BIN)/pip freeze --all --exclude pip --exclude repalign | sed 's/+[a-z0-9]*$$//'; } > lock.new
	mv lock.new requirements.lock

clean: ## Remove the environments; results stay
	rm -rf .venv .venv-docs
