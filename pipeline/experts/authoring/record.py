"""The result of an attempt, as ``result.json`` has it, and which attempt is the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.experts.authoring.attempts import Attempt
from pipeline.experts.authoring.verdict import Try, verdict
from pipeline.experts.authoring.written import Answer, Result


@dataclass(frozen=True)
class Judged:
    """An attempt whose program was tried, or whose answer could not be."""

    attempt: Attempt
    result: Result

    @property
    def rate(self) -> float:
        return float(self.result["success_rate"])

    @property
    def rank(self) -> tuple[float, float, int]:
        """The more often and the faster the better; among equals the later one, which knew more."""
        steps = self.result["median_steps"]
        return self.rate, -(steps or 0.0), self.attempt.number

    @property
    def shown(self) -> str:
        told = self.result
        if told["reason"] is not None:
            return f"could not be tried ({told['reason']})"
        return f"reached it in {told['reached']} of {told['episodes']} episodes"

    def accepted(self, accept: float) -> bool:
        return self.result["reason"] is None and self.rate >= accept


def best(judged: Sequence[Judged]) -> Judged | None:
    """The one of the highest rank; None if there is none."""
    return max(judged, key=lambda one: one.rank, default=None)


def result(
    mark: str,
    answer: Answer,
    *,
    program: str | None,
    tries: Sequence[Try],
    reason: str | None,
    accept: float,
) -> Result:
    """The content of ``result.json``.

    Args:
        mark: what the result depends on; under another one the program is tried again.
        program: sha256 of the program, None where the answer holds none.
        reason: why the answer or the program is of no use, None where it could be tried.
    """
    found = verdict(tries)
    low, high = found.interval
    return {
        "mark": mark,
        "sha256": program,
        "model": answer["model"],
        "input_tokens": answer["input_tokens"],
        "output_tokens": answer["output_tokens"],
        "dollars": answer["dollars"],
        "accept": accept,
        "accepted": reason is None and found.rate >= accept,
        "reason": reason,
        "episodes": found.episodes,
        "reached": found.reached,
        "success_rate": found.rate,
        "success_low": low,
        "success_high": high,
        "median_steps": found.median_steps,
        "asked_again": sum(one.again[0] for one in tries),
        "answered_otherwise": sum(one.again[1] for one in tries),
        "tries": [one.row() for one in tries],
    }
