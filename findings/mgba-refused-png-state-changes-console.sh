#!/usr/bin/env bash
# mgba 0.10.2 (PyPI) on libmgba 0.10: a PNG save state that is refused has changed the console.
#
# mCoreLoadStateNamed returns False for a state of another cartridge (another title and code).
# Nothing should have happened then. For a PNG state, as the library itself writes it with
# SCREENSHOT and SAVEDATA, the picture and the cartridge's save memory have been replaced before
# the refusal: the player goes on with another game's saved data.
#
# Needs the system library (Debian/Ubuntu: libmgba0.10 or libmgba0.10t64). Both cartridges are made
# here byte by byte: a header and an endless loop, with the mark of a 32 KiB save memory.
# Prints last: what the call said, and how much of picture and save memory is another's after it.
set -eu
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" --no-deps \
  --python-version 3.11 --implementation cp --abi cp311 --only-binary=:all: mgba==0.10.2
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" \
  cffi==2.1.1 cached-property==2.0.1
cat >"$folder/refused.py" <<'PY'
import sys

import mgba
import mgba.core
import mgba.image
from mgba._pylib import ffi, lib

SCREENSHOT_AND_SAVEDATA = 1 | 2
SAVE = 0x8000


def cartridge(title, code, colour):
    """A screen of one colour (the backdrop), and a byte written to the save memory."""
    image = bytearray(0x80000)
    image[0:4] = (0xEA00003E).to_bytes(4, "little")  # b 0x100
    image[0xA0 : 0xA0 + len(title)], image[0xAC:0xB0], image[0xB2] = title, code, 0x96
    image[0xBD] = -(0x19 + sum(image[0xA0:0xBD])) & 0xFF
    words = [
        0xE3A00405, 0xE3A01000 | colour, 0xE1C010B0,  # palette 0x05000000 = colour
        0xE3A00404, 0xE3A01000, 0xE1C010B0,  # display on: 0x04000000 = 0
        0xE3A0040E, 0xE3A01000 | colour, 0xE5C01000,  # save memory 0x0E000000 = colour
        0xEAFFFFFE,
    ]  # fmt: skip
    image[0x100 : 0x100 + 4 * len(words)] = b"".join(w.to_bytes(4, "little") for w in words)
    image[0x300:0x309] = b"SRAM_V113"
    path = f"{sys.argv[1]}/{code.decode()}.gba"
    open(path, "wb").write(image)
    return path


def console(path):
    wrapper = mgba.core.load_path(path)
    core = wrapper._core
    core.clearCoreCallbacks(core)  # the binding's Python callbacks do not return on Python 3.12+
    picture = mgba.image.Image(240, 160)
    wrapper.set_video_buffer(picture)
    core.reset(core)
    for _ in range(5):
        core.runFrame(core)
    return wrapper, core, picture


def pixels(picture):
    return bytes(ffi.buffer(picture.buffer))


def saved(core):
    pointer = ffi.new("void **")
    size = core.savedataClone(core, pointer)
    return bytes(ffi.buffer(pointer[0], size))


def state(core):
    file = lib.VFileMemChunk(ffi.NULL, 0)
    assert lib.mCoreSaveStateNamed(core, file, SCREENSHOT_AND_SAVEDATA)
    data = ffi.new("uint8_t[]", file.size(file))
    file.seek(file, 0, 0)
    file.read(file, data, len(data))
    file.close(file)
    return bytes(ffi.buffer(data))


logger, quiet = ffi.new("struct mStandardLogger *"), ffi.new("struct mLogFilter *")
lib.mStandardLoggerInit(logger)
lib.mLogFilterInit(quiet)
quiet.defaultLevels = 0
logger.d.filter = quiet
lib.mLogSetDefaultLogger(ffi.addressof(logger, "d"))

one, mine, screen = console(cartridge(b"ONE GAME", b"AONE", 0x1F))
two, other, its_screen = console(cartridge(b"TWO GAME", b"BTWO", 0xE0))
before, kept = pixels(screen), saved(mine)
foreign = state(other)
file = lib.VFileFromConstMemory(ffi.from_buffer(foreign), len(foreign))
taken = lib.mCoreLoadStateNamed(mine, file, SCREENSHOT_AND_SAVEDATA)
file.close(file)
after, left = pixels(screen), saved(mine)
changed = sum(before[i : i + 3] != after[i : i + 3] for i in range(0, len(before), 4))
print("mgba", mgba.__version__, file=sys.stderr)
print(f"loaded: {bool(taken)}; pixels of another game: {changed} of 38400; "
      f"its save memory: {left == saved(other) and left != kept}")
PY
said=$(PYTHONPATH="$folder/lib" "$python" "$folder/refused.py" "$folder")
[ "$said" = "loaded: False; pixels of another game: 38400 of 38400; its save memory: True" ] || {
  echo "changed: $said" >&2
  exit 1
}
echo "$said"
