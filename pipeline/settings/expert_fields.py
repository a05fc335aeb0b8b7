"""Settings of who knows the right button: expert, language model, budget, author."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from pydantic import Field, field_validator

from pipeline.settings.run_names import Section
from pipeline.system.errors import PipelineError
from pipeline.system.written_paths import FilePath

Mode = Literal["argmax", "sampled"]
PlayMode = Literal["argmax", "sampled", "unstuck"]


class Expert(Section):
    kind: Literal["program", "model", "policy", "person"] = "program"
    """A program's ``act(state)``, a language model asked for each state, another checkpoint; a
    person cannot be asked yet."""
    path: FilePath | None = None
    """The program's file (none takes the game's ``expert.py``), or the checkpoint."""
    isolation: Literal["auto", "trusted", "bwrap", "monty"] = "auto"
    """Where a program runs. ``auto``: programs that ship with the project are trusted, all others
    run in bwrap; nothing falls back to less. ``monty``, an interpreter of a part of the language
    (``pip install pydantic-monty``), is for containers without user namespaces, where bwrap cannot
    run."""
    timeout: float = Field(60.0, gt=0)
    """Seconds the expert may take for one answer."""
    memory_mb: int = Field(1024, ge=64)
    """Address space of an isolated program."""
    memory: Literal["function", "episode"] = "function"
    """What a program's answer may depend on: the state alone, or (``episode``) also what it was
    asked before in the episode that it plays. Then each episode begins with the program loaded
    anew, and ``label`` cannot ask it."""
    mode: Mode = "argmax"
    """How a checkpoint chooses as expert."""


class Prices(Section):
    """Dollars for a million tokens, as the provider lists them."""

    input: float = Field(ge=0)
    """Of tokens that are sent."""
    output: float = Field(ge=0)
    """Of tokens that come back."""
    cache_write: float | None = Field(None, ge=0)
    """Of tokens written to the provider's cache; none takes 1.25 times ``input``."""
    cache_read: float | None = Field(None, ge=0)
    """Of tokens read from it; none takes 0.1 times ``input``."""
    batch: float = Field(0.5, ge=0)
    """Factor of all of them through the Message Batches API."""


class Model(Section):
    """The language model that labels states (``expert.kind: model``) and writes programs."""

    name: str | None = None
    """The model's id, as the provider lists it."""
    base_url: str | None = None
    """Where the Messages API is; none takes the SDK's own. Without a user or a password: settings
    are stored with what was made by them."""
    prices: Prices | None = None
    """Needed for a budget in dollars and for the cost column."""
    max_tokens: int = Field(1024, ge=1)
    """Longest answer to a question about a state, thoughts included."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How hard the model thinks; none takes its own."""
    concurrency: int = Field(8, ge=1)
    """Questions under way at a time."""
    retries: int = Field(2, ge=0)
    """How often the SDK repeats a question after 408, 409, 429, 5xx or a broken connection."""
    batch: bool = False
    """Ask through the Message Batches API: half price, up to a day; the same command collects."""
    cache: bool = True
    """Mark what all questions share, so that the provider's cache makes it cheaper."""

    @field_validator("base_url")
    @classmethod
    def _holds_no_secret(cls, url: str | None) -> str | None:
        # A PipelineError, as a ValueError's line would show the value.
        if url is not None and ("@" in url or "?" in url):
            raise PipelineError(
                "model.base_url holds a user name, a password or a query; take it out, what a "
                "proxy wants to know goes into the environment variable ANTHROPIC_CUSTOM_HEADERS"
            )
        return url


class Budget(Section):
    """Limits on what a command may spend; each is checked before a question, at its worst."""

    dollars: float | None = Field(None, ge=0)
    """By the prices of ``model.prices``; none sets no limit."""
    tokens: int | None = Field(None, ge=0)
    """Sent and received; none sets no limit."""
    labels: int | None = Field(None, ge=0)
    """Questions about states; none sets no limit."""
    minutes: float | None = Field(None, ge=0)
    """From the start of the command; none sets no limit."""


class ExpertSettings(Protocol):
    """Of all settings those of who knows the right button: `Settings` has them too."""

    @property
    def expert(self) -> Expert: ...
    @property
    def model(self) -> Model: ...
    @property
    def budget(self) -> Budget: ...

    def game_folder(self, game_name: str) -> Path:
        """Where a model's answers are kept."""
        ...


@dataclass(frozen=True)
class ExpertChoice:
    """The same without the others: for rooms that ask an expert."""

    expert: Expert
    model: Model
    budget: Budget
    datasets: Path

    def game_folder(self, game_name: str) -> Path:
        return self.datasets / game_name


class Author(Section):
    milestone: str = "all"
    """The milestone to write a program for, or ``all``, one after the other."""
    episodes: int = Field(10, ge=1)
    """Episodes that judge a program."""
    accept: float = Field(0.8, ge=0, le=1)
    """Success rate from which a program is accepted."""
    attempts: int = Field(5, ge=1)
    """How often a milestone's program is asked for before giving up."""
    candidates: int = Field(1, ge=1)
    """Programs asked for at a time, in each attempt; the best is kept."""
    max_tokens: int = Field(16_000, ge=1)
    """Longest answer of the model."""
    max_steps: int = Field(400, ge=1)
    """Steps that a program has from a milestone's start state to the milestone."""
    seed: int = Field(0, ge=0)
    """Names the sequence of episode seeds; none of them is one of an evaluation."""
    workers: int = Field(0, ge=0)
    """Processes, one emulator each; 0 takes one a core."""
    sticky: float | None = Field(None, ge=0, lt=1)
    """Sticky-action probability; none takes the game's own."""
    answer_timeout: float = Field(5.0, gt=0)
    """Seconds a program may take for a state while it is tried (and never more than
    ``expert.timeout``)."""
    timeout: float = Field(600.0, gt=0)
    """Seconds the model may take for one program."""
    dry_run: bool = False
    """Say what it would cost at most, and ask nothing."""
