"""The program of an answer, or one line on why there is none."""

from __future__ import annotations

import pytest

from pipeline.experts.authoring.answer import Unusable, program_in

PROGRAM = "def act(state):\n    return 'A'\n"


def block(source: str, kind: str = "python", fence: str = "```") -> str:
    return f"{fence}{kind}\n{source}{fence}\n"


def found(text: str) -> str:
    return program_in(text, "end_turn", most=100)


def test_the_last_block_of_python_counts() -> None:
    first = "def act(state):\n    return 'B'\n"
    shell = block("ls\n", "sh")
    text = f"First {block(first)} but better\n\n{block(PROGRAM)}\nRun it:\n{shell}"
    assert found(text) == PROGRAM
    assert found(block(first, "") + block(PROGRAM, "Python")) == PROGRAM


def test_a_block_without_a_name_will_do_where_there_is_no_other() -> None:
    assert found(f"Here:\n\n{block(PROGRAM, '')}") == PROGRAM


def test_a_block_may_be_indented_as_in_a_list() -> None:
    text = "1. Think.\n2. Write:\n   ```python\n   def act(state):\n       return 'A'\n   ```\n"
    assert found(text) == PROGRAM


def test_backticks_and_line_ends_inside_a_program_do_no_harm() -> None:
    source = 'HELP = """\n```\n"""\n' + PROGRAM
    assert found(block(source, "python", "````")) == source
    assert found(block(PROGRAM).replace("\n", "\r\n")) == PROGRAM


@pytest.mark.parametrize(
    ("text", "stop_reason", "why"),
    [
        ("", "refusal", "the model refused (too wild)"),
        (
            block(PROGRAM),
            "max_tokens",
            "the answer was cut off at 100 tokens; write less, the program above all",
        ),
        (
            "```python\ndef",
            "model_context_window_exceeded",
            "the answer was cut off at the end of the model's context",
        ),
        ("Press A.", "end_turn", "the answer holds no fenced block of Python (```python ... ```)"),
        (
            block("def act(state)\n"),
            "end_turn",
            "the program cannot be used: line 1: expected ':'",
        ),
    ],
)
def test_an_answer_without_a_program_says_why(text: str, stop_reason: str, why: str) -> None:
    with pytest.raises(Unusable) as caught:
        program_in(text, stop_reason, most=100, explanation="too wild")
    assert str(caught.value) == why
