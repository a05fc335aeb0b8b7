"""People, 16x32 (feet at the bottom), and the things that lie about."""

from __future__ import annotations

from .canvas import Canvas, mix

_FRONT = [
    ".....oooooo.....",
    "...oohHHHHhoo...",
    "..ohhHHHHHHhho..",
    "..ohhhhhhhhhho..",
    ".ohhhhhhhhhhhho.",
    ".owwwwwwwwwwwwo.",
    "..ossssssssssoo.",
    ".ossessssssesso.",
    ".ossessssssesso.",
    "..osssssssssso..",
    "...oossSSssoo...",
    "...ocCCCCCCco...",
    "..oscCCCCCCcso..",
    "..osccccccccso..",
    "..ooccccccccoo..",
    "...oppppppppo...",
    "...opppoopppo...",
    "...obbboobbbo...",
    "....ooo..ooo....",
]
_BACK = [
    ".....oooooo.....",
    "...oohHHHHhoo...",
    "..ohhHHHHHHhho..",
    "..ohhhHHHHhhho..",
    ".ohhhhhhhhhhhho.",
    ".ohhhhhhhhhhhho.",
    ".ohhhhhhhhhhhho.",
    ".oohhhhhhhhhhoo.",
    "..oohhhhhhhhoo..",
    "...oohhhhhhoo...",
    "...ookkkkkkoo...",
    "...okkkkkkkko...",
    "..oskkKKKKkkso..",
    "..oskkkkkkkkso..",
    "..ookkkkkkkkoo..",
    "...oppppppppo...",
    "...opppoopppo...",
    "...obbboobbbo...",
    "....ooo..ooo....",
]
_SIDE = [
    ".....oooooo.....",
    "...oohHHHhhoo...",
    "..ohHHHHhhhhho..",
    "..ohhhhhhhhhho..",
    "oowwwwhhhhhhho..",
    "owwwwwwhhhhhho..",
    ".oossssshhhhho..",
    "..osesssshhhho..",
    "..osessssshhoo..",
    "..ossssssssoo...",
    "...oossssoo.....",
    "....ocCCckkoo...",
    "....ocCscckkko..",
    "....ocCscckkko..",
    "....occcccooo...",
    "....oppppo......",
    "....oppppo......",
    "....obbbbo......",
    ".....oooo.......",
]
_LEGS = {
    "front": ["...opppooppo....", "...obbbo.oo.....", "....ooo........."],
    "side": ["...oppoppo......", "...obbobbo......", "....oo.oo......."],
}

# h hat or hair, w brim, s skin, c coat, k back or bag, p trousers, b boots
LOOKS = {
    "player": dict(h=0xE83830, w=0xF8F8F8, c=0x3878E0, k=0x38B848, p=0x384878, b=0x903828),
    "mother": dict(h=0x885030, w=0x885030, c=0xF078A0, k=0xE05890, p=0xF8A0C0, b=0xC05078),
    "professor": dict(h=0x909098, w=0x808088, c=0xF8F8F8, k=0xE8E8F0, p=0x806848, b=0x504030),
    "guard": dict(h=0x203878, w=0xF8D030, c=0x3858A8, k=0x304890, p=0x182850, b=0x101828),
    "boy": dict(h=0x48A838, w=0xF8F088, c=0xF8C838, k=0xE8A828, p=0x7858A0, b=0x503878),
    "girl": dict(h=0xF89048, w=0xF89048, c=0xB058D0, k=0xD87838, p=0xD088E8, b=0x803898),
    "farmer": dict(h=0xF0D068, w=0xD8A838, c=0xD86028, k=0xB84818, p=0x6088A8, b=0x604028),
    "hermit": dict(h=0x207060, w=0xF8F8F8, c=0x30A088, k=0x288070, p=0xE8E8E0, b=0x185848),
    "rival": dict(h=0x282838, w=0xB01828, c=0x484858, k=0xB01828, p=0x202028, b=0xB01828),
    "leader": dict(h=0xF8D030, w=0xF8F0A0, c=0x8038C0, k=0xF8C020, p=0x502080, b=0xF8D030),
}


def person(look: str) -> list[Canvas]:
    """Six frames: front, front walking, back, back walking, left, left walking."""
    tones = dict(LOOKS[look], s=0xF8C8A0, S=0xD89070, e=0x202030, o=0x282030)
    for small, big in (("h", "H"), ("c", "C"), ("k", "K")):
        tones[big] = mix(tones[small], 0xFFFFFF, 0.35)
    frames = []
    for rows, legs in ((_FRONT, "front"), (_BACK, "front"), (_SIDE, "side")):
        for moving in (False, True):
            art = rows[:16] + _LEGS[legs] if moving else rows
            frames.append(Canvas(16, 32).rows(0, 12, art, tones))
    return frames


def orb() -> Canvas:
    """The lost orb: a bright pink ball on a glow."""
    c = Canvas(16, 32)
    c.ellipse(7.5, 23.5, 7.8, 7.2, 0xF8F8A0).ellipse(7.5, 23.5, 6.6, 6.2, 0xF8F8F8)
    c.ball(7.5, 23.5, 5.6, 5.4, (0x900870, 0xD01898, 0xF848C0, 0xF898E0))
    return c.rect(5, 20, 2, 2, 0xFFFFFF)
