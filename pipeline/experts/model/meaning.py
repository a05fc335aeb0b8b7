"""What an answer of the model comes to: a button, or the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.experts.model.client import LONGEST_REASON, Reply
from pipeline.experts.model.prompt import UNSURE
from pipeline.shards.format.schema import LabelStatus
from pipeline.system.errors import printable


@dataclass(frozen=True)
class Meaning:
    """What a reply means: a status, and the button if it gives one."""

    status: LabelStatus
    button: str | None
    note: str
    """Why this button, or why none."""
    cut: bool = False
    """The answer ended before it was one; more ``max_tokens`` may fix it."""

    @property
    def lasts(self) -> bool:
        """Whether the same question would be answered so again: such an answer is kept."""
        return self.status != LabelStatus.INVALID or self.cut


def meaning(reply: Reply, buttons: Sequence[str]) -> Meaning:
    """Read an answer; never a button that the model did not name."""
    if reply.stop_reason == "refusal":
        return _none(LabelStatus.REFUSED, "the model refused", reply.explanation)
    if reply.stop_reason == "max_tokens":
        tokens = reply.usage.output_tokens
        why = f"cut off after {tokens} tokens; raise model.max_tokens"
        return Meaning(LabelStatus.INVALID, None, why, cut=True)
    if reply.stop_reason == "model_context_window_exceeded":
        why = "the question and its answer do not fit the model's context"
        return Meaning(LabelStatus.INVALID, None, why, cut=True)
    try:
        told = json.loads(reply.text)
        button, note = told["button"], str(told.get("reason", ""))
    except (ValueError, TypeError, KeyError, AttributeError):
        return _none(LabelStatus.INVALID, "not the form that was asked for", repr(reply.text[:80]))
    if button == UNSURE:
        return _none(LabelStatus.REFUSED, UNSURE, note)
    if button not in buttons:
        return _none(LabelStatus.INVALID, "no button of this game", repr(button))
    return Meaning(LabelStatus.LABELLED, button, _short(note))


def _none(status: LabelStatus, why: str, detail: str) -> Meaning:
    return Meaning(status, None, _short(f"{why}: {detail}" if detail else why))


def _short(text: str) -> str:
    return printable(" ".join(text.split()))[:LONGEST_REASON]
