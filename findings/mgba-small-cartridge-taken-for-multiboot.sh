#!/usr/bin/env bash
# mgba 0.10.2 (PyPI) on libmgba 0.10: a small .gba with a second entry point runs from RAM.
#
# A cartridge's header may hold, at 0xC0, the branch that a console takes when the same program is
# sent over the link cable. libmgba takes a small file with such a branch for a multiboot image:
# it copies it to 0x02000000 and runs it there, and nothing lies at 0x08000000, although the file's
# name ends in .gba and it was loaded as a cartridge. Many small homebrew games are built so. Filled
# up with zeros to 512 KiB the same bytes are a cartridge again.
#
# Needs the system library (Debian/Ubuntu: libmgba0.10 or libmgba0.10t64). The cartridge is made
# here byte by byte: a header, and a program that reads its own word at 0x08000200 to 0x02030000.
# Prints last: the word that the program finds there, of 4 KiB and of 512 KiB.
set -eu
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" --no-deps \
  --python-version 3.11 --implementation cp --abi cp311 --only-binary=:all: mgba==0.10.2
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" \
  cffi==2.1.1 cached-property==2.0.1
cat >"$folder/multiboot.py" <<'PY'
import sys

import mgba
import mgba.core
import mgba.image
from mgba._pylib import ffi, lib

PROGRAM = [
    0xE3A00408, 0xE2800C02, 0xE5901000,  # r1 = word at 0x08000200
    0xE3A02402, 0xE2822803, 0xE5821000,  # word at 0x02030000 = r1
    0xEAFFFFFE,
]  # fmt: skip
image = bytearray(0x1000)
image[0:4] = (0xEA00003E).to_bytes(4, "little")  # b 0x100
image[0xC0:0xC4] = (0xEA00000E).to_bytes(4, "little")  # the second entry: b 0x100
image[0xA0:0xA8], image[0xAC:0xB0], image[0xB2] = b"TWO DOOR", b"ATWO", 0x96
image[0xBD] = -(0x19 + sum(image[0xA0:0xBD])) & 0xFF
image[0x100 : 0x100 + 4 * len(PROGRAM)] = b"".join(w.to_bytes(4, "little") for w in PROGRAM)
image[0x200:0x204] = (0x0BADF00D).to_bytes(4, "little")

logger, quiet = ffi.new("struct mStandardLogger *"), ffi.new("struct mLogFilter *")
lib.mStandardLoggerInit(logger)
lib.mLogFilterInit(quiet)
quiet.defaultLevels = 0
logger.d.filter = quiet
lib.mLogSetDefaultLogger(ffi.addressof(logger, "d"))
found = []
for size in (0x1000, 0x80000):
    path = f"{sys.argv[1]}/{size}.gba"
    open(path, "wb").write(image.ljust(size, b"\0"))
    wrapper = mgba.core.load_path(path)
    core = wrapper._core
    core.clearCoreCallbacks(core)  # the binding's Python callbacks do not return on Python 3.12+
    picture = mgba.image.Image(240, 160)
    wrapper.set_video_buffer(picture)
    core.reset(core)
    for _ in range(3):
        core.runFrame(core)
    at = ffi.cast("struct ARMCore *", core.cpu).gprs[15]
    found.append(core.busRead32(core, 0x02030000) & 0xFFFFFFFF)
    print(f"mgba {mgba.__version__}, {size} bytes: runs at {at & 0xFFFFFFFF:#010x}", file=sys.stderr)
print("word read at 0x08000200: {:#010x} of 4 KiB, {:#010x} of 512 KiB".format(*found))
PY
said=$(PYTHONPATH="$folder/lib" "$python" "$folder/multiboot.py" "$folder")
case $said in
*"0x0badf00d of 4 KiB"*) echo "changed: $said" >&2; exit 1 ;;
*"0x0badf00d of 512 KiB"*) echo "$said" ;;
*) echo "changed: $said" >&2; exit 1 ;;
esac
