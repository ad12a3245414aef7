# Two commands do everything on a fresh machine:
#     make figures/double_descent.pdf
#     make test
# SCALE=smoke or SCALE=paper changes the scale, CORES=4 the number of cores; FROM=archive.zip draws from an archive
# what else would be made from raw data; UNLOCKED=1 takes packages without looking at their checksums, such as builds
# of torch for the CPU alone.

PYTHON ?= python3
CORES ?= all
SCALE ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SNAKEMAKE_CALL := $(BIN)/snakemake --cores $(CORES) --quiet host reason
SNAKEMAKE := $(SNAKEMAKE_CALL) $(if $(SCALE),--config scale=$(SCALE)) --
ifdef FROM
SNAKEMAKE := $(BIN)/python scripts/redraw.py --cores $(CORES) $(if $(SCALE),--scale $(SCALE)) "$(FROM)"
endif

.DEFAULT_GOAL := help
.PHONY: help environment figures figures-images tables claims claims-images verify archive compare test test-fast test-slow test-cluster lint format docs costs gallery bench faults fuzz zoo lock plan report explore site FORCE

help: ## print what can be made
	@echo "Figures:"
	@ls scripts/papers/*/*/figure.yaml | sed 's/.*papers\/[^/]*\/\(.*\)\/figure.yaml/  make figures\/\1.pdf/' | sort
	@echo "Everything else:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

environment: $(VENV)/.complete ## make the Python environment .venv, and nothing else

figures: $(VENV)/.complete ## make all figures that need no images
	$(SNAKEMAKE)

figures-images: $(VENV)/.complete ## make the figures on images, which are downloaded; DATA_ROOT=DIR has them already
	$(SNAKEMAKE) figures_images

tables: $(VENV)/.complete ## make all tables for readers
	$(SNAKEMAKE) tables

claims: $(VENV)/.complete ## judge what the papers claim, and print the verdicts
	$(SNAKEMAKE) claims
	$(if $(FROM),,@PYTHONPATH=scripts $(BIN)/python -m pipeline.claims.report $(SCALE))

claims-images: $(VENV)/.complete ## judge the same with the claims on images
	$(SNAKEMAKE) claims_images
	$(if $(FROM),,@PYTHONPATH=scripts $(BIN)/python -m pipeline.claims.report --images $(SCALE))

figures/%.pdf figures/%.png figures/%.json: $(VENV)/.complete FORCE
	$(SNAKEMAKE) $@

# an interrupted make deletes what it was asked for; what is there was made by an earlier call, and is whole
.PRECIOUS: figures/%.pdf figures/%.png figures/%.json

verify: $(VENV)/.complete ## read all results, and say which are damaged, foreign, missing, unsealed or stale
	@$(BIN)/python scripts/verify.py $(if $(SCALE),--scale $(SCALE))

plan: $(VENV)/.complete ## say what all figures will cost before anything runs; FIGURES="depth theory" only some
	@$(BIN)/python scripts/plan.py $(if $(SCALE),--scale $(SCALE)) $(FIGURES)

archive: $(VENV)/.complete ## pack a finished run into archive.zip, see docs/archive.md; WEIGHTS=no leaves out the nets
	@$(BIN)/python scripts/archive.py $(TARGETS) $(if $(SCALE),--scale $(SCALE)) $(if $(filter no,$(WEIGHTS)),--without-weights)

compare: $(VENV)/.complete ## say which numbers and verdicts of A=one.zip and B=two.zip differ; a project's folder will do
	@$(BIN)/python scripts/compare.py $(if $(and $(A),$(B)),"$(A)" "$(B)",$(error say which: make compare A=one.zip B=two.zip))

test: ## run all checks and all tests
	$(MAKE) --no-print-directory lint test-fast
	$(BIN)/python -m pytest -m "slow or cluster" --numprocesses $$(($$(getconf _NPROCESSORS_ONLN) + 1)) --dist loadgroup

test-fast: $(VENV)/.complete-dev ## run the tests that take seconds
	$(BIN)/python -m pytest -m "not slow and not cluster" --numprocesses auto

test-slow: $(VENV)/.complete-dev ## run whole workflows, repeated, edited, damaged and killed
	$(BIN)/python -m pytest -m "slow and not cluster" --numprocesses auto

test-cluster: $(VENV)/.complete-dev ## make the smoke figure on a SLURM of two nodes, if slurm-wlm and munge are installed
	$(BIN)/python -m pytest tests/cluster -rs

lint: $(VENV)/.complete-dev ## check style, types and rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

format: $(VENV)/.complete-dev ## format all code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/snakefmt Snakefile rules

docs: $(VENV)/.complete-dev ## generate the references of settings and rules from the code
	PYTHONPATH=scripts $(BIN)/python -m pipeline.pages.config_reference
	PYTHONPATH=scripts $(BIN)/python -m pipeline.pages.rule_reference

costs: $(VENV)/.complete ## write docs/costs.md, time and memory of every figure, from the jobs that have run
	PYTHONPATH=scripts $(BIN)/python -m pipeline.pages.costs $(if $(MACHINE),--machine "$(MACHINE)")

gallery: $(VENV)/.complete ## write docs/gallery.md and docs/claims.md, with all figures at laptop scale
	$(SNAKEMAKE_CALL) --config scale=laptop -- figures claims
	PYTHONPATH=scripts $(BIN)/python -m pipeline.pages.gallery $(if $(MACHINE),--machine "$(MACHINE)")

bench: $(VENV)/.complete-dev ## measure speed; PEER=DIR and GRAM=DIR compare with the authors' code
	$(BIN)/python benchmarks/run.py $(if $(PEER),--peer $(PEER))
	$(BIN)/python benchmarks/bounds.py $(if $(PEER),--toeplitz $(PEER)) $(if $(GRAM),--gram $(GRAM))
	$(BIN)/python benchmarks/orchestration.py

faults: $(VENV)/.complete-dev ## damage every kind of result, kill calls, break configurations, see docs/faults.md; an hour
	PYTHONPATH=scripts $(BIN)/python -m tests.fuzz.damage
	PYTHONPATH=scripts $(BIN)/python -m tests.fuzz.kills $(or $(COUNT),50)
	PYTHONPATH=scripts $(BIN)/python -m tests.fuzz.configurations 10000

fuzz: $(VENV)/.complete-dev ## try upper bounds on random models; COUNT=20000 SEED=0 say on which
	$(BIN)/python benchmarks/fuzz.py --count $(or $(COUNT),20000) --seed $(or $(SEED),0)

zoo: $(VENV)/.complete-dev ## write docs/zoo.md, bounds of 60 models; TIMM=DIR has timm, GRID=16 is faster
	PYTHONPATH=$(TIMM) $(BIN)/python benchmarks/zoo.py $(if $(GRID),--grid $(GRID))

lock: $(VENV)/.complete-dev ## write envs/lock*.txt, the checksums of all packages, after a change of the requirements
	for name in "" -dev -docs; do \
		$(BIN)/uv pip compile envs/requirements$$name.txt --constraints envs/constraints.txt --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet \
			--output-file envs/lock$$name.txt; \
	done

report: $(VENV)/.complete ## make report.zip, a page with all figures and how they were made
	$(BIN)/snakemake --report report.zip $(if $(SCALE),--config scale=$(SCALE))

explore: $(VENV)/.complete-docs ## make figures/explore.html, a page to explore what has been made: numbers, runs, facts, claims
	$(SNAKEMAKE) figures/explore.html

site: $(VENV)/.complete-docs ## make site/, these pages with a reference of the library and a search; checks all links
	rm -rf site
	$(BIN)/python -m sphinx --builder html --fresh-env --write-all --fail-on-warning --keep-going --quiet \
		--conf-dir docs/site --doctree-dir build/doctrees . site

$(VENV)/.complete: envs/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV) \
		|| { echo "python3 -m venv does not work; on Debian and Ubuntu install python3-venv"; exit 1; }
	@echo "Installing the packages of envs/lock.txt into $(VENV): up to 6 GB, a few minutes, once"
	$(PIP) $(if $(UNLOCKED),-r envs/requirements.txt -c envs/constraints.txt,--require-hashes -r envs/lock.txt)
	touch $@

$(VENV)/.complete-dev: $(VENV)/.complete envs/lock-dev.txt
	$(PIP) $(if $(UNLOCKED),-r envs/requirements-dev.txt -c envs/constraints.txt,--require-hashes -r envs/lock-dev.txt)
	touch $@

$(VENV)/.complete-docs: $(VENV)/.complete envs/lock-docs.txt
	$(PIP) $(if $(UNLOCKED),-r envs/requirements-docs.txt -c envs/constraints.txt,--require-hashes -r envs/lock-docs.txt)
	touch $@
