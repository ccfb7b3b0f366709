# Each target runs the set-up it needs. Finished steps are skipped.
PYTHON ?= python3
PROFILE ?= demo
SET ?=
LAB ?=
run := .venv/bin/python
as_root := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help setup demo test quick lab check coverage student report

help:
	@echo "make demo    run all notebooks on real speech; writes runs/demo/report/index.html"
	@echo "make test    run all tests"
	@echo "make quick   run the fast tests, in three minutes"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make check   check style, types, import layers, security, dead links, licences, notebook rules"
	@echo "make student  copies of the notebooks without solutions, in student/"
	@echo "make coverage   run all tests and measure line coverage; fails below 90 %"
	@echo "make setup   only set up the environment and the encoder"
	@echo "make demo PROFILE=tiny SET='training.epochs=3 seed=2'   use another profile and other settings"

setup:
	@$(PYTHON) tools/setup_environment.py

demo: setup
	@$(run) -m aasist_lib run $(PROFILE) $(if $(SET),--set $(SET))

# One process per core, at most four. All tests of a file run in the same process.
parallel := -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder
test: setup
	@OMP_NUM_THREADS=1 $(run) -m pytest $(parallel)

quick: setup
	@OMP_NUM_THREADS=1 $(run) -m pytest $(parallel) -m "not slow"

# Largest upload in MB. An upload is a single message of the notebook's connection; the explorers report this limit.
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

student: setup
	@$(run) tools/student_copies.py

report: setup
	@$(run) -m aasist_lib report $(PROFILE) $(if $(SET),--set $(SET))
