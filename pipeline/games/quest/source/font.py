"""A 5x7 letter font: seven rows a letter, each a base-32 digit, highest bit left."""

from __future__ import annotations

from .canvas import Canvas

GLYPHS = {
    "A": "EHHVHHH",
    "B": "UHHUHHU",
    "C": "EHGGGHE",
    "D": "UHHHHHU",
    "E": "VGGUGGV",
    "F": "VGGUGGG",
    "G": "EHGNHHF",
    "H": "HHHVHHH",
    "I": "E44444E",
    "J": "72222IC",
    "K": "HIKOKIH",
    "L": "GGGGGGV",
    "M": "HRLLHHH",
    "N": "HHPLJHH",
    "O": "EHHHHHE",
    "P": "UHHUGGG",
    "Q": "EHHHLID",
    "R": "UHHUKIH",
    "S": "FGGE11U",
    "T": "V444444",
    "U": "HHHHHHE",
    "V": "HHHHHA4",
    "W": "HHHLLLA",
    "X": "HHA4AHH",
    "Y": "HHHA444",
    "Z": "V1248GV",
    "a": "00E1FHF",
    "b": "GGUHHHU",
    "c": "00FGGGF",
    "d": "11FHHHF",
    "e": "00EHVGE",
    "f": "698S888",
    "g": "0FHHF1E",
    "h": "GGUHHHH",
    "i": "40C444E",
    "j": "20622IC",
    "k": "GGIKOKI",
    "l": "C44444E",
    "m": "00QLLHH",
    "n": "00UHHHH",
    "o": "00EHHHE",
    "p": "00UHUGG",
    "q": "00FHF11",
    "r": "00MPGGG",
    "s": "00FGE1U",
    "t": "88S8896",
    "u": "00HHHJD",
    "v": "00HHHA4",
    "w": "00HHLLA",
    "x": "00HA4AH",
    "y": "00HHF1E",
    "z": "00V248V",
    "0": "EHJLPHE",
    "1": "4C4444E",
    "2": "EH1248V",
    "3": "V2421HE",
    "4": "26AIV22",
    "5": "VGU11HE",
    "6": "68GUHHE",
    "7": "V124888",
    "8": "EHHEHHE",
    "9": "EHHF12C",
    ".": "00000CC",
    ",": "0000CC8",
    "!": "4444404",
    "?": "EH12404",
    "'": "4480000",
    "-": "000E000",
    ":": "0CC0CC0",
    "/": "011248G",
    "+": "044V440",
    "(": "2488842",
    ")": "8422248",
    "*": "0AEVEA0",
    "%": "PP248JJ",
    " ": "0000000",
}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUV"


def bits(letter: str) -> list[list[bool]]:
    """The letter as seven rows of five pixels."""
    return [[bool(_DIGITS.index(d) >> (4 - i) & 1) for i in range(5)] for d in GLYPHS[letter]]


def write(c: Canvas, x: int, y: int, text: str, colour: int, scale: int = 1) -> None:
    """Paint ``text`` with its upper left corner at (x, y), six pixels a letter times ``scale``."""
    for n, letter in enumerate(text):
        for j, row in enumerate(bits(letter)):
            for i, on in enumerate(row):
                if on:
                    c.rect(x + (n * 6 + i) * scale, y + j * scale, scale, scale, colour)
