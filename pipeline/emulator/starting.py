"""From what ``game.yaml`` says of a start state to the save state in which episodes begin."""

from __future__ import annotations

from pathlib import Path

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.games.description import StartState, Timing
from pipeline.games.states import PNG, check_start, check_state, read_file
from pipeline.system.errors import PipelineError


def begin(emulator: Emulator, rom: Path, start: StartState, timing: Timing) -> bytes:
    """Bring the console to a start state; the PNG save state of it.

    Raises:
        PipelineError: its file is none of this cartridge; the line names ``game.yaml`` and file.
    """
    kept = check_start(start, rom, emulator.platform)
    if start.file is not None and kept is not None:
        try:
            return _taken_up(emulator, kept)
        except PipelineError as error:
            where = f"{start.where}: " if start.where else ""
            raise PipelineError(f"{where}{start.file}: {error}") from None
    emulator.reset(kept)
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
        return _taken_up(emulator, state)
    except PipelineError as error:
        raise PipelineError(f"{file}: {error}") from None


def _taken_up(emulator: Emulator, state: bytes) -> bytes:
    """The console with a save state in it; the PNG state of it."""
    emulator.load_state(state)
    if state.startswith(PNG):
        return state
    emulator.run(1)
    return emulator.save_state()


def warning_of(emulator: Emulator, rom: Path, file: Path) -> str | None:
    """What is odd about a save state that :func:`load_file` takes: it is of another edition."""
    return check_state(read_file(file), rom, emulator.platform)
