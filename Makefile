# Each target does all the set-up it needs; a second call skips what is done.
PYTHON ?= python3
PROFILE ?= demo
SET ?=
LAB ?=
run := .venv/bin/python
as_root := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help setup demo test quick lab check coverage report

help:
	@echo "make demo    the whole story on real speech; ends with runs/demo/report/index.html"
	@echo "make test    every test"
	@echo "make quick   the tests that take seconds, in three minutes"
	@echo "make lab     the notebooks in JupyterLab"
	@echo "make check   style, types, directions of imports, security, dead links, licences, rules of the notebooks"
	@echo "make coverage   every test, and which lines of the library they reach: at least 90 %"
	@echo "make setup   only the environment and the encoder"
	@echo "make demo PROFILE=tiny SET='training.epochs=3 seed=2'   another profile, other values"

setup:
	@$(PYTHON) tools/setup_environment.py

demo: setup
	@$(run) -m aasist_lib run $(PROFILE) $(if $(SET),--set $(SET))

# As many processes as cores, four at most; the tests of a file stay in one.
parallel := -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
test: setup
	@OMP_NUM_THREADS=1 $(run) -m pytest $(parallel)

quick: setup
	@OMP_NUM_THREADS=1 $(run) -m pytest $(parallel) -m "not slow"

# An upload comes as one message of the notebook's connection: so many megabytes are taken, and the explorers say so.
uploads := 1024
lab: setup
	@AASIST_UPLOAD_MB=$(uploads) $(run) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks --ServerApp.tornado_settings="{'websocket_max_message_size': $(uploads)000000}" $(as_root) $(LAB)

check: setup
	@$(run) -m ruff check .
	@$(run) -m ruff format --check --quiet --diff .
	@$(run) -m mypy
	@.venv/bin/lint-imports --no-logo
	@$(run) -m bandit --quiet --configfile pyproject.toml --recursive aasist_lib demo_corpus tools benchmarks
	@$(run) tools/check_links.py
	@$(run) tools/list_licences.py
	@$(run) tools/audit_dependencies.py
	@$(run) -m pytest --quiet tests/notebooks/test_lint.py

coverage: setup
	@OMP_NUM_THREADS=1 $(run) -m pytest $(parallel) --cov --cov-report=term

report: setup
	@$(run) -m aasist_lib report $(PROFILE) $(if $(SET),--set $(SET))
