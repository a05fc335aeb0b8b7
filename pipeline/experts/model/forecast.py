"""What a model's labels will cost, before any is asked for."""

from __future__ import annotations

from pipeline.experts.budget import Spent, Usage, cost
from pipeline.experts.model.client import count_tokens, has_key, model_name, open_client
from pipeline.experts.model.estimate import Estimate, countable
from pipeline.experts.model.kept import KeptAnswers
from pipeline.experts.model.loop import Loop
from pipeline.experts.model.prompt import Prompt, Question, questions_of
from pipeline.experts.protocol import Questions
from pipeline.games.description import GameDescription
from pipeline.reports.results import ModelForecast, WayForecast
from pipeline.settings.expert_fields import Budget, ExpertSettings

# Where no answer of this model is kept to go by: its short answer, and the prefix from which
# providers keep one (512 to 4096 tokens, by model).
ANSWER = 60
CACHED_FROM = 1024
# Seconds for counting one question.
PATIENCE = 30.0


def forecast_labels(
    settings: ExpertSettings, game: GameDescription, questions: int, sample: Questions
) -> ModelForecast:
    """What ``questions`` questions would cost, judged by some of them; nothing is asked.

    Raises:
        PipelineError: no model is named, or the key or the model is refused.
    """
    name, prompt = model_name(settings), Prompt(game, settings.model)
    asked = [question for _, question in questions_of(prompt, sample, range(len(sample)))]
    estimate = Estimate(prompt, settings.model)
    told = _count(settings, prompt, estimate, asked[0])
    kept = KeptAnswers(settings.game_folder(game.name), name, prompt.sha256)
    try:
        found = len(kept.find([q.key for q in asked], game.buttons, settings.model.max_tokens))
        before = kept.mean_usage()
    finally:
        kept.close(finished=False)
    worst = _largest([estimate.worst(question) for question in asked])
    usual = before or _expected(settings, estimate, prompt, asked)
    share = 1 - found / len(asked)
    ways = tuple(
        _way(settings, questions, share, usual, worst, batch=batch) for batch in (False, True)
    )
    own = ways[settings.model.batch]
    return ModelForecast(
        questions=questions,
        estimate=told,
        input_tokens=usual.read,
        most_input_tokens=worst.read,
        output_tokens=usual.output_tokens,
        most_output_tokens=worst.output_tokens,
        kept=f"{found} of {len(asked)} looked at",
        dollars=own.dollars,
        most_dollars=own.most_dollars,
        stopped_by=own.stopped_by,
        ways=ways,
    )


def _count(settings: ExpertSettings, prompt: Prompt, estimate: Estimate, question: Question) -> str:
    """Have a question counted, if that is possible; how it was counted."""
    if not has_key():
        return "by size: the environment holds no key to have tokens counted"

    async def count() -> int | None:
        async with open_client(settings, PATIENCE) as client:
            request = countable(prompt.request(question, cached=False))
            return await count_tokens(client, request)

    loop = Loop()
    try:
        tokens = loop.run(count())
    finally:
        loop.close()
    if tokens is None:
        return "by size: tokens could not be counted with this key"
    estimate.calibrate(question, tokens)
    return "one question counted by the provider, the others by their difference in size"


def _largest(usages: list[Usage]) -> Usage:
    return max(usages, key=lambda usage: usage.tokens)


def _expected(
    settings: ExpertSettings, estimate: Estimate, prompt: Prompt, asked: list[Question]
) -> Usage:
    """Of one question; the instructions are read from the provider's cache, where they fit it."""
    read = sum(estimate.most_read(question) for question in asked) // len(asked)
    sizes = len(prompt.instructions), sum(len(q.text) for q in asked) / len(asked)
    prefix = int(read * sizes[0] / (sizes[0] + sizes[1]))
    output = min(ANSWER, settings.model.max_tokens)
    if settings.model.cache and prefix >= CACHED_FROM:
        return Usage(read - prefix, output, cache_read_tokens=prefix)
    return Usage(read, output)


def _way(
    settings: ExpertSettings,
    questions: int,
    share: float,
    usual: Usage,
    worst: Usage,
    *,
    batch: bool,
) -> WayForecast:
    prices = settings.model.prices
    if batch:  # which of a batch finds another's prefix in the cache nobody can say
        usual = Usage(usual.read, usual.output_tokens)
    each, most = cost(usual, prices, batch=batch), cost(worst, prices, batch=batch)
    # What is submitted in a batch counts with its worst case, as nobody knows what it will cost.
    counts = Spent(each * share, round(usual.tokens * share), 1)
    at_most = Spent(most, worst.tokens, 1)
    priced = prices is not None
    return WayForecast(
        way="in batches" if batch else "one by one",
        dollars=questions * share * each if priced else None,
        most_dollars=questions * most if priced else None,
        stopped_by=_limit(settings.budget, questions, at_most if batch else counts, at_most),
    )


def _limit(budget: Budget, questions: int, each: Spent, most: Spent) -> str | None:
    """The first limit that ends it, and after how many questions; the last one needs its worst."""
    reached: list[tuple[int, str]] = []
    for name, limit, usual, worst in (
        ("dollars", budget.dollars, each.dollars, most.dollars),
        ("tokens", budget.tokens, float(each.tokens), float(most.tokens)),
        ("labels", budget.labels, 1.0, 1.0),
    ):
        if limit is None:
            continue
        count = questions
        if worst > limit:
            count = 0
        elif usual > 0:
            count = int((limit - worst) / usual) + 1
        if count < questions:
            reached.append((count, f"budget.{name} ({limit:g})"))
    if not reached:
        return None
    count, name = min(reached)
    return f"{name}, after about {count} of {questions} questions"
