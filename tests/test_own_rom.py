"""Emerald's README, "Bring your own ROM", followed to the letter on a stand-in with its header.

The blocks of commands are the README's own, run in order in an empty folder that holds the user's
files at the README's paths. ``INSTEAD`` is all that is put in place of what stands there:
``--unverified-rom`` behind what names the ROM in each command, as the stand-in cannot have the
ROM's hash; fewer and shorter episodes; and a short training.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.emulator.core import Emulator
from pipeline.games.loading import load_game
from pipeline.rollouts.start_states import library_of
from pipeline.shards.reader import Shard
from tests.games.emerald.standin import Memory, cartridge

ROOT = Path(__file__).parent.parent
SECTION = (
    (ROOT / "pipeline/games/emerald/README.md")
    .read_text()
    .partition("\n## Bring your own ROM\n")[2]
)
SECTION = SECTION.partition("\n## ")[0]
BLOCKS = re.findall(r"^```\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
ERRORS = [block for block in BLOCKS if block.startswith("error: ")]
COMMANDS = [block for block in BLOCKS if block not in ERRORS]
INSTEAD = {
    "--rom path/to/emerald.gba": "--rom path/to/emerald.gba --unverified-rom",
    "--config emerald.yaml": "--config emerald.yaml --unverified-rom",
    "max_steps: 10000": "max_steps: 8",
    "--episodes 20": "--episodes 2",
    "--episodes 50": "--episodes 2",
    "--steps 5000": "--steps 2",
}
PROGRAM = """
def act(state):
    return "UP" if state["in_game"] else "START"
"""
FLAG_CLOCK_SET = 0x51


def follow(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the section says that one has: ROM, expert and a save state."""
    folder = tmp_path_factory.mktemp("owner")
    files = folder / "path/to"
    files.mkdir(parents=True)
    (files / "program.py").write_text(PROGRAM)
    emulator = Emulator(cartridge(files / "emerald.gba"))
    emulator.run(60)
    memory = Memory(emulator)
    memory.enter_game()
    memory.flag(FLAG_CLOCK_SET)
    (files / "emerald.ss1").write_bytes(emulator.save_state())
    return folder


@pytest.fixture(scope="module")
def output(owner: Path) -> str:
    """What the section's commands print, all of them run."""
    commands = "".join(COMMANDS)
    for said, instead in INSTEAD.items():
        assert said in commands, f"the README no longer says {said}"
        commands = commands.replace(said, instead)
    done = follow(commands, owner)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_owner_of_emerald_comes_from_the_rom_to_an_evaluated_network(
    owner: Path, output: str
) -> None:
    assert (owner / "emerald.png").is_file()
    run, shards = owner / "checkpoints/emerald", owner / "datasets/emerald/emerald"
    game = load_game("emerald")
    for stem, first in (("collect", "START"), ("collect-RIVAL_HOUSE", "UP")):
        with Shard(shards / f"{stem}-labelled-v001.h5") as shard:
            assert shard.lengths.tolist() == [8, 8]
            assert shard.column("expert_actions")[0] == game.buttons.index(first)
    assert (run / "final.pt").is_file()
    assert (run / "evaluate.gif").is_file()
    assert all(one.name in output.rpartition("evaluate: done")[2] for one in game.milestones)
    with Shard(shards / "evaluate-raw-v001.h5") as shard:
        assert shard.lengths.tolist() == [8, 8]


def test_a_save_state_of_ones_own_is_begun_in(owner: Path, output: str) -> None:
    library = library_of(owner / "datasets/emerald")
    assert library.milestones() == ["CLOCK_SET"]
    (file,) = library.files("CLOCK_SET")
    with Shard(owner / "datasets/emerald/emerald/collect-RIVAL_HOUSE-raw-v001.h5") as shard:
        assert shard.start_states() == [library.read("CLOCK_SET", file).state]
        assert shard.header.provenance["subtask"] == {"from": "CLOCK_SET", "to": "RIVAL_HOUSE"}
        assert shard.state("in_game").all()


@pytest.mark.parametrize(
    "word", ["nothing is wrong", "new_states", "labels", "checkpoint", "success_rate"]
)
def test_what_the_section_says_is_printed(word: str, output: str) -> None:
    assert word in SECTION
    assert word in output


def test_the_section_counts_variables_and_milestones_rightly() -> None:
    game = load_game("emerald")
    assert f"{len(game.variables)} variables and the {len(game.milestones)} milestones" in SECTION


def test_the_wrong_rom_ends_in_the_line_that_the_section_shows(owner: Path) -> None:
    (line,) = ERRORS
    cartridge(owner / "path/to/ruby.gba", b"POKEMON RUBY", b"AXVE")
    for command in COMMANDS[0].splitlines():
        done = follow(command.replace("emerald.gba", "ruby.gba"), owner)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.split() == line.split()
        assert done.stderr.count("\n") == 1
