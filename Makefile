# The two commands: make book, make test. `make help` lists the rest.
PYTHON      ?= python3
PRESET      ?= laptop
DATA        ?=
MAX_EPOCHS  ?=
JOBS        ?= 2
CHAPTER     ?= 05_fit

VENV  := .venv
READY := $(VENV)/.ready
# The second lane: torch 2.11, and Python 3.12 where it runs, as on GPU machines
VENV211   := .venv-torch211
PYTHON211 ?= $(shell python3.12 -V >/dev/null 2>&1 && echo python3.12 || echo $(PYTHON))
NMM   := $(VENV)/bin/python -m nmm
# the folder's own name; make's functions would break at a space, and so would the paths below
STUDY := $(PRESET)$(if $(DATA),-$(shell cd "$(DATA)" && basename "$$PWD" | tr -c 'A-Za-z0-9._\n-' '_'))
OWN   := work/runs/$(STUDY)
CORPUS := work/corpora/$(STUDY)
# The smoke study checks that everything runs: few refits are enough
QUICK := $(if $(filter smoke,$(PRESET)),-p resamples=40 -p studies=2 -p every=252)
# The chapter on real data shows the reader's own records of its study, else ours
REAL := $(if $(DATA),$(if $(filter real-mini,$(PRESET)),-p real_runs_dir=$(OWN) -p real_corpus_dir=$(CORPUS)))
# Our records of the same study, shown beside the reader's own
PUBLISHED := $(if $(DATA),,$(wildcard runs/$(PRESET)))

.PHONY: book site serve test test-torch211 test-cluster report lab constraints clean help

book: $(READY) ## train the study PRESET on the generated corpus, or on DATA, and render the book from it
	$(NMM) sweep --preset $(PRESET) --runs-dir $(OWN) --jobs $(JOBS) $(if $(DATA),--data "$(DATA)" --corpus-dir $(CORPUS)) $(if $(MAX_EPOCHS),--max-epochs $(MAX_EPOCHS)) || test $$? -eq 1
	$(NMM) book execute --preset $(PRESET) --edition $(STUDY) -j $(JOBS) -p runs_dir=$(OWN) -p compare_dir=$(PUBLISHED) $(if $(DATA),-p corpus_dir=$(CORPUS)) $(REAL) $(QUICK)
	$(NMM) book build --edition $(STUDY)

site: $(READY) ## render the published book from the records in runs/, without training
	$(NMM) book execute --preset laptop --edition published -j $(JOBS) -p runs_dir=runs/laptop
	$(NMM) book build --edition published

serve: $(READY) ## serve the rendered book on localhost
	$(NMM) book serve

test: $(READY) ## the whole test suite
	$(VENV)/bin/ruff check nmm tests benchmarks
	$(VENV)/bin/python -m pytest -n $(JOBS)

test-torch211: $(VENV211)/.ready ## the whole test suite on torch 2.11, in an environment of its own (7 GB)
	@$(VENV211)/bin/python -c 'import platform, torch; print("Python", platform.python_version(), "torch", torch.__version__)'
	OMP_NUM_THREADS=1 $(VENV211)/bin/python -m pytest -n $(JOBS)

# Extras that the clusters need; Slurm itself is the system's: apt-get install slurm-wlm
test-cluster: $(VENV)/.cluster-ready ## sweeps on a Slurm and a Ray cluster that the tests start on this machine
	@command -v slurmctld >/dev/null || echo "Slurm is not installed, its tests are left out: apt-get install slurm-wlm (Debian, Ubuntu)"
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m cluster tests/cluster $(CLUSTER)

$(VENV)/.cluster-ready: $(READY)
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --constraint constraints.txt --editable '.[slurm,ray]'
	@touch $@

report: $(READY) ## one self-contained HTML file of the chapter CHAPTER, as last executed by make book
	$(NMM) report work/executed/$(STUDY)/$(CHAPTER).ipynb --out work/$(CHAPTER).html

lab: $(READY) ## open the chapters in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "nmm needs Python 3.11 to 3.13, $(PYTHON) is $$($(PYTHON) -V 2>&1): call make with PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt uv
	$(VENV)/bin/uv pip install --quiet --python $(VENV)/bin/python --constraint constraints.txt --editable '.[book,test]'
	@touch $(READY)

$(VENV211)/.ready: $(READY) pyproject.toml constraints-torch211.txt
	$(VENV)/bin/uv venv --quiet --clear --python $(PYTHON211) $(VENV211)
	$(VENV)/bin/uv pip install --quiet --python $(VENV211)/bin/python --overrides constraints-torch211.txt --editable '.[book,test]'
	@touch $(VENV211)/.ready

constraints: ## write the versions that are installed into constraints.txt
	{ echo "# Exact versions of the environment that the book was made in, Python 3.11. Written by: make constraints"; \
	  $(VENV)/bin/uv pip freeze --quiet --python $(VENV)/bin/python | grep -v '^-e'; } > constraints.txt

clean: ## delete the rendered book and the executed chapters; own runs and corpora stay
	rm -rf book/_build work/executed

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14
