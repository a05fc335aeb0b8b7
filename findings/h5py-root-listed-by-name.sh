#!/usr/bin/env bash
# h5py 3.11.0: the root of an HDF5 file is listed by name, though its creation order is tracked.
#
# A file made with track_order=True keeps the order in which its objects were created, and stock
# `h5dump -q creation_order` shows it. h5py 3.11.0 lists groups below the root in that order, but
# the root itself by name; 3.12.1 lists both as they were created. A format whose order explains it
# reads otherwise there. (Files opened for reading; with track_order=None, the default.)
#
# Prints last: what each version says of the same file.
set -eu
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 3.11.0 3.12.1; do
  "$python" -m pip install -q --disable-pip-version-check --target "$folder/$version" "h5py==$version"
done
cat >"$folder/made.py" <<'PY'
import sys

import h5py

with h5py.File(sys.argv[1], "w", track_order=True) as file:
    for name in ("frames", "actions", "episodes"):
        file[name] = 1
    group = file.create_group("state", track_order=True)
    group["y"], group["x"] = 1, 2
PY
cat >"$folder/listed.py" <<'PY'
import sys

import h5py

with h5py.File(sys.argv[1]) as file:
    print("root:", *file, "- state:", *file["state"])
PY
PYTHONPATH="$folder/3.12.1" "$python" "$folder/made.py" "$folder/a.h5"
old=$(PYTHONPATH="$folder/3.11.0" "$python" "$folder/listed.py" "$folder/a.h5")
new=$(PYTHONPATH="$folder/3.12.1" "$python" "$folder/listed.py" "$folder/a.h5")
[ "$old" = "root: actions episodes frames state - state: y x" ]
[ "$new" = "root: frames actions episodes state - state: y x" ]
echo "h5py 3.11.0: $old"
echo "h5py 3.12.1: $new"
