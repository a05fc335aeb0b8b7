#!/usr/bin/env bash
# The two commands, from nothing, on this machine. Prints a log whose last line is JSON.
#   tests/platforms/try.sh SOURCE [WORD ...]   SOURCE: the repository; WORDs for make, such as
#                                              PYTHON=python3.13 SUDO=no UV=no
# `make dagger` is run in small (one round), then `make test-quick`, or what TESTS says (TESTS=test).
set -u
source=$1; shift
folder=$(mktemp -d); export HOME=$folder/home; mkdir "$HOME"
git config --global --add safe.directory '*'
git clone -q "$source" "$folder/pokemon-il" && cd "$folder/pokemon-il" || exit 2

timed() {  # NAME COMMAND ...: seconds in $took, exit code in $code
  echo "\$ ${*:2}"
  local began; began=$(date +%s)
  "${@:2}" 2>&1 | tail -n 25
  code=${PIPESTATUS[0]}; took=$(($(date +%s) - began))
  echo "[$1: exit $code, $took s]"
  figures="$figures, \"$1\": {\"exit\": $code, \"seconds\": $took}"
}

figures=
. /etc/os-release
timed doctor make doctor "$@"
timed install make venv "$@"
timed dagger make dagger "$@" ARGS='--rounds 1 --episodes 2 --steps 20 --evaluate.episodes 2 --evaluate.workers 2'
timed tests make "${TESTS:-test-quick}" "$@"
.venv/bin/python - "$PRETTY_NAME" "$(id -u)" "{${figures#, }}" "$(uname -m)" "$*" <<'PYTHON'
import json, os, subprocess, sys, platform
from importlib.metadata import version
from pipeline.emulator.mgba_library import load_mgba
from pipeline.emulator.installing import own_library
from pipeline.emulator.self_check import KNOWN
known = subprocess.run([sys.executable, "-m", "pipeline.emulator.known_second"], capture_output=True, text=True).stdout.strip()
megabytes = int(subprocess.run(["du", "-sm", ".venv"], capture_output=True, text=True).stdout.split()[0])
print(json.dumps({
    "system": sys.argv[1], "machine": sys.argv[4], "user": "root" if sys.argv[2] == "0" else "ordinary",
    "words": sys.argv[5], "tests_of": os.environ.get("TESTS", "test-quick"), "python": platform.python_version(),
    "installer": "pip" if os.path.exists(".venv/bin/pip") else "uv", "libmgba": load_mgba().version, "library": ".venv" if own_library() else "system",
    "commit": subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip(),
    "torch": version("torch"), "known_second": known, "same": known == KNOWN,
    "venv_mb": megabytes, **json.loads(sys.argv[3]),
}))
PYTHON
rm -rf "$folder"
