#!/usr/bin/env bash
# mgba 0.10.2 (PyPI) on libmgba 0.10: a cartridge's "fixed" clock follows the host's time zone.
#
# RTC_FIXED takes milliseconds since 1970, and the library turns them into the fields of the
# cartridge's clock with the C library's localtime(). The same cartridge, state, buttons and fixed
# value therefore read another hour in RAM wherever TZ differs: a recording made in one time zone
# does not play back in another.
#
# Needs the system library (Debian/Ubuntu: libmgba0.10 or libmgba0.10t64). The cartridge is made
# here byte by byte: a header, and a program that reads the clock's seven bytes over its serial
# line (GPIO at 0x080000C4) into 0x02000000.
# Prints last: the hours that the cartridge reads under TZ=UTC0 and under TZ=EST5.
set -eu
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" --no-deps \
  --python-version 3.11 --implementation cp --abi cp311 --only-binary=:all: mgba==0.10.2
"$python" -m pip install -q --disable-pip-version-check --target "$folder/lib" \
  cffi==2.1.1 cached-property==2.0.1
cat >"$folder/clock.py" <<'PY'
import sys

import mgba
import mgba.core
import mgba.image
from mgba._pylib import ffi, lib

NOON = 12 * 3600 * 1000  # 1970-01-01 12:00 UTC, in milliseconds; the clock keeps two digits a year
PORT, DIRECTION, READABLE = 0x080000C4, 0x080000C6, 0x080000C8


def mov(register, value):
    """ARM words that put a 32-bit value into a register, a byte at a time."""
    words = [0xE3A00000 | register << 12 | value & 0xFF]
    for turn, shift in ((12, 8), (8, 16), (4, 24)):
        byte = value >> shift & 0xFF
        if byte:
            words.append(0xE3800000 | register << 16 | register << 12 | turn << 8 | byte)
    return words


def store(address, value):
    return [*mov(0, address), *mov(1, value), 0xE1C010B0]  # strh r1, [r0]


def program():
    """Asks the clock for date and time (command 0x65, lowest bit first), keeps 7 bytes."""
    words = store(READABLE, 1) + store(DIRECTION, 7) + store(PORT, 1) + store(PORT, 5)
    for bit in range(7, -1, -1):
        data = (0x65 >> bit & 1) << 1  # the chip wants the command's highest bit first
        words += store(PORT, 4 | data) + store(PORT, 5 | data)
    words += store(DIRECTION, 5)
    for byte in range(7):
        words += mov(5, 0)
        for bit in range(8):
            words += store(PORT, 4) + store(PORT, 5) + mov(0, PORT)
            # ldrh r3,[r0]; mov r3,r3,lsr #1; and r3,r3,#1; orr r5,r5,r3,lsl #bit
            words += [0xE1D030B0, 0xE1A030A3, 0xE2033001, 0xE1855003 | bit << 7]
        words += [*mov(0, 0x02000000 + byte), 0xE5C05000]  # strb r5, [r0]
    return [*words, *store(PORT, 1), 0xEAFFFFFE]


image = bytearray(0x80000)
image[0:4] = (0xEA00003E).to_bytes(4, "little")  # b 0x100
image[0xA0:0xAC], image[0xAC:0xB0], image[0xB2] = b"POKEMON EMER", b"BPEE", 0x96
image[0xBD] = -(0x19 + sum(image[0xA0:0xBD])) & 0xFF
words = program()
image[0x100 : 0x100 + 4 * len(words)] = b"".join(word.to_bytes(4, "little") for word in words)
rom = sys.argv[1] + "/clock.gba"
open(rom, "wb").write(image)

logger, quiet = ffi.new("struct mStandardLogger *"), ffi.new("struct mLogFilter *")
lib.mStandardLoggerInit(logger)
lib.mLogFilterInit(quiet)
quiet.defaultLevels = 0
logger.d.filter = quiet
lib.mLogSetDefaultLogger(ffi.addressof(logger, "d"))
wrapper = mgba.core.load_path(rom)
core = wrapper._core
core.clearCoreCallbacks(core)  # the binding's Python callbacks do not return on Python 3.12+
wrapper.set_video_buffer(mgba.image.Image(240, 160))
core.reset(core)
core.rtc.override, core.rtc.value = lib.RTC_FIXED, NOON
for _ in range(20):
    core.runFrame(core)
read = [core.busRead8(core, 0x02000000 + i) for i in range(7)]
print(f"{read[4] & 0x3F:02x}")  # hour, as two decimal digits; bit 6 and 7 say a.m. or p.m.
print("mgba", mgba.__version__, "year month day weekday hour minute second:",
      " ".join(f"{one:02x}" for one in read), file=sys.stderr)
PY
export PYTHONPATH="$folder/lib"
utc=$(TZ=UTC0 "$python" "$folder/clock.py" "$folder")
east=$(TZ=EST5 "$python" "$folder/clock.py" "$folder")
[ "$utc" = 12 ] && [ "$east" = 07 ] || { echo "changed: the hours read are $utc and $east" >&2; exit 1; }
echo "hours read from one fixed clock: $utc under TZ=UTC0, $east under TZ=EST5"
