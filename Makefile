# One command per job; the virtual environment is made on first use and kept. `make help` lists the jobs.
PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
PYTEST_ARGS ?=

RUN = $(VENV)/bin/python -m
SAM2 = DDSAM2Slicer/Resources/requirements-sam2.txt
READY = $(VENV)/.ddsam2slicer-ready

.PHONY: help setup demo test check format lists pictures benchmark clean

help:  ## list these jobs
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

setup: $(READY)  ## create .venv with everything; quick when it is there already

# torch comes first because the build of sam2 imports it; see the comments in $(SAM2).
$(READY): pyproject.toml $(SAM2)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(RUN) pip install "setuptools>=77" wheel
	$(RUN) pip install "$(TORCH)"
	SAM2_BUILD_CUDA=0 $(RUN) pip install --no-build-isolation --no-deps --require-hashes -r $(SAM2)
	$(RUN) pip install --no-build-isolation -e ".[cli,test,training,slicer]"
	touch $@

demo: setup  ## segment a real chest CT and a real heart ultrasound into demo_output/
	$(VENV)/bin/ddsam2 demo -o demo_output

test: setup  ## run the unit tests
	$(RUN) pytest $(PYTEST_ARGS)

check: setup  ## lint, format check and unit tests
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) pytest $(PYTEST_ARGS)

format: setup  ## sort imports and format
	$(RUN) ruff check --fix --select I
	$(RUN) ruff format

lists: setup  ## rewrite the file lists of DDSAM2Slicer/CMakeLists.txt from the tree
	$(VENV)/bin/python Testing/update_packaging_lists.py

pictures: setup  ## draw the pictures of the tutorial into Screenshots/
	DDSAM2_PICTURES=$(CURDIR)/Screenshots $(RUN) pytest -m slow Testing/Unit/ui/test_pictures.py

benchmark: setup  ## speed and memory beside the upstream predictor, and pauses of the event loop
	$(VENV)/bin/python Benchmarks/propagation.py
	$(VENV)/bin/python Benchmarks/gui.py

clean:  ## remove what the other jobs made, the virtual environment too
	rm -rf $(VENV) build demo_output .pytest_cache .ruff_cache DDSAM2Slicer/*.egg-info
