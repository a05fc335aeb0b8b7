"""What the model is asked: the game, the tools and the rules, the goal, and what went wrong before.

A retry is a fresh prompt with the evidence of the best attempt and of the last one, not a growing
conversation: the part that all prompts of a game share comes first and is cached by the provider,
old programs and screens are not read and paid for again and again, and the model is not held to
what it said before. What the other attempts came to stands in a line each.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.experts.authoring.written import Block
from pipeline.experts.protocol import PlainState
from pipeline.experts.tools import tools_text
from pipeline.games.description import GameDescription, Milestone, Variable
from pipeline.games.platforms import PLATFORMS
from pipeline.settings.reading import Settings
from pipeline.shards.format.frames import Frames

if TYPE_CHECKING:  # the SDK takes a second
    from anthropic.types import ImageBlockParam, TextBlockParam
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming


def request(
    settings: Settings,
    game: GameDescription,
    goal: Milestone,
    sights: Sequence[tuple[Frames, PlainState]],
    evidence: Sequence[Block] = (),
) -> MessageCreateParamsNonStreaming:
    """What ``messages.create`` takes, to ask for one program.

    Args:
        sights: screen (H,W,3) u8 and variables of a few of the milestone's start states.
        evidence: of the attempts before this one; see `pipeline.experts.authoring.evidence`.
    """
    shared = text_block(instructions(game, settings))
    if settings.model.cache:
        shared["cache_control"] = {"type": "ephemeral"}
    content: list[Block] = [text_block(_goal(game, goal, settings)), *_examples(sights), *evidence]
    content.append(text_block(_CLOSING))
    asked: MessageCreateParamsNonStreaming = {
        "model": settings.model.name or "",
        "max_tokens": settings.author.max_tokens,
        "system": [shared],
        "messages": [{"role": "user", "content": content}],
    }
    if settings.model.effort is not None:
        asked["output_config"] = {"effort": settings.model.effort}
    return asked


def instructions(game: GameDescription, settings: Settings) -> str:
    """What is the same for every milestone and attempt."""
    noise = sticky(game, settings)
    milestones = [_milestone(number, one) for number, one in enumerate(game.milestones, 1)]
    parts = [
        _TASK.format(title=game.title, console=PLATFORMS[game.platform].title),
        f"# The game\n{game.about.strip()}" if game.about else "",
        "# Buttons\n" + ", ".join(game.buttons),
        "# A step\n" + _step(game) + (_NOISE.format(percent=100 * noise) if noise else ""),
        "# Variables\nstate[NAME] of each, before the step:\n"
        + "\n".join(_variable(one) for one in game.variables.values()),
        _maps(game),
        "# Milestones, in order\n" + "\n".join(milestones),
        "# Tools\nThese functions are there without an import:\n\n" + tools_text(),
        "# Rules\n" + _rules(settings),
        "# Your answer\n" + _FORM,
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def sticky(game: GameDescription, settings: Settings) -> float:
    """The sticky-action probability that programs are tried with."""
    given = settings.author.sticky
    return game.sticky_action_probability if given is None else given


def answer_seconds(settings: Settings) -> float:
    """Seconds a program may take for a state while it is tried."""
    return min(settings.expert.timeout, settings.author.answer_timeout)


_TASK = """\
You write programs that play the {console} game {title}. A program sees the game's variables
as they are in memory, not the screen, and presses one button a step. You write one program for each
milestone of the game; it begins where the milestone before was reached and has to reach its own.
The programs are later asked which button is right in states that other players came to, so the
right button matters in every state that can occur on the way, not only on one path."""

_STEP = """\
A step holds the button for {hold} frames and releases it for {release}{more}; then the state is
read anew and your program is asked again. It may take more than one step until the game takes
notice of a button."""

_NOISE = """
In {percent:g} % of the steps the button of the step before is pressed instead of yours, at random.
Do not count on a button having worked: decide by the state alone."""

_FORM = """\
Think about the way to the goal first, in a few sentences. Then give the whole program as one Python
file in a single fenced block:

```python
def act(state):
    return "A"
```

The last block marked python counts, and nothing outside it."""

_CLOSING = "Write the program for this milestone."


def _rules(settings: Settings) -> str:
    monty = settings.expert.isolation == "monty"
    library = (
        "It runs in Monty, a small interpreter of a part of Python: a few modules of the standard "
        "library (math, re, json among them), no classes of your own, no generators, no match."
        if monty
        else "Any module of the standard library can be imported, and no other."
    )
    return "\n".join(
        [
            "- The file defines act(state) -> str, which returns the name of a button: 'A'.",
            "- state is a dict: numbers are int, arrays are lists, maps are lists of rows.",
            "- act depends on the state alone. It is also asked about single states, out of order "
            "and in other processes: what it remembers between calls must not change its answer.",
            "- An exception, a late answer or anything but a button ends the episode as failed.",
            f"- An answer may take {answer_seconds(settings):g} seconds at most; all of memory is "
            f"{settings.expert.memory_mb} MB.",
            "- It runs in a sandbox: no files, no network, no other processes, no threads.",
            f"- {library}",
            "- Not possible, as programs are joined into one file: 'from MODULE import *', "
            "globals(), locals(), exec, eval.",
        ]
    )


def _step(game: GameDescription) -> str:
    timing, more = game.timing, ""
    if timing.release_random != (0, 0):
        low, high = timing.release_random
        more = f" and {low} to {high} more, by chance"
    if timing.until is not None:
        more += f", and goes on for up to {timing.until.frames} frames until {timing.until.when}"
    return _STEP.format(hold=timing.hold, release=timing.release, more=more)


def _maps(game: GameDescription) -> str:
    maps = game.names.maps
    if maps is None:
        return ""
    numbers = ", ".join(maps.variables)
    told = [f"- {', '.join(map(str, key))}: {name}" for key, name in maps.names.items()]
    return f"# Maps\nBy ({numbers}):\n" + "\n".join(told)


def _variable(one: Variable) -> str:
    kind = one.location.type if one.bit is None else "0 or 1"
    if one.when is not None:
        kind = f"1 while {one.when}, else 0"
    if one.window is not None:
        window = one.window
        kind = (
            f"{window.rows} rows of {window.columns} {one.location.type}; the player is at "
            f"[{window.above}][{window.columns // 2}]"
        )
    elif one.count is not None:
        kind = f"list of {one.count} {kind}"
    return f"- {one.name} ({kind})" + (f": {' '.join(one.about.split())}" if one.about else "")


def _milestone(number: int, one: Milestone) -> str:
    about = f": {' '.join(one.about.split())}" if one.about else ""
    return f"{number}. {one.name} (reached when {one.when}){about}"


def _goal(game: GameDescription, goal: Milestone, settings: Settings) -> str:
    names = [one.name for one in game.milestones]
    before = names[: names.index(goal.name)]
    begins = f"where '{before[-1]}' was just reached" if before else "at the start of the game"
    lines = [
        f"# The milestone\nIt is '{goal.name}', reached when {goal.when}.",
        " ".join(goal.about.split()),
        f"Your program begins {begins} and has {settings.author.max_steps} steps.",
        f"Reached before: {', '.join(before)}." if before else "",
    ]
    return "\n".join(line for line in lines if line)


def _examples(sights: Sequence[tuple[Frames, PlainState]]) -> list[Block]:
    """Start states with their screens; of the later ones what differs from the first."""
    blocks: list[Block] = []
    for number, (screen, state) in enumerate(sights, 1):
        first = sights[0][1] if number > 1 else {}
        told = {name: value for name, value in state.items() if first.get(name) != value}
        if told:
            title = f"Start state {number}" + (", as the first one but for" if first else "")
            blocks += [text_block(f"{title}:\n{state_text(told)}"), image_block(screen)]
    return blocks


def state_text(state: Mapping[str, Any]) -> str:
    """The variables as JSON, maps a row a line."""
    told = []
    for name, value in state.items():
        if isinstance(value, list) and value and isinstance(value[0], list):
            rows = ",\n  ".join(json.dumps(row, separators=(",", ":")) for row in value)
            told.append(f'"{name}": [\n  {rows}]')
        else:
            told.append(f'"{name}": {json.dumps(value, separators=(",", ":"))}')
    return "{" + ", ".join(told) + "}"


def text_block(text: str) -> TextBlockParam:
    """A part of a message: text."""
    return {"type": "text", "text": text}


def image_block(screen: Frames) -> ImageBlockParam:
    """A screen at its own size, as PNG."""
    file = io.BytesIO()
    Image.fromarray(screen).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode()
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": data},
    }
