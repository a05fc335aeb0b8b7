"""The RAM search: exact on RAM that these tests write, whatever the type and the console."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.games.description import TYPES
from pipeline.games.platforms import GB, GBA, Block, Platform
from pipeline.search.values import (
    COMPARISONS,
    KINDS,
    Comparison,
    Found,
    Play,
    check_number,
    emptied_by,
    search,
    search_behind_pointers,
)
from pipeline.system.errors import PipelineError

NUMBERS = tuple(TYPES)
LITTLE = Platform("gba", "", 1, 1, (), (Block(0x100, 16), Block(0x200, 7)), "u32", "")
Ram = list[NDArray[np.uint8]]


def empty(console: Platform) -> Ram:
    return [np.zeros(block.size, np.uint8) for block in console.blocks]


def put(ram: Ram, console: Platform, address: int, value: int, kind: str) -> None:
    data = np.array([value], TYPES[kind]).view(np.uint8)
    for block, part in zip(console.blocks, ram, strict=True):
        if block.start <= address < block.end:
            part[address - block.start : address - block.start + len(data)] = data


def said(*words: str) -> list[Comparison]:
    return [Comparison(word, int(n or 0)) for word, _, n in (text.partition(" ") for text in words)]


def plays_of(
    console: Platform, values: Sequence[int], address: int, kind: str, *words: str
) -> list[Play]:
    """A number at ``address`` takes ``values``; everything else in RAM is noise that stays."""
    noise = [np.random.default_rng(1).integers(256, size=b.size, dtype=np.uint8)
             for b in console.blocks]  # fmt: skip
    rams = []
    for value in values:
        ram = [part.copy() for part in noise]
        put(ram, console, address, value, kind)
        rams.append(ram)
    return [
        Play(before, after, said(word))
        for (before, after), word in zip(pairwise(rams), words, strict=True)
    ]


def test_a_number_that_grows_and_falls_is_found_at_its_address() -> None:
    plays = plays_of(GBA, [300, 301, 302, 301], 0x0203FFFE, "u16", "by 1", "by 1", "by -1")
    found = search(plays, GBA, NUMBERS)
    assert found.total == 1
    assert found.found == [Found(("u8", "u16"), 0x0203FFFE, values=(45, 46, 45))]
    assert found.found[0].yaml("x", GBA) == (
        "x: {address: 0x0203FFFE, type: u8}   # fits as u16 too"
    )
    assert search(plays, GBA, ["u16"]).found[0].values == (301, 302, 301)


def test_a_sign_counts_only_where_it_matters() -> None:
    found = search(plays_of(GBA, [1, 0, -1], 0x03000010, "s16", "by -1", "by -1"), GBA, NUMBERS)
    assert [one.kinds for one in found.found] == [("s8", "s16")]
    found = search(plays_of(GBA, [0, 1, 2], 0x03000010, "s16", "by 1", "by 1"), GBA, NUMBERS)
    assert [one.kinds for one in found.found] == [("u8", "u16", "u32")]


def test_numbers_of_a_game_boy_lie_anywhere_and_those_of_an_advance_at_multiples() -> None:
    plays = plays_of(GB, [1000, 1300, 900], 0xC101, "u16", "by 300", "by -400")
    assert [one.address for one in search(plays, GB, ["u16"]).found] == [0xC101]
    plays = plays_of(GBA, [1000, 1300, 900], 0x02000101, "u16", "by 300", "by -400")
    assert search(plays, GBA, ["u16"]).total == 0


def test_a_flag_is_found_as_a_bit() -> None:
    values = [0x00, 0x20, 0x20, 0x00]
    plays = plays_of(GBA, values, 0x02000777, "u8", "equal 1", "unchanged", "changed")
    found = search(plays, GBA, ["bit"])
    assert found.found == [Found(("bit",), 0x02000777, bit=5, values=(1, 1, 0))]
    assert found.found[0].yaml("flag", GBA) == "flag: {address: 0x02000777, type: u8, bit: 5}"


def test_only_the_first_places_are_listed_but_all_are_counted() -> None:
    ram = empty(LITTLE)
    found = search([Play(ram, ram, said("equal 0"))], LITTLE, ["u8", "u16"], limit=3)
    assert found.total == 16 + 7
    assert [one.address for one in found.found] == [0x100, 0x104, 0x108]
    assert search([Play(ram, ram, [])], LITTLE, ["u8"]).total == 0  # nothing is said


def test_every_comparison_means_what_it_says() -> None:
    for before, after in ((3, 3), (3, 4), (4, 3), (3, 5)):
        rams = []
        for value in (before, after):
            ram = empty(LITTLE)
            put(ram, LITTLE, 0x204, value, "u8")
            rams.append(ram)

        def fits(word: str, rams: Sequence[Ram] = rams) -> bool:
            found = search([Play(rams[0], rams[1], said(word))], LITTLE, ["u8"], limit=99)
            return 0x204 in {one.address for one in found.found}

        assert fits("equal 3") == (after == 3)
        assert fits("not 3") == (after != 3)
        assert fits("changed") == (after != before)
        assert fits("unchanged") == (after == before)
        assert fits("greater") == (after > before)
        assert fits("less") == (after < before)
        assert fits("by 1") == (after - before == 1)
    assert set(COMPARISONS) == {
        "equal", "not", "changed", "unchanged", "greater", "less", "by",
    }  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.binary(min_size=23, max_size=23), min_size=2, max_size=4),
    st.lists(
        st.tuples(st.sampled_from(sorted(COMPARISONS)), st.integers(-2, 2)), min_size=3, max_size=3
    ),
    st.sampled_from(KINDS),
    st.booleans(),
)
def test_the_search_agrees_with_looking_at_every_place(
    rams: list[bytes], words: list[tuple[str, int]], kind: str, little: bool
) -> None:
    console = LITTLE if little else Platform("gb", "", 1, 1, (), LITTLE.blocks, "u16", "")
    # Neither is the real Advance, so numbers lie anywhere.
    split = [[np.frombuffer(r[:16], np.uint8), np.frombuffer(r[16:], np.uint8)] for r in rams]
    pairs = zip(pairwise(split), words, strict=False)
    plays = [Play(b, a, [Comparison(word, n)]) for (b, a), (word, n) in pairs]
    expected = set()
    for index, block in enumerate(console.blocks):
        size = 1 if kind == "bit" else int(kind[1:]) // 8
        for at in range(block.size - size + 1):
            for bit in range(8) if kind == "bit" else (None,):
                values = []
                for ram in split[: len(plays) + 1]:
                    part = ram[index][at : at + size].tobytes()
                    number = int(np.frombuffer(part, TYPES.get(kind, "u1"))[0])
                    values.append(number if bit is None else number >> bit & 1)
                if all(
                    COMPARISONS[word].holds(np.array([b]), np.array([a]), n)[0]
                    for (b, a), (word, n) in zip(pairwise(values), words, strict=False)
                ):
                    expected.add((block.start + at, bit))
    found = search(plays, console, [kind], limit=10_000)
    assert {(one.address, one.bit) for one in found.found} == expected
    assert found.total == len(expected)


def moving(targets: Sequence[int], values: Sequence[int], *words: str) -> list[Play]:
    """A number 0x10 behind a target that moves, whose address lies at 0x03000040."""
    rams = []
    for target, value in zip(targets, values, strict=True):
        ram = empty(GBA)
        put(ram, GBA, 0x03000040, target, "u32")
        put(ram, GBA, 0x03000044, 0x02000000, "u32")  # a pointer that stays
        put(ram, GBA, target + 0x10, value, "s16")
        rams.append(ram)
    return [Play(b, a, said(w)) for (b, a), w in zip(pairwise(rams), words, strict=True)]


def test_a_number_that_moves_about_is_found_behind_its_pointer() -> None:
    plays = moving([0x02001000, 0x02002000, 0x02001FF0], [7, 8, 7], "by 1", "by -1")
    assert search(plays, GBA, NUMBERS).total == 0
    (found,) = search_behind_pointers(plays, GBA, NUMBERS).found
    assert (found.pointer, found.offset, found.kinds) == (0x03000040, 0x10, ("u8", "u16", "u32"))
    assert found.values == (8, 7)
    assert found.yaml("x", GBA) == (
        "x: {pointer: x_block, offset: 0x10, type: u8}   # fits as u16, u32 too"
    )


def test_a_pointer_that_stays_or_leaves_the_ram_is_none() -> None:
    still = moving([0x02001000] * 3, [7, 8, 7], "by 1", "by -1")
    assert search_behind_pointers(still, GBA, NUMBERS).total == 0
    plays = moving([0x02001000, 0x02002000], [7, 8], "by 1")
    put(list(plays[0].after), GBA, 0x03000040, 0x08000000, "u32")
    assert search_behind_pointers(plays, GBA, NUMBERS).total == 0


def test_a_target_near_the_end_of_ram_is_searched_up_to_the_end() -> None:
    plays = moving([0x0203FFEC, 0x0203FFE8], [7, 8], "by 1")
    (found,) = search_behind_pointers(plays, GBA, ["u16"]).found
    assert found.offset == 0x10


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_game_boy_s_pointers_have_two_bytes(kind: str) -> None:
    rams = []
    for target, value in ((0xC100, 5), (0xC231, 6), (0xFF90, 7)):
        ram = empty(GB)
        put(ram, GB, 0xC001, target, "u16")
        put(ram, GB, target + 3, value, kind)
        rams.append(ram)
    plays = [Play(b, a, said("by 1")) for b, a in pairwise(rams)]
    found = search_behind_pointers(plays, GB, [kind]).found
    assert [(one.pointer, one.offset) for one in found] == [(0xC001, 3)]


def test_aligned_addresses_are_listed_first() -> None:
    ram = empty(LITTLE)
    found = search([Play(ram, ram, said("equal 0"))], LITTLE, ["u8"], limit=99)
    addresses = [one.address or 0 for one in found.found]
    by_four = [0x100, 0x104, 0x108, 0x10C, 0x200, 0x204]
    by_two = [0x102, 0x106, 0x10A, 0x10E, 0x202, 0x206]
    assert addresses[:12] == by_four + by_two
    assert addresses[12:] == [at for at in (*range(0x100, 0x110), *range(0x200, 0x207)) if at % 2]


def test_the_comparison_that_left_no_place_is_named() -> None:
    plays = plays_of(LITTLE, [3, 4, 5], 0x104, "u8", "by 1", "by 1")
    assert emptied_by(plays, LITTLE, ["u8"]) is None
    wrong = Play(plays[1].before, plays[1].after, said("greater", "by 2", "less"))
    assert emptied_by([plays[0], wrong], LITTLE, ["u8"]) == (1, Comparison("by", 2))


@pytest.mark.parametrize(
    ("kinds", "word", "line"),
    [
        (NUMBERS, "equal 4294967296", "a variable can hold -2147483648 to 4294967295"),
        (NUMBERS, "not -2147483649", "a variable can hold -2147483648 to 4294967295"),
        (NUMBERS, "by 4294967296", "a variable can change by -4294967295 to 4294967295"),
        (("u8",), "equal 256", "a u8 can hold 0 to 255"),
        (("s8",), "equal 128", "a s8 can hold -128 to 127"),
        (("u16",), "by -65536", "a u16 can change by -65535 to 65535"),
        (("bit",), "equal 2", "a bit can hold 0 to 1"),
    ],
)
def test_a_number_that_no_variable_can_hold_is_refused(
    kinds: Sequence[str], word: str, line: str
) -> None:
    with pytest.raises(PipelineError) as error:
        check_number(said(word)[0], kinds)
    assert str(error.value) == f"--{word}: {line}"
    for fits in ("equal 1", "by -1", "changed"):
        check_number(said(fits)[0], kinds)
