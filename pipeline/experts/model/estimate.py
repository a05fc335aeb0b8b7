"""How many tokens a question takes, before it is put."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from pipeline.experts.budget import Usage
from pipeline.experts.model.prompt import Prompt, Question
from pipeline.settings.expert_fields import Model

if TYPE_CHECKING:  # the SDK takes a second
    from anthropic.types import MessageCountTokensParams
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

# Bounds by experience, not by a promise of the provider: a token of such text has two bytes or
# more, a screen takes a token for 750 pixels (twice that, to be safe), and the form of the answer
# and the frame of the request take some hundred.
BYTES_PER_TOKEN = 2
PIXELS_PER_TOKEN = 375
FRAME = 600


class Estimate:
    """The most that a question reads: by bytes, or from a question that the provider counted.

    Questions differ from one another by their short state alone, so one count serves for all.
    """

    def __init__(self, prompt: Prompt, model: Model) -> None:
        self._instructions = len(prompt.instructions.encode())
        self._model = model
        self._counted: tuple[int, int] | None = None

    @property
    def counted(self) -> bool:
        """Whether the provider counted one; else all is by bytes."""
        return self._counted is not None

    def calibrate(self, question: Question, tokens: int) -> None:
        """Take over that ``question`` has so many input tokens."""
        self._counted = (tokens, len(question.text.encode()))

    def most_read(self, question: Question) -> int:
        """Input tokens at most."""
        size = len(question.text.encode())
        if self._counted is not None:
            tokens, counted_size = self._counted
            return tokens + max(0, size - counted_size) // BYTES_PER_TOKEN + 8
        pixels = (
            0 if question.screen is None else question.screen.shape[0] * question.screen.shape[1]
        )
        return (self._instructions + size) // BYTES_PER_TOKEN + pixels // PIXELS_PER_TOKEN + FRAME

    def worst(self, question: Question) -> Usage:
        """All input written to the provider's cache, where it is used, and the longest answer."""
        read, output = self.most_read(question), self._model.max_tokens
        if self._model.cache:
            return Usage(0, output, cache_write_tokens=read)
        return Usage(read, output)


def countable(request: MessageCreateParamsNonStreaming) -> MessageCountTokensParams:
    """What ``messages.count_tokens`` takes of a request."""
    kept = {key: value for key, value in request.items() if key != "max_tokens"}
    return cast("MessageCountTokensParams", kept)
