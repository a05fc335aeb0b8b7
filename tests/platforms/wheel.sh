#!/usr/bin/env bash
# `pip install` of the wheel, from nothing and without make: an sdist, the wheel made from it, a fresh
# environment with all that it asks for, then three stages outside the checkout.
#   tests/platforms/wheel.sh SOURCE [PYTHON]   SOURCE: the repository
set -eu
source=$1; python=${2:-python3}
folder=$(mktemp -d); export HOME=$folder/home; mkdir "$HOME"; trap 'rm -rf "$folder"' EXIT
git config --global --add safe.directory '*'
step() { echo "\$ $*"; local began; began=$(date +%s); "$@" 2>&1 | tail -n 12; echo "[$(($(date +%s) - began)) s]"; }
set -o pipefail
git clone -q "$source" "$folder/source"; cd "$folder/source"
echo "commit $(git rev-parse --short HEAD), Python $($python -V | cut -d' ' -f2), $(. /etc/os-release; echo "$PRETTY_NAME")"
step "$python" -m venv "$folder/build"
step "$folder/build/bin/pip" install --quiet --disable-pip-version-check build
step "$folder/build/bin/python" -m build --outdir "$folder/dist"  # the wheel is made from the sdist
ls "$folder/dist"
mkdir "$folder/elsewhere"; cd "$folder/elsewhere"
step "$python" -m venv "$folder/env"
step "$folder/env/bin/pip" install --quiet --disable-pip-version-check "$folder"/dist/*.whl
pokemon_il=$folder/env/bin/pokemon-il
step "$pokemon_il" setup
step "$pokemon_il" --version
step "$pokemon_il" collect --episodes 2 --max_steps 40 --workers 1
step "$pokemon_il" preprocess --workers 1
step "$pokemon_il" train --steps 20 --batch_size 8 --validate_every 0
ls -l checkpoints/*/final.pt | cut -d' ' -f5-
