"""Settings: what is wrong in them is said in one line."""

from pathlib import Path

import pytest

from pipeline.__main__ import STAGES, read_overrides
from pipeline.settings.changing import change
from pipeline.settings.fields import Collect, Settings, Train
from pipeline.settings.reading import load_settings
from pipeline.system.errors import PipelineError


def _refusal(path: Path | None = None, **overrides: object) -> str:
    with pytest.raises(PipelineError) as caught:
        load_settings(path, {key.replace("__", "."): value for key, value in overrides.items()})
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_committed_configurations_are_valid() -> None:
    found = sorted(Path("configs").glob("*.yaml"))
    assert found
    for path in found:
        assert load_settings(path).game == "quest"


def test_defaults_are_those_of_the_plan() -> None:
    settings = Settings()
    assert (settings.train.learning_rate, settings.train.weight_decay) == (1e-4, 1e-5)
    assert (settings.train.batch_size, settings.train.hidden) == (64, 256)
    assert (settings.dagger.rounds, settings.dagger.episodes) == (10, 5)
    assert (settings.dagger.steps, settings.collect.max_steps) == (10_000, 1000)


def test_a_yaml_and_the_command_line_lie_upon_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("run: mine\ntrain:\n  steps: 7\n  seed: 3\n")
    settings = load_settings(path, {"train.steps": "9", "train.learning_rate": "1e-3"})
    assert settings.run == "mine"
    assert (settings.train.steps, settings.train.seed) == (9, 3)
    assert settings.train.learning_rate == 1e-3


def test_an_unknown_key_names_the_nearest_valid_one(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("train:\n  stepz: 7\n")
    expected = f"{path}: unknown key 'train.stepz'; the nearest valid one is 'train.steps'"
    assert _refusal(path) == expected
    path.write_text("trian:\n  steps: 7\n")
    assert _refusal(path) == f"{path}: unknown key 'trian'; the nearest valid one is 'train'"


def test_a_value_of_the_wrong_kind_names_its_key(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("train: {steps: many}\n")
    assert _refusal(path).startswith(f"{path}: train.steps is 'many': input should be a valid int")
    message = _refusal(collect__beta=1.5)
    assert message == (
        "the command line: collect.beta is 1.5: input should be less than or equal to 1"
    )


def test_a_missing_configuration_names_the_nearest_file(tmp_path: Path) -> None:
    (tmp_path / "quest.yaml").write_text("run: a\n")
    missing = tmp_path / "qest.yaml"
    assert _refusal(missing) == (
        f"{missing}: cannot read the configuration (No such file or directory); "
        f"did you mean {tmp_path / 'quest.yaml'}?"
    )


def test_broken_yaml_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("run: a\ntrain: [1, 2\ngame: quest\n")
    assert _refusal(path).startswith(f"{path}, line 3: not valid YAML (")
    path.write_text("just words\n")
    assert _refusal(path) == f"{path}: expected sections such as 'train:', found a bare value"


def test_the_stages_own_section_may_be_left_out_on_its_command_line() -> None:
    words = ["--episodes", "40", "--mode=sampled", "--train.steps", "5", "--game", "quest"]
    assert read_overrides("evaluate", words) == {
        "evaluate.episodes": 40,
        "evaluate.mode": "sampled",
        "train.steps": 5,
        "game": "quest",
    }


def test_lists_and_switches_are_read_from_the_command_line() -> None:
    assert read_overrides("train", ["--shards", "a.h5", "b.h5", "--deterministic"]) == {
        "train.shards": ["a.h5", "b.h5"],
        "train.deterministic": True,
    }
    assert read_overrides("train", ["--shards", "a.h5"]) == {"train.shards": ["a.h5"]}


@pytest.mark.parametrize("stage", STAGES)
def test_a_subtask_is_a_setting_of_every_stage(stage: str) -> None:
    ends = read_overrides(stage, ["--from", "left_home", "--to=orb_found"])
    assert ends == {"from": "left_home", "to": "orb_found"}
    settings = load_settings(None, ends)
    assert (settings.milestone, settings.from_, settings.to) == (None, "left_home", "orb_found")


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "author"])
def test_a_milestone_is_a_setting_of_every_stage_but_author(stage: str) -> None:
    one = read_overrides(stage, ["--milestone", "orb_found"])
    assert one == {"milestone": "orb_found"}
    settings = load_settings(None, one)
    assert (settings.milestone, settings.author.milestone) == ("orb_found", "all")


def test_the_author_has_a_milestone_of_its_own() -> None:
    one = read_overrides("author", ["--milestone", "orb_found"])
    assert one == {"author.milestone": "orb_found"}
    settings = load_settings(None, one)
    assert (settings.milestone, settings.author.milestone) == (None, "orb_found")


def test_a_subtask_is_read_from_yaml_and_the_command_line_lies_upon_it(tmp_path: Path) -> None:
    path = tmp_path / "subtask.yaml"
    path.write_text("from: left_home\nto: orb_found\n")
    settings = load_settings(path)
    assert (settings.milestone, settings.from_, settings.to) == (None, "left_home", "orb_found")
    changed = load_settings(path, read_overrides("collect", ["--from", "game_started"]))
    assert (changed.from_, changed.to) == ("game_started", "orb_found")
    path.write_text("milestone: orb_found\n")
    assert load_settings(path).milestone == "orb_found"


def test_a_wrong_end_of_a_subtask_is_named_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "subtask.yaml"
    path.write_text("from: [left_home]\n")
    assert _refusal(path) == f"{path}: from is ['left_home']: input should be a valid string"
    with pytest.raises(PipelineError) as caught:
        read_overrides("collect", ["--form", "left_home"])
    assert str(caught.value) == ("the command line: unknown key '--form'; the nearest is '--from'")
    with pytest.raises(PipelineError) as caught:
        read_overrides("collect", ["--from", "--to", "orb_found"])
    assert str(caught.value) == "the command line: --from needs a value"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--epizodes", "4"],
            "the command line: unknown key '--epizodes'; the nearest is '--episodes'",
        ),
        (["4"], "the command line: '4' has no key; write --key value"),
        (["--episodes"], "the command line: --evaluate.episodes needs a value"),
        (["--episodes", "4", "5"], "the command line: --evaluate.episodes takes one value, not 2"),
    ],
)
def test_a_wrong_option_says_what_would_be_right(words: list[str], message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        read_overrides("evaluate", words)
    assert str(caught.value) == message


def test_of_a_changed_section_only_what_was_given_is_taken() -> None:
    old = load_settings(None, {"collect.sticky": 0.5, "collect.episodes": 9, "train.steps": 5})
    new = change(old, collect=Collect(sticky=None, beta=0.5), subtask=("a", "b"), owner="whose")
    assert new.collect == Collect(sticky=None, beta=0.5, episodes=9)
    assert (new.train, new.from_, new.to, new.owner) == (old.train, "a", "b", "whose")
    assert change(old) == old


def test_changed_settings_leave_the_old_ones_alone() -> None:
    old = Settings()
    new = change(old, run="other", train=Train(steps=5))
    assert (new.run, new.train.steps, new.train.batch_size) == ("other", 5, 64)
    assert (old.run, old.train.steps) == ("default", 10_000)


@pytest.mark.parametrize("subtask", [{"from": "left_home", "to": "orb_found"}, {"milestone": "a"}])
def test_changed_settings_keep_the_subtask(subtask: dict[str, str]) -> None:
    new = change(load_settings(None, subtask), run="other", train=Train(steps=5))
    kept = {"milestone": new.milestone, "from": new.from_, "to": new.to}
    assert kept == {"milestone": None, "from": None, "to": None, **subtask}
