"""The expert program: in a process of its own, and every failure is told apart."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.experts.program import ProgramExpert
from pipeline.experts.protocol import Answers, Questions, get_action
from pipeline.shards.format.schema import NO_ACTION, LabelStatus
from pipeline.system.errors import PipelineError

BUTTONS = ("A", "B", "UP", "DOWN")


def _ask(tmp_path: Path, source: str, values: list[int], timeout: float = 30) -> Answers:
    program = tmp_path / "expert.py"
    program.write_text(source)
    with ProgramExpert(program, BUTTONS, timeout) as expert:
        return expert.answer(Questions({"x": np.array(values, np.int16)}))


def test_every_state_gets_its_button(tmp_path: Path) -> None:
    answers = _ask(tmp_path, "def act(s): return 'UP' if s['x'] < 0 else 'A'", [-5, 0, 7, -1])
    assert answers.buttons.tolist() == [2, 0, 0, 2]
    assert set(answers.status.tolist()) == {LabelStatus.LABELLED}


def test_arrays_arrive_as_lists_and_numbers_as_int(tmp_path: Path) -> None:
    program = tmp_path / "expert.py"
    program.write_text(
        "def act(s):\n    assert type(s['n']) is int and s['map'][1] == [3, 4]\n    return 'B'\n"
    )
    with ProgramExpert(program, BUTTONS) as expert:
        columns = {"n": np.array([1], np.uint8), "map": np.array([[[1, 2], [3, 4]]], np.uint16)}
        assert expert.answer(Questions(columns)).buttons.tolist() == [1]


def test_a_failed_answer_is_unlabelled_and_never_a_button(tmp_path: Path) -> None:
    source = """
def act(s):
    if s['x'] == 1: raise ValueError('lost\\nhere')
    if s['x'] == 2: return None
    if s['x'] == 3: return 'JUMP'
    if s['x'] == 4: return {'a': 1}
    return 'A'
"""
    answers = _ask(tmp_path, source, [0, 1, 2, 3, 4, 0])
    assert answers.buttons.tolist() == [0, NO_ACTION, NO_ACTION, NO_ACTION, NO_ACTION, 0]
    assert [LabelStatus(s).name for s in answers.status] == [
        "LABELLED", "FAILED", "REFUSED", "INVALID", "INVALID", "LABELLED",
    ]  # fmt: skip
    assert answers.reasons[1] == "ValueError: lost here, line 3"
    assert answers.reasons[3] == "'JUMP' is not a button of this game"


def test_a_program_that_hangs_costs_one_label(tmp_path: Path) -> None:
    source = "def act(s):\n    while s['x'] == 1: pass\n    return 'A'\n"
    answers = _ask(tmp_path, source, [0, 1, 0], timeout=1)
    assert answers.status.tolist() == [1, LabelStatus.TIMED_OUT, 1]
    assert answers.reasons == {1: "no answer in 1 s"}


def test_a_program_that_dies_costs_one_label(tmp_path: Path) -> None:
    source = "import os\ndef act(s):\n    if s['x']: os._exit(3)\n    return 'A'\n"
    answers = _ask(tmp_path, source, [0, 1, 0, 1, 0])
    assert answers.status.tolist() == [1, 3, 1, 3, 1]


def test_what_a_program_prints_is_no_answer(tmp_path: Path) -> None:
    source = "def act(s):\n    print('\"B\"')\n    return 'A'\n"
    assert _ask(tmp_path, source, [0, 0]).buttons.tolist() == [0, 0]


def test_a_program_that_does_not_load_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        _ask(tmp_path, "import nothing_of_this_name", [0])
    assert str(caught.value) == (
        f"{tmp_path / 'expert.py'}: the expert program does not load "
        "(ModuleNotFoundError: No module named 'nothing_of_this_name', line 1); fix it"
    )


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError) as caught:
        ProgramExpert(tmp_path / "none.py", BUTTONS)
    assert str(caught.value) == (
        f"{tmp_path / 'none.py'}: no expert program there; give one with --expert.path FILE"
    )


def test_what_is_no_file_is_no_program(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.py").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "link.py"):
        with pytest.raises(PipelineError) as caught:
            ProgramExpert(path, BUTTONS)
        assert str(caught.value) == (
            f"{path}: no expert program there; give one with --expert.path FILE"
        )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\xff\xfe", "not a Python file; an expert program is UTF-8 text"),
        (b"#" * (4 << 20) + b"#", "larger than 4 MiB; give a smaller program"),
    ],
)
def test_what_is_no_text_to_read_is_no_program(tmp_path: Path, data: bytes, problem: str) -> None:
    (tmp_path / "expert.py").write_bytes(data)
    with pytest.raises(PipelineError) as caught:
        ProgramExpert(tmp_path / "expert.py", BUTTONS)
    assert str(caught.value) == f"{tmp_path / 'expert.py'}: {problem}"


def test_one_step_of_an_environment_is_asked_about_within_a_time(tmp_path: Path) -> None:
    program = tmp_path / "expert.py"
    program.write_text(
        "def act(s):\n    while s['x'] == 1: pass\n    return 'UP' if s['x'] else None\n"
    )
    screen = np.zeros((160, 240, 3), np.uint8)
    with ProgramExpert(program, BUTTONS) as expert:
        pressed = [get_action(expert, screen, {"state": {"x": x}}, 1.0) for x in (2, 1, 0, 3)]
    assert pressed == [2, None, None, 2]
