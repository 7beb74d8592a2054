# Everything starts from here; the environment is made on the first call, in .venv, from requirements.lock.
PYTHON ?= python3
CORES ?= all
# Options for pip, such as the address of another torch build (see the README).
PIP_OPTIONS ?=
# Options for snakemake, such as --configfile workflow/presets/smoke.yaml
OPTIONS ?=
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help venv figures smoke paper report test slurm test-slurm lint format schema measures scorecard gallery lock clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 12

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

report: $(READY) ## One HTML file with every figure and its caption, results/report.html
	$(BIN)/snakemake --report results/report.html $(OPTIONS)

test: $(READY) ## All tests
	$(BIN)/python -m pytest

slurm: ## Install a SLURM of one node, for its tests (Debian, as root)
	@test "$$(id -u)" = 0 && command -v apt-get >/dev/null || \
		{ echo "make slurm needs apt-get and root; elsewhere install slurm-wlm, slurmdbd, munge and mariadb-server" >&2; exit 1; }
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
		slurm-wlm slurm-wlm-basic-plugins slurmdbd slurm-wlm-mysql-plugin munge mariadb-server >/dev/null

test-slurm: $(READY) ## The tests of the cluster profile, on a SLURM of one node (make slurm)
	$(BIN)/python -m pytest -m slurm tests/test_slurm.py

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

gallery: $(READY) ## Copy the figures of results/figures, made smaller, to docs/gallery
	$(BIN)/python scripts/gallery.py results/figures docs/gallery

lock: $(READY) ## Write the versions of this environment into requirements.lock
	{ head -n 2 requirements.lock; $(BIN)/pip freeze --all --exclude pip --exclude repalign | sed 's/+[a-z0-9]*$$//'; } > lock.new
	mv lock.new requirements.lock

clean: ## Remove the environment; results stay
	rm -rf .venv
