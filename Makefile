# `make demo` and `make test` do all set-up on a fresh machine; each needs nothing but make and Python 3.10 to 3.13.

PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
CT ?=
OUT ?= demo
TORCH := 2.13.0

.PHONY: demo test lint types bench nnunet compare real-data soak packaging pictures clean

demo: $(VENV)/.installed
	$(BIN)/ich demo $(if $(CT),"$(CT)") --out "$(OUT)" --overwrite

test: $(VENV)/.installed-dev lint types
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

# time and memory beside nnU-Net's network, in one run (about ten minutes on two cores)
bench: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --no-deps dynamic-network-architectures  # its U-Net needs torch alone; timm pulls CUDA
	$(BIN)/python Testing/benchmarks/inference.py
	$(BIN)/python Testing/benchmarks/kernels.py
	$(BIN)/python Testing/benchmarks/training.py
	$(BIN)/python Testing/benchmarks/simulation.py

# nnU-Net v2, for `ich train-system nnunet` and `coarse-fine`
nnunet: $(VENV)/.installed
	sh setup/nnunet.sh $(VENV)

# the papers' six systems, small and on simulated heads, in one table; then turned in three planes (training takes
# about 45 minutes of one processor, turning about 25; what was stopped goes on)
compare: $(VENV)/.installed-dev nnunet
	$(BIN)/ich compare --simulate --out runs/compare --steps 600 --networks 1 --device cpu \
		--settings Resources/comparison/small_settings.json
	$(BIN)/ich experiment rotation --runs runs/compare --data runs/compare/data --turn head --step 45 --device cpu \
		--out runs/compare_rotation --overwrite

# the bundled ensemble on the real scans of ../shared/data, then on bleeds put into the real head (a quarter of an hour)
real-data: $(VENV)/.installed-dev
	$(BIN)/python Testing/accuracy/real.py --out runs/real_data
	$(BIN)/python Testing/accuracy/inserted.py --out runs/real_data/inserted.json

# kills the worker 50 times, at every stage of its work (a few minutes)
soak: $(VENV)/.installed-dev
	ICH_KILLS=50 $(BIN)/python -m pytest Testing/test_worker_robustness.py -k killed_at

# CMake's lists of shipped files and the repository's address, after a file came or went
packaging:
	$(PYTHON) setup/packaging.py

# icon, thumbnails and the picture of the slice views
pictures: $(VENV)/.installed-dev
	$(BIN)/python Resources/make_pictures.py
	PYTHONPATH=Testing $(BIN)/python Testing/slicer/make_screenshot.py

clean:
	rm -rf $(VENV) demo runs build dist

$(VENV)/.torch:
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is wanted and none was found; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	sh setup/environment.sh "$(PYTHON)" $(VENV) $(TORCH)
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --editable '.[dev]'
	sh setup/slicer_tests.sh $(VENV)
	touch $@
