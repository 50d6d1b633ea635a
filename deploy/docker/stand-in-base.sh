#!/usr/bin/env bash
# Where no registry can be reached: a Debian with its own Python 3.11 under the name of the official Python image.
#
#   sudo deploy/docker/stand-in-base.sh [podman|docker]    needs debootstrap, root and a Debian mirror (MIRROR=URL)
#
# For deploy/docker/check_image.py; nothing to ship. Exit codes: 0 there, 1 it could not be made.
set -euo pipefail

tool=${1:-podman}
name=docker.io/library/python:3.11-slim
command -v debootstrap > /dev/null || { echo "error: debootstrap is not installed" >&2; exit 1; }

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase \
  --include=python3.11,python3.11-venv,python3,python3-venv,python3-distutils,python3-lib2to3,ca-certificates \
  bookworm "$root" ${MIRROR:+"$MIRROR"} > "$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 1; }
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale} "$root.log"
ln -s /usr/bin/python3.11 "$root/usr/local/bin/python"
if [ "$tool" = docker ]; then # it mounts nothing while it builds: the base carries this machine's certificates
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n' > "$root/etc/pip.conf"
fi
tar -C "$root" -c . | "$tool" import - "$name" > /dev/null
echo "$name: Debian $(cat "$root/etc/debian_version"), $("$root/usr/bin/python3.11" --version)"
