"""What a model is told: the game once, and a state and its screen with every question."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image

from pipeline.experts.protocol import Questions
from pipeline.games.describing import LEGEND, Describer, map_rows
from pipeline.games.description import GameDescription
from pipeline.settings.expert_fields import Model
from pipeline.shards.format.frames import Frames
from pipeline.shards.format.schema import canonical_json

if TYPE_CHECKING:  # the SDK takes a second
    from anthropic.types import ImageBlockParam, OutputConfigParam, TextBlockParam
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

UNSURE = "unsure"
LONGEST = 40
"""Numbers of an array that a question still holds; a map that is drawn may be larger."""


@dataclass(frozen=True)
class Question:
    """One state, as the model gets it.

    ``key`` is the sha256 of all that decides the answer: model, instructions, text and screen. Two
    questions with the same key are the same question.
    """

    key: str
    text: str
    screen: Frames | None
    """(H,W,3) u8, at the console's own size."""


class Prompt:
    """Instructions and form of the answers for one game and model.

    The instructions are the same in every question, so that the provider's cache can keep them.
    """

    def __init__(self, game: GameDescription, model: Model) -> None:
        self._game = game
        self._model = model
        self._describer = Describer(game)
        self.instructions = instructions(game)
        self.schema = {
            "type": "object",
            "properties": {
                "reason": {"type": "string"},
                "button": {"type": "string", "enum": [*game.buttons, UNSURE]},
            },
            "required": ["reason", "button"],
            "additionalProperties": False,
        }
        decisive = [self.instructions, self.schema, model.effort]
        self.sha256 = hashlib.sha256(canonical_json(decisive).encode()).hexdigest()

    def question(self, state: Mapping[str, Any], screen: Frames | None) -> Question:
        """Ask about a state: int for numbers, (n,) and (n,m) arrays for the rest."""
        text = self._text(state)
        told = hashlib.sha256(canonical_json([self._model.name, self.sha256, text]).encode())
        if screen is not None:
            told.update(repr(screen.shape).encode())
            told.update(screen.tobytes())
        return Question(told.hexdigest(), text, screen)

    def request(self, question: Question, *, cached: bool) -> MessageCreateParamsNonStreaming:
        """What ``messages.create`` takes.

        Args:
            cached: mark the instructions for the provider's cache, where others use them too.
        """
        system: TextBlockParam = {"type": "text", "text": self.instructions}
        if cached:
            system["cache_control"] = {"type": "ephemeral"}
        content: list[TextBlockParam | ImageBlockParam] = [{"type": "text", "text": question.text}]
        if question.screen is not None:
            content.insert(0, picture(question.screen))
        output: OutputConfigParam = {"format": {"type": "json_schema", "schema": self.schema}}
        if self._model.effort is not None:
            output["effort"] = self._model.effort
        return {
            "model": self._model.name or "",
            "max_tokens": self._model.max_tokens,
            "system": [system],
            "messages": [{"role": "user", "content": content}],
            "output_config": output,
        }

    def _text(self, state: Mapping[str, Any]) -> str:
        lines = [self._next_milestone(state)]
        for name in self._game.variables:
            if name not in state:
                continue  # of an older game.yaml, say
            value = state[name]
            if isinstance(value, int):
                lines.append(f"{name}: {value}")
            elif value.size > LONGEST and not self._is_drawn(name):
                continue  # flags, say: what matters of them has a variable of its own
            elif value.ndim == 1:
                lines.append(f"{name}: {' '.join(str(one) for one in value.tolist())}")
            else:
                lines += [f"{name}:", *map_rows(self._game, name, state)]
        return "\n".join(lines)

    def _is_drawn(self, name: str) -> bool:
        terrain = self._game.tools.terrain
        return (
            terrain.map == name
            if terrain is not None
            else self._game.variables[name].window is not None
        )

    def _next_milestone(self, state: Mapping[str, Any]) -> str:
        done, milestones = self._describer.next_milestone(state), self._game.milestones
        following = "none, all are reached" if done == len(milestones) else milestones[done].name
        return f"next milestone: {following}"


def questions_of(
    prompt: Prompt, asked: Questions, rows: Iterable[int]
) -> Iterator[tuple[int, Question]]:
    """The questions about some of the states, with their places; a screen is read as it comes."""
    for i in rows:
        state = {
            name: int(column[i]) if column.ndim == 1 else column[i]
            for name, column in asked.state.items()
        }
        yield i, prompt.question(state, None if asked.screens is None else asked.screens[i])


def instructions(game: GameDescription) -> str:
    """The system prompt: the game, its state's meaning, its milestones, and what to answer."""
    timing = game.timing
    sticky = game.sticky_action_probability
    sticks = f" With probability {sticky:g} the button before is pressed in its place."
    variables = [
        f"- {name}{_shape(variable.shape)}: {variable.about or 'no more is known'}"
        for name, variable in game.variables.items()
    ]
    milestones = [
        f"{number}. {one.name} ({one.when}){': ' + one.about if one.about else ''}"
        for number, one in enumerate(game.milestones, start=1)
    ]
    parts = [
        f"You play {game.title}. Each question shows one moment of it: the screen, and what the "
        "console's memory holds. Say which button is the right one to press now.",
        f"THE GAME\n{game.about}" if game.about else "",
        f"A STEP\nA button is held for {timing.hold} frames and let go for {timing.release}."
        + (sticks if sticky else ""),
        f"BUTTONS\n{', '.join(game.buttons)}",
        "STATE\nNumbers are written as they are, lists with blanks between.\n"
        + "\n".join(variables)
        + (
            f"\nIn place of the map's numbers the state shows {LEGEND}."
            if game.tools.terrain is not None
            else ""
        ),
        "MILESTONES, in their order; the state names the next one\n" + "\n".join(milestones),
        f"THE END\nThe game is won when {game.success}"
        + (f", and lost when {game.failure}." if game.failure else "."),
        "ANSWER\nreason: why, in a dozen words at most. button: the one that leads to the next "
        f"milestone soonest, or '{UNSURE}' if screen and state do not tell. A wrong button is "
        "worse than none.",
    ]
    return "\n\n".join(part for part in parts if part)


def _shape(shape: tuple[int, ...]) -> str:
    return f" ({' by '.join(str(n) for n in shape)} numbers)" if shape else ""


def picture(screen: Frames) -> ImageBlockParam:
    """A content block with a screen (H,W,3) u8 as PNG, without loss."""
    file = io.BytesIO()
    # Level 6 takes 1.6 times as long for a file a quarter smaller; the price is by pixels.
    Image.fromarray(screen).save(file, "PNG", compress_level=2)
    data = base64.b64encode(file.getvalue()).decode()
    return {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": data},
    }
