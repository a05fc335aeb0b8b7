"""From what ``game.yaml`` says of a start state to the save state in which episodes begin."""

from __future__ import annotations

from pathlib import Path

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.errors import PipelineError
from pipeline.games.description import StartState, Timing
from pipeline.games.states import PNG, check_save, check_state, read_file


def begin(emulator: Emulator, rom: Path, start: StartState, timing: Timing) -> bytes:
    """Bring the console to a start state; the PNG save state of it.

    Raises:
        PipelineError: its file is none of this cartridge; the line names ``game.yaml`` and file.
    """
    file = start.source
    try:
        if start.file is not None:
            return load_file(emulator, rom, start.file)
        save = None if file is None else _save_in(file, emulator, rom)
    except PipelineError as error:
        raise PipelineError(f"{start.where}: {error}" if start.where else str(error)) from None
    emulator.reset(save)
    emulator.run(start.frames)
    for button in start.press:
        emulator.step(KEY_BITS.get(button, 0), timing.hold, timing.release)
    return emulator.save_state()


def load_file(emulator: Emulator, rom: Path, file: Path) -> bytes:
    """Take up a save state of the user's, raw or PNG; the PNG save state of it.

    A raw state carries no picture, so the console runs on for a frame.

    Raises:
        PipelineError: it cannot be read, or is no save state of this cartridge; the file is named.
    """
    state = read_file(file)
    try:
        check_state(state, rom, emulator.platform)
        emulator.load_state(state)
    except PipelineError as error:
        raise PipelineError(f"{file}: {error}") from None
    if state.startswith(PNG):
        return state
    emulator.run(1)
    return emulator.save_state()


def warning_of(emulator: Emulator, rom: Path, file: Path) -> str | None:
    """What is odd about a save state that :func:`load_file` takes: it is of another edition."""
    return check_state(read_file(file), rom, emulator.platform)


def _save_in(file: Path, emulator: Emulator, rom: Path) -> bytes:
    try:
        return check_save(read_file(file, "in-game save"), rom, emulator.platform)
    except PipelineError as error:
        text = str(error)
        raise PipelineError(text if text.startswith(f"{file}: ") else f"{file}: {text}") from None
