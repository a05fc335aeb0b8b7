"""The stand-in cartridge in a console, once for all tests of a file."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.emulator.env import GBAEnv
from tests.games.emerald.standin import Memory, cartridge


@pytest.fixture(scope="session")
def rom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cartridge(tmp_path_factory.mktemp("emerald") / "standin.gba")


@pytest.fixture(scope="module")
def _env(rom: Path) -> GBAEnv:
    return GBAEnv("emerald", rom, unverified_rom=True)


@pytest.fixture
def env(_env: GBAEnv) -> Iterator[GBAEnv]:
    """At the beginning of an episode, with all of its RAM 0."""
    _env.reset(seed=1)
    Memory(_env.emulator).clear()
    return _env


@pytest.fixture
def memory(env: GBAEnv) -> Memory:
    return Memory(env.emulator)
