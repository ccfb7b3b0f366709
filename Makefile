# Each target does all the set-up it needs; a second call skips what is done.
PYTHON ?= python3
PROFILE ?= demo
SET ?=
LAB ?=
run := .venv/bin/python
as_root := $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help setup demo test lab check report

help:
	@echo "make demo    the whole story on real speech; ends with runs/demo/report/index.html"
	@echo "make test    every test"
	@echo "make lab     the notebooks in JupyterLab"
	@echo "make check   style"
	@echo "make setup   only the environment and the encoder"
	@echo "make demo PROFILE=tiny SET='training.epochs=3 seed=2'   another profile, other values"

setup:
	@$(PYTHON) tools/setup_environment.py

demo: setup
	@$(run) -m aasist_lib run $(PROFILE) $(if $(SET),--set $(SET))

test: setup
	@$(run) -m pytest

lab: setup
	@$(run) -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(as_root) $(LAB)

check: setup
	@$(run) -m ruff check .

report: setup
	@$(run) -m aasist_lib report $(PROFILE) $(if $(SET),--set $(SET))
