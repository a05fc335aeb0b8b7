"""From the YAML tree to a GameDescription: every key, range and reference is checked here."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from pipeline.games.checked import Place, Table, read_tree
from pipeline.games.description import (
    FORMAT,
    GameDescription,
    Milestone,
    Names,
    Reset,
    Reward,
    StartState,
    Timing,
    Until,
)
from pipeline.games.names_section import parse_names
from pipeline.games.platforms import BUTTONS, PLATFORMS, Platform
from pipeline.games.pressing import parse_presses
from pipeline.games.tools_section import parse_tools
from pipeline.games.variables_section import (
    Places,
    Variables,
    about_of,
    parse_condition,
    parse_location,
    parse_pointers,
    parse_variables,
)
from pipeline.system.errors import PipelineError

_LARGEST_REWARD = 1e20
"""A game of 10**9 steps, each with every reward of this size, still has a return that float32, the
type of both in a shard, can hold."""

_KEYS = (
    "format",
    "name",
    "title",
    "platform",
    "rom",
    "buttons",
    "timing",
    "sticky_action_probability",
    "max_steps",
    "rtc",
    "sound",
    "reset",
    "start_states",
    "pointers",
    "variables",
    "milestones",
    "success",
    "failure",
    "reward",
    "about",
    "tools",
    "names",
)
_YEARS = range(2000, 2100)
"""Of a cartridge's clock."""


def parse_game(file: Path) -> GameDescription:
    """Read and check one ``game.yaml``.

    Raises:
        PipelineError: one line with the file, the place and what to do.
    """
    return _game(read_tree(file), file.parent)


def parse_text(text: str, file: Path) -> GameDescription:
    """Read and check a text that is to become ``file``.

    Raises:
        PipelineError: as :func:`parse_game`.
    """
    return _game(read_tree(file, text), file.parent)


def parse_recorded(text: str, shard: Path) -> GameDescription:
    """Read the ``game.yaml`` that a raw shard was recorded with, all but its start states.

    Those may lie in files that only the folder of the game had; the shard holds them itself.

    Raises:
        PipelineError: as :func:`parse_game`; the shard is named.
    """
    tree = read_tree(shard, text)
    if isinstance(tree.value, dict):
        tree.value.pop("start_states", None)
    return _game(tree, shard.parent)


def _game(tree: Place, folder: Path) -> GameDescription:
    _check_format(tree)
    top = tree.table(_KEYS)
    rom = top.get("rom").table(("file", "sha1", "title", "code", "size", "relatives"))
    console = PLATFORMS[top.get("platform").one_of(PLATFORMS)]
    places = parse_pointers(top.section("pointers", {}), console)
    variables = parse_variables(top.section("variables", {}), places)
    names = parse_names(top.get("names", {}), variables)
    return GameDescription(
        name=_name(top.get("name")),
        folder=folder,
        title=top.get("title").text(),
        platform=console.name,
        rom_file=folder / rom.get("file").text() if "file" in rom else None,
        rom_sha1=_sha1(rom.get("sha1")),
        rom_title=rom.get("title").text() if "title" in rom else None,
        rom_code=rom.get("code").text() if "code" in rom else None,
        buttons=_buttons(top.get("buttons", list(console.buttons)), console),
        timing=_timing(top.get("timing"), variables),
        sticky_action_probability=_sticky(top.get("sticky_action_probability", 0.0)),
        max_steps=top.get("max_steps").integer(1, 10**9),
        rtc_ms=_rtc(top.get("rtc", datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc))),
        reset=_reset(top.get("reset", {}), places),
        start_states=_start_states(
            top.get("start_states", {"power_on": {"frames": 0}}), folder, console
        ),
        pointers=places.pointers,
        variables=variables,
        milestones=_milestones(top.section("milestones", []), variables),
        success=parse_condition(top.get("success"), variables),
        failure=parse_condition(top.get("failure"), variables) if "failure" in top else None,
        reward=_reward(top.get("reward", {}), names),
        about=about_of(top),
        tools=parse_tools(top.get("tools", {}), variables),
        names=names,
        rom_size=rom.get("size").integer(1, 2**25) if "size" in rom else None,
        rom_relatives=_relatives(rom.get("relatives", {})),
        sound=top.get("sound", False).flag(),
    )


def _check_format(tree: Place) -> None:
    if not isinstance(tree.value, dict) or "format" not in tree.value:
        raise tree.mistake(f"the key 'format' is missing; begin the file with 'format: {FORMAT}'")
    found = tree.value["format"]
    if type(found) is int and found > FORMAT:
        raise tree.mistake(
            f"written in format {found}, but this version reads formats up to {FORMAT}; "
            "update the pipeline"
        )
    if found != FORMAT:
        raise tree.mistake(f"format is {found!r}; write 'format: {FORMAT}'")


def _name(place: Place) -> str:
    name = place.text()
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        raise place.mistake(f"'{name}' cannot name files; use small letters, digits, - and _")
    return name


def _sha1(place: Place) -> str:
    if not re.fullmatch(r"[0-9a-f]{40}", str(place.value)):
        raise place.mistake(
            f"expected 40 small hexadecimal digits in quotes, found {place.value!r}"
        )
    return str(place.value)


def _buttons(place: Place, console: Platform) -> tuple[str, ...]:
    names = tuple(element.one_of(BUTTONS) for element in place.elements())
    for name in names:
        if name not in console.buttons:
            raise place.mistake(f"a {console.title} has no button {name}; leave it out")
    if not names or len(set(names)) != len(names):
        raise place.mistake("expected one or more buttons, each once")
    return names


def _relatives(place: Place) -> dict[str, str]:
    for code, title in place.items():
        if not re.fullmatch(r"[A-Z0-9]{3}", code):
            raise place.mistake(f"'{code}' is not the first three letters of a cartridge's code")
        title.text()
    return dict(place.value)


def _timing(place: Place, variables: Variables) -> Timing:
    table = place.table(("hold", "release", "release_random", "until"))
    until = None
    if "until" in table:
        inner = table.get("until").table(("when", "frames", "every"))
        until = Until(
            parse_condition(inner.get("when"), variables),
            inner.get("frames").integer(1, 10_000),
            inner.get("every", 4).integer(1, 10_000),
        )
    return Timing(
        table.get("hold").integer(1, 10_000),
        table.get("release").integer(0, 10_000),
        _range(table.get("release_random", [0, 0]), 10_000),
        until,
    )


def _range(place: Place, most: int) -> tuple[int, int]:
    bounds = [element.integer(0, most) for element in place.elements()]
    if len(bounds) != 2 or bounds[0] > bounds[1]:
        raise place.mistake(f"expected [lowest, highest], found {place.value!r}")
    return bounds[0], bounds[1]


def _sticky(place: Place) -> float:
    probability = place.number(0, 1)
    if probability == 1:
        raise place.mistake("expected a number below 1: at 1 the first button is held for ever")
    return probability


def _rtc(place: Place) -> int:
    moment = place.value
    if not isinstance(moment, datetime.datetime) or moment.tzinfo is None:
        raise place.mistake(f"expected a moment such as 2024-01-01T00:00:00Z, found {moment!r}")
    year = moment.year  # of UTC's, unless that of its own offset is far off already
    if year in range(_YEARS[0] - 1, _YEARS[-1] + 2):
        year = moment.astimezone(datetime.timezone.utc).year
    if year not in _YEARS:
        raise place.mistake(
            f"the year is {year}, but a cartridge's clock has two digits for it; write one from "
            f"{_YEARS[0]} to {_YEARS[-1]}"
        )
    return int(moment.timestamp()) * 1000


def _reset(place: Place, places: Places) -> Reset:
    table = place.table(("idle_frames", "seed"))
    seed = None
    if "seed" in table:
        seed = parse_location(table.get("seed"), places)
        if seed.address is None:
            raise table.get("seed").mistake(
                "the seed is written to an 'address', not behind a pointer"
            )
    return Reset(_range(table.get("idle_frames", [0, 0]), 100_000), seed)


def _start_states(place: Place, folder: Path, console: Platform) -> dict[str, StartState]:
    states = {name: _start_state(name, entry, folder, console) for name, entry in place.items()}
    if not states:
        raise place.mistake("give at least one start state")
    return states


def _start_state(name: str, entry: Place, folder: Path, console: Platform) -> StartState:
    table = entry.table(("frames", "file", "save", "press"))
    where = str(entry.mistake("")).removesuffix(": ")
    if "file" in table:
        for other in ("frames", "save", "press"):
            if other in table:
                raise entry.mistake(f"give either '{other}' or 'file', not both")
        return StartState(name, file=_existing(entry, folder, table, "file"), where=where)
    save = _existing(entry, folder, table, "save") if "save" in table else None
    press: tuple[str, ...] = ()
    if "press" in table:
        try:
            press = parse_presses(table.get("press").text(), console)
        except PipelineError as error:
            raise table.get("press").mistake(str(error)) from None
    frames = (table.get("frames") if save is None else table.get("frames", 0)).integer(0, 1_000_000)
    return StartState(name, frames, save=save, press=press, where=where)


def _existing(entry: Place, folder: Path, table: Table, key: str) -> Path:
    """A file that a start state needs."""
    file = folder / table.get(key).text()
    if not file.is_file():
        kind = "save state" if key == "file" else "in-game save"
        raise entry.mistake(f"there is no {kind} {file}")
    if key == "file" and file.suffix.lower() in (".sav", ".srm"):
        raise entry.mistake(
            f"{file.name} is an in-game save; write '{{save: {file.name}, frames: 600}}', and with "
            "'press' the buttons that lead into the game"
        )
    return file


def _milestones(place: Place, variables: Variables) -> tuple[Milestone, ...]:
    milestones: list[Milestone] = []
    for entry in place.elements():
        table = entry.table(("name", "when", "about"))
        name = table.get("name").text()
        if name in {milestone.name for milestone in milestones}:
            raise entry.mistake(f"the milestone '{name}' is given twice")
        when = parse_condition(table.get("when"), variables)
        milestones.append(Milestone(name, when, about_of(table)))
    return tuple(milestones)


def _reward(place: Place, names: Names) -> Reward:
    keys = ("milestone", "success", "failure", "step", "new_map")
    table, default = place.table(keys), Reward()
    places = {key: table.get(key, getattr(default, key)) for key in keys}
    reward = Reward(
        **{key: one.number(-_LARGEST_REWARD, _LARGEST_REWARD) for key, one in places.items()}
    )
    if reward.new_map and names.maps is None:
        raise place.mistake("'new_map' needs the section names, key maps, to know what a map is")
    return reward
