"""The default game and its expert, played on the real emulator."""

import importlib.util
import random
import statistics
from pathlib import Path

import numpy as np
import pytest

from pipeline.emulator.env import GBAEnv
from pipeline.games.loading import load_game

QUEST = Path(__file__).resolve().parents[2] / "pipeline" / "games" / "quest"
BUTTONS = load_game("quest").buttons


def load_expert():
    spec = importlib.util.spec_from_file_location("quest_expert", QUEST / "expert.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


EXPERT = load_expert()


def plain(state):
    """The state as an expert program gets it: numbers and lists."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in state.items()}


def play(env, seed, choose=EXPERT.act):
    """One game: buttons, states (one more than buttons), the last info."""
    _, info = env.reset(seed=seed)
    buttons, states, ended = [], [plain(info["state"])], False
    while not ended:
        buttons.append(choose(states[-1]))
        _, _, terminated, truncated, info = env.step(BUTTONS.index(buttons[-1]))
        states.append(plain(info["state"]))
        ended = terminated or truncated
    return buttons, states, info


@pytest.fixture(scope="module")
def calm():
    return GBAEnv("quest", sticky_action_probability=0.0)


@pytest.fixture(scope="module")
def sticky():
    return GBAEnv("quest", sticky_action_probability=0.2, max_steps=1000)


@pytest.fixture(scope="module")
def games(calm):
    return [play(calm, seed) for seed in range(100, 112)]


def test_the_expert_wins_every_calm_game_in_150_to_400_steps(games):
    assert all(info["success"] for _, _, info in games)
    lengths = [len(buttons) for buttons, _, _ in games]
    assert min(lengths) >= 150
    assert max(lengths) <= 400


def test_the_expert_wins_nearly_always_when_buttons_stick(sticky):
    infos = [play(sticky, seed)[2] for seed in range(40)]
    assert sum(info["success"] for info in infos) >= 37


def test_milestones_come_in_order(games):
    names = [milestone.name for milestone in load_game("quest").milestones]
    assert len(names) == 10
    for buttons, _, info in games:
        steps = [info["milestones"][name] for name in names]
        assert steps == sorted(steps)
        assert steps[0] > 0
        assert steps[-1] == len(buttons)


def test_buttons_of_one_game_fail_in_others(calm, games):
    buttons = games[0][0]
    for seed in range(200, 206):
        tape = iter([*buttons, *["A"] * 1000])
        assert not play(calm, seed, lambda state, tape=tape: next(tape))[2]["success"]


def test_the_same_seed_and_buttons_give_the_same_game(calm, games):
    again = play(calm, 100)
    assert again[:2] == games[0][:2]


def test_games_differ_in_orb_people_and_encounters(games):
    orbs, battles, ends = set(), set(), set()
    for buttons, states, _ in games:
        meadow = next(s for s in states if s["map_number"] == 17)
        n = meadow["object_kind"].index(EXPERT.ORB)
        orbs.add((meadow["object_x"][n], meadow["object_y"][n]))
        battles.add(states[-1]["battles"])
        ends.add(len(buttons))
    assert len(orbs) >= 5
    assert len(battles) >= 2
    assert len(ends) >= 5


@pytest.mark.parametrize("name", ["fight", "random"])
def test_thoughtless_fighters_mostly_lose(calm, name):
    rng = random.Random(0)

    def choose(state):
        if state["screen"] != EXPERT.BATTLE_MENU:
            return EXPERT.act(state)
        return "A" if name == "fight" else rng.choice(["A", "A", "UP", "DOWN"])

    assert sum(play(calm, seed, choose)[2]["success"] for seed in range(300, 312)) <= 3


def test_money_and_potions_read_right_while_the_save_blocks_move(games):
    for _, states, _ in games:
        shops = [s for s in states if s["in_game"]]
        assert {s["money"] for s in shops} == {3000, 3500, 3800}
        assert {s["potions"] for s in shops} <= set(range(5))
        walked = [s["steps"] for s in shops]
        assert walked == sorted(walked)
        assert walked[-1] > 100


def test_the_save_blocks_really_move_and_are_encrypted_anew(calm):
    _, info = calm.reset(seed=5)
    iwram, ewram = calm.unwrapped.emulator.iwram, calm.unwrapped.emulator.ewram
    places, keys = set(), set()
    for _ in range(80):
        _, _, _, _, info = calm.step(BUTTONS.index(EXPERT.act(plain(info["state"]))))
        block = int.from_bytes(bytes(iwram[0x14:0x18]), "little") - 0x02000000
        places.add(block)
        keys.add(bytes(ewram[block + 0xAC : block + 0xB0]))
    assert len(places) >= 3
    assert len(keys) >= 4
    assert max(places) - min(places) < 128


def test_party_flags_and_facing_are_sane(games):
    for _, states, _ in games:
        for state in states:
            assert state["party_count"] == state["has_partner"]
            assert state["party_hp"][0] <= state["party_max_hp"][0]
            if state["in_game"]:
                assert state["facing"] in EXPERT.FACING
            assert bool(state["in_battle"]) == (state["foe"] > 0)
            assert not state["badge"] or state["leader_beaten"]


def test_the_live_map_agrees_with_the_experts_plan(games):
    """Walls of the window, bits 10 and 11, against the letters of expert.py."""
    for _, states, _ in games[:3]:
        for s in states[2:]:
            plan = EXPERT.MAPS[s["map_group"], s["map_number"]]
            for row, line in enumerate(s["map"]):
                for column, cell in enumerate(line):
                    x, y = s["x"] + column - 7, s["y"] + row - 5
                    if 0 <= y < len(plan) and 0 <= x < len(plan[0]):
                        assert bool(cell & 0xC00) == (plan[y][x] == "#"), (s["map_number"], x, y)


def test_the_expert_answers_every_state_of_a_random_player(calm):
    rng = random.Random(1)
    for seed in (400, 401):
        play_for = iter([*(rng.choice(BUTTONS) for _ in range(400))])
        _, info = calm.reset(seed=seed)
        for button in play_for:
            state = plain(info["state"])
            answer = EXPERT.act(state)
            assert answer in BUTTONS
            assert answer == EXPERT.act(state)
            _, _, ended, _, info = calm.step(BUTTONS.index(rng.choice([answer, button])))
            if ended:
                break


def test_every_tile_of_every_map_has_a_way_to_its_goal():
    goals = {
        EXPERT.BEDROOM: (7, 1),
        EXPERT.HOUSE: (4, 8),
        EXPERT.TOWN: (9, 0),
        EXPERT.LAB: (5, 8),
        EXPERT.ROUTE: (4, 0),
        EXPERT.MEADOW: (20, 0),
        EXPERT.BRIDGE: (9, 5),
        EXPERT.GYM: (5, 2),
        EXPERT.SIDE: (4, 6),
    }
    assert set(goals) == set(EXPERT.MAPS)
    for place, plan in EXPERT.MAPS.items():
        ways = EXPERT.field(place, goals[place])
        open_tiles = {
            (x, y)
            for y, row in enumerate(plan)
            for x, a in enumerate(row)
            if a in '."' and (x, y) != goals[place]
        }
        assert open_tiles <= set(ways), (place, open_tiles - set(ways))


def test_a_lost_battle_is_a_failure_that_the_screen_shows(calm):
    def careless(state):
        return "A" if state["screen"] == EXPERT.BATTLE_MENU else EXPERT.act(state)

    for seed in range(500, 510):
        _, states, info = play(calm, seed, careless)
        if not info["success"]:
            assert states[-1]["screen"] == EXPERT.WHITE_OUT
            assert states[-1]["party_hp"][0] == 0
            return
    pytest.fail("no careless player lost")


def test_lengths_leave_room_for_the_step_limit(sticky):
    lengths = [len(play(sticky, seed)[0]) for seed in range(60, 70)]
    assert statistics.mean(lengths) < 500
