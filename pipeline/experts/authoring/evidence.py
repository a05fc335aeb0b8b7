"""What a retry is shown: the best attempt and the last one, and a line on each other one.

Of the two it has all that is known of how they failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby

from pipeline.experts.authoring.prompt import image_block, state_text, text_block
from pipeline.experts.authoring.verdict import Moment, Try, verdict
from pipeline.experts.authoring.written import Block
from pipeline.experts.protocol import PlainState

# Failed episodes that are shown step by step; the others get a line.
SHOWN = 2
_LONGEST_VALUE = 120


def of_tries(name: str, source: str, tries: Sequence[Try]) -> list[Block]:
    """An attempt that was tried and did not reach its milestone often enough."""
    failed = [one for one in tries if not one.reached]
    lines = [
        f"# {name}",
        f"This program reached the milestone in {verdict(tries).reached} of {len(tries)} episodes:",
        f"```python\n{source.rstrip()}\n```",
        *_together(("episode", number, _fate(one)) for number, one in enumerate(tries, 1)),
    ]
    asked, otherwise = (sum(one.again[i] for one in tries) for i in (0, 1))
    if otherwise:
        lines.append(
            f"Asked again about {asked} of its states, out of order and in a fresh process, it "
            f"gave another button for {otherwise} of them: act must depend on the state alone."
        )
    blocks: list[Block] = [text_block("\n".join(lines))]
    for one in _telling(failed):
        number = list(tries).index(one) + 1
        blocks.append(text_block(_story(number, one)))
        if one.film is not None:
            blocks += [text_block("The screen at its end:"), image_block(one.film[-1])]
    return blocks


def of_unusable(name: str, text: str, reason: str) -> list[Block]:
    """An answer that held no program that could be tried."""
    shown = text.strip() or "(nothing)"
    return [
        text_block(f"# {name}\nThis answer could not be used: {reason}\n\nThe answer:\n\n{shown}")
    ]


def others(lines: Sequence[str]) -> list[Block]:
    """What became of the attempts that are not shown, a line each."""
    return [text_block("# Other attempts\n" + "\n".join(lines))] if lines else []


def summary(name: str, tries: Sequence[Try], reason: str | None) -> str:
    """One line on an attempt: how often it reached the milestone, and what stopped it."""
    if reason is not None:
        return f"{name}: could not be used: {reason}"
    reasons = Counter(_kind(one.reason) for one in tries if not one.reached)
    told = "; ".join(f"{n} x {reason}" for reason, n in reasons.most_common(3))
    return f"{name}: reached in {verdict(tries).shown}" + (f"; {told}" if told else "")


def _telling(failed: Sequence[Try]) -> list[Try]:
    """The failed episodes to show: one of each reason first, and none that ended like another."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, one in enumerate(failed):
        kind = _kind(one.reason)
        ranked.append((seen[kind], one.film is None, place))
        seen[kind] += 1
    chosen: list[Try] = []
    for *_, place in sorted(ranked):
        one = failed[place]
        alike = any(one.last[-1:] == other.last[-1:] for other in chosen)
        if not alike and len(chosen) < SHOWN:
            chosen.append(one)
    return chosen


def _kind(reason: str) -> str:
    """A reason without the step at which it struck."""
    step, colon, rest = reason.partition(": ")
    return rest if colon and step.startswith("step ") else reason


def _fate(one: Try) -> str:
    if one.reached:
        return f"reached after {one.steps} steps"
    return f"failed after {one.steps} steps: {one.reason}"


def _together(told: Iterable[tuple[str, int, str]]) -> list[str]:
    """Numbered lines, those that follow one another and say the same as one."""
    lines = []
    for (what, text), same in groupby(told, key=lambda line: (line[0], line[2])):
        numbers = [number for _, number, _ in same]
        if len(numbers) == 1:
            lines.append(f"{what} {numbers[0]}: {text}")
        else:
            lines.append(f"{what}s {numbers[0]} to {numbers[-1]}: {text}")
    return lines


def _story(number: int, one: Try) -> str:
    lines = [f"Episode {number}; variables are named where they changed."]
    before: PlainState = {}
    if one.trail:
        lines += ["Some of its steps:", *_moments(one.trail, before), "Its last steps:"]
        before = one.trail[-1].state
    lines += _moments(one.last, before)
    if one.last:
        lines += ["The state at its end:", state_text(one.last[-1].state)]
    if one.log:
        noted = ((what, int(step), text) for what, step, text in map(_noted, one.log))
        lines += ["The last that it logged:", *_together(noted)]
    return "\n".join(lines)


def _noted(line: str) -> tuple[str, str, str]:
    """A line of a log, ``step 12: TEXT``, in its parts."""
    head, _, text = line.partition(": ")
    what, _, step = head.partition(" ")
    return what, step, text


def _moments(moments: Sequence[Moment], before: PlainState) -> list[str]:
    told = []
    for moment in moments:
        told.append(("step", moment.step, _moment(moment, before)))
        before = moment.state
    return _together(told)


def _moment(moment: Moment, before: PlainState) -> str:
    changed = {
        name: value
        for name, value in moment.state.items()
        if before.get(name) != value and not _is_map(value)
    }
    told = ", ".join(f"{name}={str(value)[:_LONGEST_VALUE]}" for name, value in changed.items())
    button = f" -> {moment.asked}" if moment.asked else ""
    if moment.pressed != moment.asked and moment.pressed is not None:
        button += f" (stuck: {moment.pressed} was pressed)"
    return f"{told or 'nothing changed'}{button}"


def _is_map(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)
