"""What labels will cost is foretold, and holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.experts.model.forecast import forecast_labels
from pipeline.experts.model.kept import FILE_NAME
from pipeline.games.loading import load_game
from pipeline.reports.results import ModelForecast
from pipeline.settings.reading import Settings
from pipeline.system.errors import PipelineError
from tests.experts.model.made import answers_of, asking, questions, right, settings_in
from tests.model_server import error


def forecast(settings: Settings, count: int = 100, looked_at: int = 8) -> ModelForecast:
    sample = questions(list(range(looked_at)))
    return forecast_labels(settings, load_game(settings.game), count, sample)


def test_what_is_spent_lies_between_the_expected_and_the_worst(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, model={"max_tokens": 100})
    with asking():
        told = forecast(settings, 20)
        answers, _ = answers_of(settings, list(range(20)))
    assert answers.costs is not None
    spent = float(answers.costs.dollars.sum())
    assert told.dollars is not None
    assert told.most_dollars is not None
    assert told.dollars * 0.5 < spent < told.most_dollars
    assert told.most_output_tokens == 100


def test_a_key_that_may_count_has_one_question_counted(tmp_path: Path) -> None:
    with asking() as server:
        told = forecast(settings_in(tmp_path))
    assert told.estimate.startswith("one question counted by the provider")
    assert [request.path for request in server.requests] == ["/v1/messages/count_tokens"]
    assert not (tmp_path / "datasets").exists()


def test_where_none_is_counted_the_size_decides_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asking(counts=False):
        told = forecast(settings_in(tmp_path))
    assert told.estimate == "by size: tokens could not be counted with this key"
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    told = forecast(settings_in(tmp_path))
    assert told.estimate == "by size: the environment holds no key to have tokens counted"


def test_a_count_is_never_above_the_estimate_by_size(tmp_path: Path) -> None:
    with asking():
        counted = forecast(settings_in(tmp_path))
    with asking(counts=False):
        by_size = forecast(settings_in(tmp_path))
    assert counted.most_input_tokens < by_size.most_input_tokens


def test_batches_cost_half_at_their_worst(tmp_path: Path) -> None:
    with asking():
        told = forecast(settings_in(tmp_path))
        batched = forecast(settings_in(tmp_path, model={"batch": True}))
    ways = told.ways
    assert [way.way for way in ways] == ["one by one", "in batches"]
    assert ways[1].most_dollars == pytest.approx(ways[0].most_dollars / 2)
    assert batched.most_dollars == ways[1].most_dollars


def test_the_limit_that_ends_it_is_named_and_where(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, budget={"labels": 30, "tokens": 10**9})
    with asking():
        told = forecast(settings)
        enough = forecast(settings, 30)
    assert told.stopped_by == "budget.labels (30), after about 30 of 100 questions"
    assert enough.stopped_by is None


def test_answers_that_are_kept_are_counted_and_tell_what_others_will_cost(
    tmp_path: Path,
) -> None:
    settings = settings_in(tmp_path)
    with asking():
        answers, _ = answers_of(settings, [0, 1, 2, 3])
        told = forecast(settings)
    assert told.kept == "4 of 8 looked at"
    assert answers.costs is not None
    mean = float(answers.costs.output_tokens.mean())
    assert told.output_tokens == round(mean)
    assert (settings.game_folder("tiny") / FILE_NAME).exists()


def test_without_prices_tokens_are_all_that_is_known(tmp_path: Path) -> None:
    with asking():
        told = forecast(settings_in(tmp_path, model={"prices": None}))
    assert (told.dollars, told.most_dollars) == (None, None)
    assert told.most_input_tokens > 0


def test_a_model_that_is_gone_is_said_before_anything_is_paid(tmp_path: Path) -> None:
    with asking(right) as server:
        server.intercept = lambda _: error(404, "not_found_error", "model: claude-test")
        with pytest.raises(PipelineError, match=r"^model\.name: the Messages API has no model"):
            forecast(settings_in(tmp_path))
