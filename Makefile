# Every target that needs packages sets up its environment first. Variables are passed to the program as environment
# variables, quoted by the shell, so that neither make nor the shell interprets them.
# A target refuses variables that it does not read: they would change nothing in silence.
PLANNED := EXP DATA SEEDS VARIANTS SET WORKERS
READ_run := $(PLANNED) UNTIL MAX_SEEDS JOBS RAY RAY_GPU SLURM ALLOW FIGURES ROPE
READ_plan := $(PLANNED) UNTIL MAX_SEEDS
READ_lr-find := $(PLANNED)
READ_report := EXP ALLOW FIGURES ROPE
READ_publish := EXP ALLOW
READ_results := EXP
READ_report-check := UPDATE
READ_compare := CSV MLFLOW VARIANT SEED METRIC BASELINE MARGIN UNIT LOWER FIGURES
READ_list := MODEL
READ_data := DATA SET
READ_predict := RUN IMAGES
READ_export := RUN
READ_explain := RUN
READ_reproduce := RUN WORKERS
READ_forget := RUN
READ_ui := PORT
READ_bench := GPU DATA
READ_bench-growth := SECTIONS
READ_chaos := SECTIONS
READ_new := EXP FROM
READ_server := PORT BACKEND ARTIFACTS AUTH HOSTS WORKERS
READ_migrate := FROM TO
READ_prune := EXP VARIANT OLDER YES
GIVEN := $(foreach goal,$(MAKECMDGOALS),$(READ_$(goal)))
export $(GIVEN)
TYPED := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
known = $(if $(GIVEN),there are $(GIVEN),it reads none)$(if $(filter SET,$(GIVEN)),; a field of the recipe is set as in SET="model.name=resnet optimizer.lr=0.1")
near = $(if $(filter $1%,$(GIVEN)),did you mean $(firstword $(filter $1%,$(GIVEN)))?,$(known))
$(foreach name,$(filter-out $(GIVEN) PYTHON,$(TYPED)),$(error $(name) is not read by make $(MAKECMDGOALS); $(call near,$(name))))
$(foreach name,$(GIVEN),$(eval override $(name) := $$(value $(name))))

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
export NO_ALBUMENTATIONS_UPDATE := 1
# Huge pages for a step's tensors; glibc reads this variable only when a process starts. keep_freed_memory in
# harness/training/device.py sets the other options.
run plan reproduce lr-find bench bench-grid: export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

.DEFAULT_GOAL := help
.PHONY: help extras run report results compare sync ui server migrate list data new plan prune predict export explain lr-find reproduce forget test lint house pictures check publish report-check simulate bench bench-grid bench-growth test-engines test-documents test-example chaos zoo clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | awk -F '\t' '{printf "  %-12s %s\n", $$1, $$2}'

.venv/%.stamp: %.txt
	@test -x $(PY) || $(PYTHON) -m venv .venv
	@echo "installing $< (once; a minute or two)"
	@{ $(PIP) uv && VIRTUAL_ENV=.venv .venv/bin/uv pip install --quiet --compile-bytecode --require-hashes -r $<; } || \
	{ echo "uv could not; pip, which knows its own settings, tries"; $(PIP) --require-hashes -r $<; }
	@touch $@

extras: .venv/requirements-extras.stamp ## Install packages that only some commands need, such as Ray and submitit

run: .venv/requirements.stamp ## Train, record and report: make run EXP=quickstart [DATA= SEEDS= VARIANTS=a,b SET="epochs=2" JOBS=auto]
	@$(PY) -m harness run --data="$$DATA" --seeds="$$SEEDS" --until="$$UNTIL" --max-seeds="$$MAX_SEEDS" --variants="$$VARIANTS" --set="$$SET" --workers="$$WORKERS" --allow="$$ALLOW" \
	--jobs="$$JOBS" --ray="$$RAY" --ray-gpu="$$RAY_GPU" --slurm="$$SLURM" -- "$$EXP"; \
	status=$$?; if [ $$status -le 1 ]; then $(PY) -m reports write -- "$$EXP" || exit $$?; fi; exit $$status

report: .venv/requirements.stamp ## Write reports/out/<name>/report.md from recorded runs: make report EXP="a b" [FIGURES=pdf ROPE=1]
	@$(PY) -m reports write -- "$$EXP"

results: .venv/requirements.stamp ## Show an experiment's tables in the terminal: make results EXP=quickstart
	@$(PY) -m reports results -- "$$EXP"

compare: .venv/requirements.stamp ## Compare results of another program: make compare CSV=results.csv [METRIC= BASELINE= MARGIN= LOWER=1], or MLFLOW=
	@$(PY) -m reports compare --csv="$$CSV" --mlflow="$$MLFLOW" --variant="$$VARIANT" --seed="$$SEED" --metric="$$METRIC" \
	--baseline="$$BASELINE" --margin="$$MARGIN" --unit="$$UNIT" --lower="$$LOWER"

sync: .venv/requirements.stamp ## Deliver to MLflow what it lacks of runs/
	@$(PY) -m harness sync

ui: .venv/requirements.stamp ## Serve MLflow's pages of the runs on 127.0.0.1 [PORT=5000]
	@$(PY) -m harness ui --port="$$PORT"

server: .venv/requirements.stamp ## Run a team's MLflow server: make server BACKEND=postgresql://… ARTIFACTS=… [AUTH=1 HOSTS=name PORT=5000]
	@$(PY) -m harness server

migrate: .venv/requirements.stamp ## Copy all runs to another tracking store and compare them; resumable: make migrate FROM=… TO=…
	@$(PY) -m harness migrate

list: .venv/requirements.stamp ## Show every model and experiment, or one model's layers: make list MODEL=resnet
	@$(PY) -m harness list --model="$$MODEL"

new: .venv/requirements.stamp ## Create an experiment's file from an existing one: make new EXP=my_question [FROM=norm_comparison]
	@$(PY) -m harness new --from="$$FROM" -- "$$EXP"

data: .venv/requirements.stamp ## Describe a data set, with a sample of its images: make data DATA=folder:PATH [SET=data.image_size=32]
	@$(PY) -m harness data --data="$$DATA" --set="$$SET"

plan: .venv/requirements.stamp ## Show what would run, its time on this machine, and what it could show: make plan EXP=quickstart [SEEDS= SET= UNTIL=decided]
	@$(PY) -m harness plan --data="$$DATA" --seeds="$$SEEDS" --until="$$UNTIL" --max-seeds="$$MAX_SEEDS" --variants="$$VARIANTS" --set="$$SET" --workers="$$WORKERS" -- "$$EXP" && \
	{ test -n "$$UNTIL" || $(PY) -m reports plan --seeds="$$SEEDS" --variants="$$VARIANTS" -- "$$EXP"; }

prune: .venv/requirements.stamp ## Show which runs could be deleted and the space this frees: make prune EXP=quickstart [VARIANT= OLDER=days] [YES=1 deletes]
	@$(PY) -m harness prune --variant="$$VARIANT" --older="$$OLDER" --yes="$$YES" -- "$$EXP"

predict: .venv/requirements.stamp ## Classify a folder of images with a run's network: make predict RUN=<key> IMAGES=photos
	@$(PY) -m harness predict --images="$$IMAGES" -- "$$RUN"

explain: .venv/requirements.stamp ## Draw Grad-CAM heat maps of images that a run's network misclassifies: make explain RUN=<key>
	@$(PY) -m harness explain -- "$$RUN"

export: .venv/requirements.stamp ## Export a run's network as ONNX, .pt2, safetensors and an MLflow model: make export RUN=<key>
	@$(PY) -m harness export -- "$$RUN"

lr-find: .venv/requirements.stamp ## Carry out an experiment's LR range tests without training: make lr-find EXP=resnet_onecycle
	@$(PY) -m harness lr-find --data="$$DATA" --seeds="$$SEEDS" --variants="$$VARIANTS" --set="$$SET" --workers="$$WORKERS" -- "$$EXP"

reproduce: .venv/requirements.stamp ## Make a recorded run again and compare it, bit for bit: make reproduce RUN=<key or MLflow id>
	@$(PY) -m harness reproduce --workers="$$WORKERS" -- "$$RUN"

forget: .venv/requirements.stamp ## Delete runs in runs/ and in MLflow: make forget RUN="<key> <key>"
	@$(PY) -m harness forget -- "$$RUN"

test: .venv/requirements-dev.stamp ## Run the tests
	@$(PY) -m pytest

lint: .venv/requirements-dev.stamp ## Check style, types and import layers
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/pyright
	.venv/bin/lint-imports

pictures: .venv/requirements-dev.stamp ## Take README's pictures of MLflow's pages again, from quickstart's runs
	@$(PY) -m tests.pictures

house: .venv/requirements-dev.stamp ## Draw the packages of the code and their imports
	@$(PY) -m tests.house

check: lint test ## Everything that must pass: lint and test

publish: .venv/requirements.stamp ## Store a report with the data it was built from in reports/published/: make publish EXP=...
	@$(PY) -m reports publish -- "$$EXP"

report-check: .venv/requirements.stamp ## Rebuild every published report from its data; fails if anything differs [UPDATE=1 rewrites]
	@$(PY) -m reports check

simulate: .venv/requirements-dev.stamp ## Simulate errors, coverage and power of the statistics into docs/simulations.md; ten minutes
	@$(PY) -m tests.simulations

bench: .venv/requirements-bench.stamp ## Compare the speed with other training loops, into reports/out/bench; a quarter of an hour [GPU=1 DATA=]
	@$(PY) -m tests.bench --gpu="$$GPU" --data="$$DATA"

bench-grid: .venv/requirements-dev.stamp ## Compare concurrent runs with serial ones: overhead, and speed-up by JOBS=auto
	@$(PY) -m tests.bench.grid

test-engines: .venv/requirements-dev.stamp ## Run the tests of Ray and Slurm, which take minutes to start
	@$(PY) -m pytest -m engines -n 0

bench-growth: .venv/requirements-dev.stamp ## Measure planning, delivery and reports of 10, 100 and 1,000 runs, into docs/growth.md; an hour [SECTIONS="sqlite postgresql"]
	@$(PY) -m tests.bench.growth "$$SECTIONS"

test-documents: .venv/requirements-dev.stamp ## Execute every command of the README and the docs, in short forms; an hour
	@$(PY) -m pytest -m documents -n 0 tests/test_documents.py

test-example: .venv/requirements-dev.stamp ## Execute every cell of docs/example.ipynb
	@$(PY) -m pytest -m example -n 0

chaos: .venv/requirements-dev.stamp ## Kill and damage runs and fill the disk, into reports/out/chaos; hours [SECTIONS="kills disk"]
	@$(PY) -m tests.chaos "$$SECTIONS"

zoo: .venv/requirements-dev.stamp ## Train fifteen networks of torchvision and timm for one epoch on digits; ten minutes
	@$(PY) -m pytest -m zoo -n 0 -s -q tests/harness/execution/test_models_from_outside.py

clean: ## Remove the environment and caches, but not recorded runs, data and reports
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
