#!/usr/bin/env bash
# mgba 0.10.2 (PyPI) on libmgba 0.10: a save state does not hold all of the sound channels.
#
# A game can read in SOUNDCNT_X (0x04000084) which channels still sound. Two consoles that load the
# same state, one that has played on and one that was just switched on, and then run the same frames
# without a button, end with different RAM: what the channels' control and envelope held is
# left as it was in each. A recording that begins with a state is thus no function of the state and
# the buttons alone, unless the channels are set to something known before it is loaded.
#
# Needs the system library (Debian/Ubuntu: libmgba0.10 or libmgba0.10t64). The cartridge is made
# here byte by byte: a program that starts noise and square waves and sums up what it reads.
# Prints last: whether the two consoles end with the same 32 KiB of RAM, after 0 and 30 frames.
set -eu
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" --no-deps \
  --python-version 3.11 --implementation cp --abi cp311 --only-binary=:all: mgba==0.10.2
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" \
  cffi==2.1.1 cached-property==2.0.1
cat >"$folder/sound.py" <<'PY'
import sys

import mgba
import mgba.core
import mgba.image
from mgba._pylib import ffi, lib

PROGRAM = [
    0xE3A00301, 0xE3A02403, 0xE2801080,  # r0 registers, r1 those of sound, r2 RAM
    0xE3A03080, 0xE1C130B4, 0xE59F307C, 0xE1C130B0, 0xE59F3078, 0xE1C130B2,  # sound on
    0xE28040BC, 0xE3A05302, 0xE5845000, 0xE28050A0, 0xE5845004, 0xE59F5060, 0xE5845008,  # DMA 1
    0xE2804C01, 0xE59F5058, 0xE5845000, 0xE3A06000,  # timer 0
    0xE1D038B4, 0xE0836FE6, 0xE3130008, 0x1A000003,  # r6 = SOUNDCNT_X + (r6 ror 31)
    0xE59F3040, 0xE1C037B8, 0xE3A03903, 0xE1C037BC,  # noise anew where it has ended
    0xE3160003, 0x059F3030, 0x01C036B2, 0x03A03CC7, 0x01C036B4,  # now and then a square wave
    0xE59030BC, 0xE5826000, 0xE1D430B0, 0xE0866003, 0xEAFFFFED,  # r6 to RAM; again
    0x0000FF77, 0x00000B06, 0xB6400000, 0x0080FE00, 0x0000F13F, 0x0000F7BF,
]  # fmt: skip
image = bytearray(0x80000)
image[0:4] = (0xEA00003E).to_bytes(4, "little")  # b 0x100
image[0xA0:0xA8], image[0xAC:0xB0], image[0xB2] = b"SOUNDING", b"ASND", 0x96
image[0xBD] = -(0x19 + sum(image[0xA0:0xBD])) & 0xFF
image[0x100 : 0x100 + 4 * len(PROGRAM)] = b"".join(w.to_bytes(4, "little") for w in PROGRAM)
rom = sys.argv[1] + "/sounding.gba"
open(rom, "wb").write(image)

logger, quiet = ffi.new("struct mStandardLogger *"), ffi.new("struct mLogFilter *")
lib.mStandardLoggerInit(logger)
lib.mLogFilterInit(quiet)
quiet.defaultLevels = 0
logger.d.filter = quiet
lib.mLogSetDefaultLogger(ffi.addressof(logger, "d"))


def console():
    wrapper = mgba.core.load_path(rom)
    core = wrapper._core
    core.clearCoreCallbacks(core)  # the binding's Python callbacks do not return on Python 3.12+
    picture = mgba.image.Image(240, 160)
    wrapper.set_video_buffer(picture)
    core.reset(core)
    return wrapper, core, picture


def run(core, frames):
    for _ in range(frames):
        core.runFrame(core)


def ram(core):
    return bytes(core.busRead8(core, 0x03000000 + at) & 0xFF for at in range(0x7E00))


one, played, _screen = console()
two, fresh, _other = console()
run(played, 3)
state = ffi.new("uint8_t[]", played.stateSize(played))
played.saveState(played, state)
run(played, 50)
same = []
for frames in (0, 30):
    for core in (played, fresh):
        if frames == 0:
            assert core.loadState(core, state)
        run(core, frames)
    same.append(ram(played) == ram(fresh))
print("mgba", mgba.__version__, file=sys.stderr)
print(f"same RAM when the state is loaded: {same[0]}; 30 frames later: {same[1]}")
PY
said=$(PYTHONPATH="$folder/lib" "$python" "$folder/sound.py" "$folder")
[ "$said" = "same RAM when the state is loaded: True; 30 frames later: False" ] || {
  echo "changed: $said" >&2
  exit 1
}
echo "$said"
