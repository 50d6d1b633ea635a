#!/usr/bin/env bash
# Lock what the images install, with the sha256 of every file: `make lock`, after a change of constraints.txt or of the
# dependencies in pyproject.toml.
#
#   pyproject.toml + constraints.txt -> deploy/docker/requirements-*.txt, services/embed_service/requirements.txt
#
# `deploy/docker/lock.sh copy`, after a change of a Dockerfile: the same files into the package, without a new lock.
#
# Versions that a lock has and constraints.txt does not name (CUDA, TensorRT) stay as they are; UPGRADE=1 takes newer ones.
# Exit codes: 0 written, 1 something could not be resolved.
set -euo pipefail

cd "$(dirname "$0")/../.."
uv=${UV:-.venv/bin/uv}
docker=deploy/docker

compile() { # compile FILE ARGUMENTS...: writes FILE
  local file=$1
  shift
  "$uv" pip compile --quiet --generate-hashes --no-header --annotation-style line --constraint constraints.txt \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 ${UPGRADE:+--upgrade} --output-file "$file" "$@"
  echo "$file: $(grep -c '^[a-z]' "$file") packages"
}

if [ "${1:-}" != copy ]; then
  gpu_version=$(sed -n 's/^onnxruntime==//p' constraints.txt) # one library in two builds: one version

  compile $docker/requirements-cpu.txt pyproject.toml --extra cpu --extra s3
  compile $docker/requirements-gpu.txt pyproject.toml --extra gpu --extra s3 - <<< "onnxruntime-gpu[cuda,cudnn]==$gpu_version"
  compile $docker/requirements-build.txt - <<< $'setuptools\nwheel\nwheel-stub'
  compile $docker/requirements-loadtest.txt pyproject.toml --extra load
  compile services/embed_service/requirements.txt - <<< "$(.venv/bin/python -c \
    'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["embed"], sep="\n")')"
fi

# What `modelyard build` needs outside a checkout lies in the package as well.
cp $docker/Dockerfile.cpu $docker/Dockerfile.gpu $docker/requirements-cpu.txt $docker/requirements-gpu.txt \
  $docker/requirements-build.txt services/modelyard/building/files/
