"""A game as a Gymnasium environment: the screen in, one of the console's buttons out."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

import gymnasium
import numpy as np
from numpy.typing import NDArray

from pipeline.emulator.core import KEY_BITS, Emulator
from pipeline.emulator.ram import State, StateReader
from pipeline.emulator.starting import begin
from pipeline.games.checked import nearest
from pipeline.games.conditions import Condition, Conditions
from pipeline.games.description import GameDescription, Until
from pipeline.games.identity import find_cartridge
from pipeline.games.loading import load_game
from pipeline.games.platforms import PLATFORMS
from pipeline.shards.format.codec import crc32
from pipeline.system.errors import PipelineError


class Info(TypedDict):
    """What a reset and a step tell beside the screen."""

    state: State
    """Every variable of the game, before the next step."""
    milestones: dict[str, int]
    """Name -> number of steps after which it was first reached, or -1.

    One that already holds at the reset has 0 and is not rewarded."""
    success: bool
    """Whether the game is won."""
    action: int
    """The button that was pressed, after stickiness; -1 after a reset."""


class GBAEnv(gymnasium.Env[NDArray[np.uint8], np.int64]):
    """One emulator that plays one game.

    Observation: the screen, (160,240,3) u8, or (144,160,3) of a Game Boy or Game Boy Color.
    Action: index into ``game.buttons``. One step holds the button for ``game.timing.hold`` frames
    and nothing for ``game.timing.release`` frames; with the sticky-action probability it presses
    the button of the step before instead (as in the Arcade Learning Environment). A game may ask
    for more frames, at random or until a condition holds (``release_random`` and ``until``, see
    :class:`pipeline.games.description.Timing`).

    An episode is a function of (start state, seed, actions): the seed draws the idle frames before
    step 0, the stickiness and the random frames, and its low 32 bits are written where the game
    takes its own randomness from. The reward for a new map is given once a map and episode, and
    never for the one of step 0. ``info`` is an :class:`Info`.

    Args:
        game: name of a game, folder of one, or its description.
        rom: cartridge image; None takes the game's own.
        render_mode: None or "rgb_array".
        sticky_action_probability, max_steps: None takes the game's own.
        unverified_rom: play a ROM whose title and code are right though its hash is not, with a
            warning; ``game.rom_sha1`` is then its own.

    Raises:
        PipelineError: no such game, no ROM, another ROM, a value out of range, or mGBA is not
            installed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}

    def __init__(
        self,
        game: str | Path | GameDescription = "quest",
        rom: str | Path | None = None,
        render_mode: str | None = None,
        sticky_action_probability: float | None = None,
        max_steps: int | None = None,
        unverified_rom: bool = False,
    ) -> None:
        described = game if isinstance(game, GameDescription) else load_game(game)
        if render_mode not in (None, "rgb_array"):
            raise PipelineError(f"render_mode is {render_mode!r}; give None or 'rgb_array'")
        self.render_mode = render_mode
        self.game, self.rom = find_cartridge(
            described, None if rom is None else Path(rom), unverified=unverified_rom
        )
        timing = self.game.timing
        self.metadata = {**self.metadata, "render_fps": 60 / (timing.hold + timing.release)}
        self.sticky_action_probability = (
            self.game.sticky_action_probability
            if sticky_action_probability is None
            else sticky_action_probability
        )
        self.max_steps = self.game.max_steps if max_steps is None else max_steps
        if not 0 <= self.sticky_action_probability < 1 or self.max_steps < 1:
            raise PipelineError(
                f"sticky_action_probability is {self.sticky_action_probability} and max_steps "
                f"{self.max_steps}; the first must be from 0 to below 1, the second at least 1"
            )
        console = PLATFORMS[self.game.platform]
        screen = console.height, console.width, 3
        self.observation_space = gymnasium.spaces.Box(0, 255, screen, np.uint8)
        self.action_space = gymnasium.spaces.Discrete(len(self.game.buttons))
        self.emulator = Emulator(self.rom, self.game.rtc_ms, console, sound=self.game.sound)
        self._reader = StateReader(self.game, self.emulator)
        self._keys = tuple(KEY_BITS[button] for button in self.game.buttons)
        shapes = {name: variable.shape for name, variable in self.game.variables.items()}
        texts = [milestone.when for milestone in self.game.milestones]
        texts += [self.game.success, self.game.failure or "False"]
        self._conditions = Conditions([Condition(text, shapes) for text in texts])
        self._answers: tuple[bool, ...] = ()
        until, maps = self.game.timing.until, self.game.names.maps
        self._until = None if until is None else Condition(until.when, shapes)
        self._on_a_map = Condition((maps and maps.when) or "True", shapes)
        self._visited: set[tuple[int, ...]] = set()
        self._start_states: dict[str, bytes] = {}
        self._state: State = {}
        self._milestones: dict[str, int] = {}
        self._steps = -1  # until an episode is begun
        self._last_action = -1
        self._closed = False

    def start_state(self, name: str | None = None) -> bytes:
        """The save state in which an episode begins, as ``Emulator.load_state`` takes it.

        Raises:
            PipelineError: the game has no start state of that name, or its file is none of this
                cartridge.
        """
        states = self.game.start_states
        name = next(iter(states)) if name is None else name
        if name not in states:
            raise PipelineError(
                f"{self.game.name} has no start state '{name}'; the nearest one is "
                f"'{nearest(name, states)}'"
            )
        if name not in self._start_states:
            made = begin(self.emulator, self.rom, states[name], self.game.timing)
            self._start_states[name] = made
        return self._start_states[name]

    # Gymnasium calls ``info`` a dict; here its keys are known.
    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.uint8], Info]:
        """Begin an episode; ``options={"start_state": NAME}`` chooses where.

        ``options={"state": BYTES}`` begins in a save state that :meth:`start_state` once gave,
        whatever the description says of start states today.

        Raises:
            PipelineError: an unknown option or start state, or one of another cartridge.
            gymnasium.error.ClosedEnvironmentError: after :meth:`close`.
        """
        self._refuse_if_closed()
        super().reset(seed=seed)
        chosen = dict(options or {})
        name, state = chosen.pop("start_state", None), chosen.pop("state", None)
        if chosen:
            raise PipelineError(
                f"unknown reset option '{next(iter(chosen))}'; there are 'start_state' and 'state'"
            )
        if name is not None and state is not None:
            raise PipelineError("the reset options 'start_state' and 'state' exclude each other")
        game_seed = int(self.np_random.integers(1 << 32)) if seed is None else seed & 0xFFFFFFFF
        self.emulator.load_state(self.start_state(name) if state is None else state)
        place = self.game.reset.seed
        if place is not None and place.address is not None:
            self.emulator.write(place.address, game_seed, place.size)
        low, high = self.game.reset.idle_frames
        self.emulator.run(int(self.np_random.integers(low, high + 1)))
        self._steps, self._last_action = 0, -1
        self._state = self._reader.read()
        self._milestones = {milestone.name: -1 for milestone in self.game.milestones}
        self._answers = ()
        self._mark_milestones()
        self._visited.clear()
        self._is_new_map()
        return self.emulator.screen(), self._info(success=False)

    def step(  # type: ignore[override]
        self, action: np.int64 | int
    ) -> tuple[NDArray[np.uint8], float, bool, bool, Info]:
        """Press a button; the class says what a step does.

        Raises:
            ValueError: no such button; also where ``action`` is not a whole number.
            gymnasium.error.ResetNeeded: no episode was begun.
            gymnasium.error.ClosedEnvironmentError: after :meth:`close`.
        """
        self._refuse_if_closed()
        action = self._button(action)
        if self._steps < 0:
            raise gymnasium.error.ResetNeeded("call reset() before the first step()")
        if self._last_action >= 0 and self.np_random.random() < self.sticky_action_probability:
            action = self._last_action
        self._last_action = action
        timing, reward = self.game.timing, self.game.reward
        release = timing.release
        if timing.release_random != (0, 0):
            low, high = timing.release_random
            release += int(self.np_random.integers(low, high + 1))
        self.emulator.step(self._keys[action], timing.hold, release)
        self._steps += 1
        self._state = self._reader.read()
        if timing.until is not None:
            self._go_on(timing.until)
        total = reward.step + reward.milestone * self._mark_milestones()
        if reward.new_map and self._is_new_map():
            total += reward.new_map
        success, failure = self._answers[-2], self._answers[-1] and not self._answers[-2]
        total += reward.success * success + reward.failure * failure
        truncated = self._steps >= self.max_steps
        return (
            self.emulator.screen(),
            float(total),
            success or failure,
            truncated,
            self._info(success=success),
        )

    @property
    def state(self) -> State:
        """Every variable of the game as it is now."""
        return self._state

    @property
    def reached(self) -> list[str]:
        """The milestones of this episode that are reached by now, in the game's order."""
        return [name for name, step in self._milestones.items() if step >= 0]

    def ram_crc32(self) -> int:
        """CRC32 of the console's blocks of RAM, in their order, as they are now; about 10 us."""
        checksum = 0
        for block in self.emulator.ram:
            checksum = crc32(memoryview(block), checksum)
        return checksum

    def render(self) -> NDArray[np.uint8] | None:
        """The screen, (height,width,3) u8, if ``render_mode`` is "rgb_array"."""
        return self.emulator.screen() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """End the environment: no step and no reset after this."""
        self._closed = True
        super().close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise gymnasium.error.ClosedEnvironmentError(
                "the environment is closed; make another one"
            )

    def _button(self, action: Any) -> int:
        """The action as an index; a float or a boolean is a mistake of whoever chose it."""
        try:
            if isinstance(action, (bool, np.bool_)):
                raise TypeError
            button = operator.index(action)
        except TypeError:
            raise ValueError(
                f"the action is {action!r}, which is not a whole number; "
                f"{self.game.name} has the buttons 0..{len(self._keys) - 1}"
            ) from None
        if not 0 <= button < len(self._keys):
            raise ValueError(
                f"there is no button {button}; {self.game.name} has 0..{len(self._keys) - 1}"
            )
        return button

    def _go_on(self, until: Until) -> None:
        """Run on until the condition holds, or its frames are spent; only the last is drawn."""
        left, condition = until.frames, self._until
        if condition is None or condition.holds(self._state):
            return
        while left > 1:
            part = min(until.every, left - 1)
            self.emulator.skip(part)
            left -= part
            if condition.holds(self._reader.read()):
                break
        self.emulator.run(1)
        self._state = self._reader.read()

    def _is_new_map(self) -> bool:
        """Whether the player is on a map that is new in this episode; notes the map."""
        maps, state = self.game.names.maps, self._state
        if maps is None or not self._on_a_map.holds(state):
            return False
        place = tuple([int(state[name]) for name in maps.variables])
        new = place not in self._visited
        self._visited.add(place)
        return new

    def _mark_milestones(self) -> int:
        """Ask the conditions, and note the milestones reached by now; how many are new."""
        answers = self._conditions.hold(self._state)
        if answers is self._answers:
            return 0
        self._answers = answers
        new = 0
        for milestone, reached in zip(self.game.milestones, answers, strict=False):
            if reached and self._milestones[milestone.name] < 0:
                self._milestones[milestone.name] = self._steps
                new += 1
        return new

    def _info(self, *, success: bool) -> Info:
        return {
            "state": self._state,
            "milestones": dict(self._milestones),
            "success": success,
            "action": self._last_action,
        }


def make_env(
    game: str | Path | GameDescription = "quest",
    *,
    rom: str | Path | None = None,
    render_mode: str | None = None,
    sticky_action_probability: float | None = None,
    max_steps: int | None = None,
    unverified_rom: bool = False,
) -> GBAEnv:
    """A game to play: a :class:`GBAEnv`, which says what the arguments mean and what is raised.

    Without the wrappers that ``gymnasium.make`` puts around one.
    """
    return GBAEnv(game, rom, render_mode, sticky_action_probability, max_steps, unverified_rom)
