"""What a file is that is given for a save state or an in-game save: packed, or of another emulator.

Known by their first bytes, as the programs that write them document them.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from pipeline.system.errors import PipelineError

LARGEST = 1 << 24
"""Bytes that a gzip file may hold; the largest save state has about half a million."""
_GZIP = b"\x1f\x8b"
_ARCHIVES = {
    b"PK\x03\x04": "zip",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_FOREIGN = (
    (0, b"RASTATE", "a save state of RetroArch"),
    (0, b"#RZIPv", "a compressed file of RetroArch"),
    (0, b"NO$GBA", "a snapshot of NO$GBA"),
    (0, b"Nocash", "a save of NO$GBA"),
    (0, b"ADVSAVEG", "a GameShark save (.gsv)"),
    (4, b"SharkPortSave", "a GameShark save (.sps, .xps)"),
)
"""Where the mark stands, the mark, what it is."""
_VBA_VERSIONS = range(1, 13)


def unpacked(data: bytes, file: Path) -> bytes:
    """The content of a gzip file; other bytes as they are.

    Raises:
        PipelineError: it is damaged, or holds more than ``LARGEST`` bytes; the file is named.
    """
    if not data.startswith(_GZIP):
        return data
    reader = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = reader.decompress(data, LARGEST + 1)
    except zlib.error:
        content = b""
    if len(content) > LARGEST:
        raise PipelineError(
            f"{file}: a gzip file of more than {LARGEST >> 20} MiB; that is neither a save state "
            "nor an in-game save"
        )
    if not reader.eof:
        raise PipelineError(f"{file}: a gzip file that is cut off or damaged; copy it again")
    return content


def foreign(data: bytes) -> str | None:
    """What a file is that is no save state of mGBA, and what to do; None where nobody knows."""
    for magic, kind in _ARCHIVES.items():
        if data.startswith(magic):
            return f"a {kind} archive; unpack it and give the file that is inside"
    for at, magic, what in _FOREIGN:
        if data.startswith(magic, at):
            return f"{what}; save one in mGBA"
    if data.endswith(b"BESS"):
        return "a save state of SameBoy or another emulator that ends in BESS; save one in mGBA"
    if len(data) >= 0xC0 and data[0xB2] == 0x96 and data[3] == 0xEA:
        return "a Game Boy Advance cartridge; save a state in mGBA while it plays"
    title = data[4:20].rstrip(b"\0")
    if (
        len(data) > 20
        and int.from_bytes(data[:4], "little") in _VBA_VERSIONS
        and all(0x20 <= letter < 0x7F for letter in title)
    ):
        return "a save state of VisualBoyAdvance; save one in mGBA"
    return None
