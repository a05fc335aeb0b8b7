"""Every setting: typed, validated, documented; defaults live here once.

``Settings`` is what every stage's ``run(settings)`` takes; ``pipeline.settings.reading`` reads it
from YAML.
"""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from pipeline.settings.expert_fields import (
    Author,
    Budget,
    Expert,
    ExpertChoice,
    Model,
    PlayMode,
)
from pipeline.settings.run_names import Owned, Section
from pipeline.system.written_paths import FileName, FilePath

Control = Literal[
    "cloning", "cloning_clean", "cloning_cycles", "cloning_thinned", "cloning_thinned_cycles"
]


class Collect(Section):
    name: str = "collect"
    """Stem of the shard's file name."""
    episodes: int = Field(5, ge=1)
    """Episodes to play."""
    policy: FileName = "expert"
    """Who plays: ``expert``, or the path of a checkpoint."""
    beta: float = Field(1.0, ge=0, le=1)
    """Probability that the expert rather than the checkpoint presses the button of a step."""
    mode: PlayMode = "sampled"
    """How a checkpoint chooses: ``argmax``, the likeliest button; ``sampled``, one drawn by its
    probabilities; ``unstuck``, the likeliest of those less tried on this same picture."""
    workers: int = Field(0, ge=0)
    """Processes, one emulator each; 0 takes one a core."""
    seed: int = Field(0, ge=0)
    """Names the sequence of episode seeds."""
    first: int = Field(0, ge=0)
    """Where in that sequence to begin, so that a later collection repeats no game."""
    round: int | None = Field(None, ge=0)
    """Of the loop that plays, told in the shard; nothing is played otherwise for it."""
    max_steps: int = Field(1000, ge=1)
    """Steps after which an episode is truncated."""
    patience: int = Field(0, ge=0)
    """Truncate after so many steps without a new milestone; 0 never does."""
    start_state: str | None = None
    """Name of a start state in game.yaml, or ``milestone:NAME`` for the states that the library
    has of a milestone; none takes the game's default."""
    sticky: float | None = Field(None, ge=0, lt=1)
    """Sticky-action probability; none takes the game's own."""
    keep_states: bool = False
    """Keep the console at each milestone that is reached, in ``DATASETS/GAME/states/``."""
    keep_states_most: int = Field(100, ge=0)
    """States of a milestone to have at most; 0 sets no bound. Those that were reached in
    collections, in evaluations and in games that choose a checkpoint are counted apart; where more
    are reached, those of the first episodes are kept."""


class Preprocess(Section):
    shards: list[FileName] = []
    """Raw shards to read; empty takes those of the run, ``all`` those of every run."""
    size: int = Field(84, ge=8)
    """Height and width of the frames, in pixels."""
    workers: int = Field(0, ge=0)
    """Threads or processes that resize; 0 takes one a core."""
    validation: float = Field(0.1, ge=0, lt=1)
    """Fraction of the root episodes that goes to the validation split, chosen by hash."""
    drop_null_actions: bool = False
    """Leave out steps whose button changed neither the screen nor the state."""
    drop_broken_episodes: bool = False
    """Leave out episodes that end in neither success, failure nor truncation."""
    reread_state: bool = False
    """Play the recordings again and read the state anew, with the variables of today's game.yaml;
    rewards, milestones and success stay as they were recorded."""


class Train(Section):
    shards: list[FileName] = []
    """Labelled shards to learn from; empty takes those of the run, ``all`` those of every run."""
    max_labels: int = Field(0, ge=0)
    """Learn from only so many labels of the first shard (a budget to compare at); 0 takes all."""
    steps: int = Field(10_000, ge=1)
    """Updates in all, those before an interruption included."""
    batch_size: int = Field(64, ge=1)
    """Labels of one update."""
    learning_rate: float = Field(1e-4, gt=0)
    """Learning rate; with a schedule, its highest value."""
    weight_decay: float = Field(1e-5, ge=0)
    """How much each update shrinks the weights."""
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    """``adamw`` takes the weight decay off the weights themselves instead of the gradient;
    ``muon`` makes the updates of filters orthogonal, at 30 times the learning rate."""
    schedule: Literal["constant", "one_cycle", "cosine"] = "constant"
    """How the learning rate changes over ``steps``."""
    gradient_clip: float = Field(0.0, ge=0)
    """Largest norm of the gradient; 0 leaves it alone."""
    hidden: int = Field(256, ge=1)
    """Width of the last hidden layer."""
    shift: int = Field(0, ge=0, le=3)
    """Random shift of the frames by up to so many pixels each way; a tile of quest is 5.6 wide."""
    brightness: float = Field(0.0, ge=0, le=0.5)
    """Random brightness: a factor of up to so much from 1."""
    cutout: int = Field(0, ge=0, le=42)
    """Cover a random square of so many pixels in each frame."""
    seed: int = Field(0, ge=0)
    """Of the first weights, the order of the labels, and the augmentation."""
    deterministic: bool = False
    """Ask torch for deterministic algorithms only."""
    device: str = "auto"
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` ..."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Autocast type; ``auto`` takes bf16 where the machine has it."""
    workers: int | None = Field(None, ge=0)
    """Processes that read beside the training; 0: the training reads itself; none: chosen by cores
    and data."""
    cache: Literal["auto", "ram", "disk", "none"] = "auto"
    """Keep decoded frames in memory: ``auto`` up to 1 GiB of them, ``ram`` always, ``none`` never
    (this changes the order of batches); ``disk`` is an old name of ``ram``."""
    pool_mb: int = Field(90, ge=1)
    """MiB of decoded frames that are shuffled together, where none are kept in memory."""
    rounds: list[int] = []
    """Learn from the shards of these DAgger rounds only; empty takes all."""
    balance: float = Field(0.0, ge=0, le=1)
    """0 takes the buttons as often as they come, 1 gives each the same weight in the loss."""
    action_weights: dict[str, float] = {}
    """Factor of a button's weight in the loss: ``{A: 2}``."""
    round_weights: dict[int, float] = {}
    """Factor of a DAgger round's weight."""
    shard_weights: dict[str, float] = {}
    """Factor of a shard's weight, by its file name."""
    threads: int = Field(0, ge=0)
    """Torch threads; 0 takes one a core."""
    log_every: int = Field(50, ge=1)
    """Updates between two logged values; each is a mean over them."""
    validate_every: int = Field(500, ge=0)
    """Steps between measurements on the validation split; 0 never."""
    validate_steps: int = Field(4096, ge=0)
    """Steps of the validation split that are looked at each time; 0 takes all."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations in the emulator, which choose ``best.pt``; 0 never."""
    evaluate_episodes: int = Field(20, ge=1)
    """Episodes of each of these evaluations."""
    save_every: int = Field(1000, ge=0)
    """Steps between periodic checkpoints; 0 keeps only best and final."""
    resume: bool = True
    """Carry on from ``last.pt``; false starts again and replaces the run's checkpoints."""
    start_from: FilePath | None = None
    """Checkpoint whose weights the training starts from."""
    keep_optimizer: bool = False
    """Take the optimizer's state from ``start_from`` too."""
    goal_conditioned: bool = False
    """Tell the network which milestone is next, beside showing it the screen."""


class Label(Section):
    shards: list[FileName] = []
    """Processed shards to label; empty takes those of the run, ``all`` those of every run."""
    relabel: bool = False
    """Ask again for steps that already have a label."""
    limit: int = Field(0, ge=0)
    """Ask about at most so many steps of each shard, chosen by ``select``; 0: all."""
    workers: int = Field(0, ge=0)
    """Copies of a program that are asked side by side; 0 takes one a core."""
    repeats: bool = True
    """Ask about a picture that the shard shows again, too; false asks about each picture once, at
    its first step (a student before a wall shows one many times), whatever the answer is."""
    select: Literal["all", "uncertain", "disagree", "novel"] = "all"
    """Which of the steps the ``limit`` goes to: spread evenly, those the student is least sure of,
    those its ensemble (or its dropout) disagrees on, or those least like what is labelled."""
    uncertainty: Literal["entropy", "margin"] = "entropy"
    """Measure of ``uncertain``: entropy over all buttons, or margin between the two likeliest."""
    student: FileName | None = None
    """The checkpoint that ``select`` asks; none takes the run's ``final.pt``."""
    ensemble: list[FileName] = []
    """More checkpoints for ``disagree``; empty takes dropout of the student's features."""
    seed: int = Field(0, ge=0)
    """Seed of the dropout (``disagree`` without an ensemble)."""
    dry_run: bool = False
    """Say what a model's labels would cost at most, and ask nothing."""


class Evaluate(Section):
    checkpoint: FileName | None = None
    """Path of the checkpoint, or ``expert``; none takes the run's ``final.pt``."""
    name: str = "evaluate"
    """Stem of the rollouts' shard and of the report."""
    episodes: int = Field(100, ge=1)
    """Unseen games to play."""
    seed: int = Field(0, ge=0)
    """Names the sequence of episode seeds."""
    purpose: Literal["evaluate", "select"] = "evaluate"
    """Which of the disjoint seed sets: ``select`` is for choosing between checkpoints."""
    mode: PlayMode = "unstuck"
    """How the network chooses, as that of ``collect``."""
    workers: int = Field(0, ge=0)
    """Processes, one emulator each; 0 takes one a core."""
    max_steps: int = Field(1000, ge=1)
    """Steps after which an episode is truncated."""
    patience: int = Field(0, ge=0)
    """Truncate after so many steps without a new milestone; 0 never does."""
    start_state: str | None = None
    """As that of ``collect``."""
    sticky: float | None = Field(None, ge=0, lt=1)
    """Sticky-action probability; none takes the game's own."""
    keep_rollouts: bool = True
    """Publish the rollouts as a raw shard."""
    keep_states: bool = False
    """As that of ``collect``; of an evaluation that was done before, if its rollouts were kept."""
    keep_states_most: int = Field(100, ge=0)
    """As that of ``collect``."""
    video: bool = False
    """Write a GIF of the first episode that succeeded (else of the first)."""


class Dagger(Section):
    rounds: int = Field(10, ge=1)
    """Rounds of play, labels and training; the expert plays the first."""
    episodes: int = Field(5, ge=1)
    """Episodes played in each round."""
    steps: int = Field(10_000, ge=1)
    """Training steps in each round."""
    beta: Literal["first", "linear", "exponential", "constant"] = "first"
    """Schedule of the expert's share: ``first`` is 1 in round 0 and 0 after it."""
    beta_decay: float = Field(0.5, ge=0, le=1)
    """``exponential``: factor a round; ``constant``: the value; ``linear``: decrease a round."""
    evaluate_episodes: int = Field(20, ge=1)
    """Episodes of the evaluation after each round; the last one takes ``evaluate.episodes``."""


class Curriculum(Section):
    network: Literal["one", "each"] = "one"
    """One network for all milestones, or one for each, begun as that of the milestone before."""
    gate: float = Field(0.9, ge=0, le=1)
    """Success rate that the expert must have on a subtask before anyone learns from it there."""
    expert_episodes: int = Field(40, ge=1)
    """Episodes that measure the expert; the states where they arrive are those in which the next
    subtask is judged."""
    limit: float = Field(3.0, ge=1)
    """Steps that an episode has, in medians of the expert's (and 20 more)."""
    target: float = Field(0.95, ge=0, le=1)
    """Success rate at which a subtask is learned."""
    rounds: int = Field(4, ge=1)
    """Rounds of a subtask at most: the expert plays in the first, then the student."""
    episodes: int = Field(12, ge=1)
    """Episodes played in a round."""
    steps: int = Field(400, ge=1)
    """Training steps in a round."""
    last_steps: int = Field(0, ge=0)
    """Training steps on the shards of all subtasks at the end, of one network for all."""
    evaluate_episodes: int = Field(20, ge=1)
    """Episodes after each round, which say whether the target is reached."""
    states: int = Field(40, ge=1)
    """Start states that are kept where a subtask ends: for those who judge, for those who choose,
    and as many of each round. Where more arrive, those of the first episodes are kept."""


class Compare(Section):
    seeds: list[int] = [0, 1, 2]
    """Training seeds; each has demonstrations, rollouts and a network of its own."""
    labels: list[int] = [500, 1000, 2000]
    """Budgets of expert labels, rising; DAgger spends the difference in each round."""
    updates: list[int] = [500, 1000, 2000]
    """Total training steps at each budget; as many numbers as ``labels``."""
    episodes: int = Field(100, ge=1)
    """Unseen games that each network is judged by."""
    rollouts: int = Field(5, ge=1)
    """Episodes that the student plays for each round's labels."""
    demonstrations: int = Field(20, ge=1)
    """Episodes the expert plays, with noise and without; enough for the largest budget."""
    controls: list[Control] = list(get_args(Control))
    """Cloning under the same noise; from clean games; with DAgger's restarts (``cycles``); with as
    many labels an episode as DAgger (``thinned``); both. See ``tests/bench/README.md``."""
    select: list[Literal["uncertain", "disagree", "novel"]] = []
    """Also run DAgger with labels that these selections choose."""


class Settings(Owned):
    game: FileName = "quest"
    """A game's name, or the folder of one."""
    rom: FilePath | None = None
    """The cartridge image; none takes the one that the game brings."""
    unverified_rom: bool = False
    """Play a ROM whose title and code are right though its sha1 is not, with a warning."""
    milestone: str | None = None
    """Only the subtask of the game that ends with this milestone and begins at the one before: who
    plays begins in the start states that the library has of that, or at the game's own start."""
    from_: str | None = Field(None, alias="from")
    """With ``to``, in place of ``milestone``: the subtask begins where this milestone was reached;
    none takes the game's own start."""
    to: str | None = None
    """The milestone that ends the subtask; none takes the game's own end."""
    track: bool = False
    """Log training to Weights & Biases too (``pip install -e '.[track]'``)."""
    collect: Collect = Collect()
    preprocess: Preprocess = Preprocess()
    train: Train = Train()
    label: Label = Label()
    expert: Expert = Expert()
    model: Model = Model()
    budget: Budget = Budget()
    author: Author = Author()
    evaluate: Evaluate = Evaluate()
    dagger: Dagger = Dagger()
    compare: Compare = Compare()
    curriculum: Curriculum = Curriculum()

    def expert_choice(self) -> ExpertChoice:
        """Who knows the right button."""
        return ExpertChoice(self.expert, self.model, self.budget, self.paths.datasets)
