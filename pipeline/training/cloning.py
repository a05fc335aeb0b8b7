"""Behavioural cloning: the updates of one run, and what is measured and saved between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.loading.augment import Augmentation
from pipeline.loading.dataset import Batch, Steps
from pipeline.loading.selection import Selection
from pipeline.reports.results import TrainResult
from pipeline.settings.fields import Train
from pipeline.system.errors import PipelineError
from pipeline.training.breakdown import NotFinite
from pipeline.training.checkpoint import (
    Checkpoint,
    Inputs,
    load_checkpoint,
    number_of_goals,
    save_checkpoint,
)
from pipeline.training.impala import ImpalaCNN
from pipeline.training.optimising import Cloner, learning_rate, make_optimizer
from pipeline.training.progress import LastUpdates, Progress, summary_of
from pipeline.training.run_folder import (
    Run,
    best_kept,
    remove_checkpoints,
)
from pipeline.training.stopping import finish_the_step, leave_interrupts
from pipeline.training.tracking import Tracker, answers_picture


class Judged(Protocol):
    """The figures of an evaluation that choose ``best.pt``; `EvaluateResult` has them."""

    @property
    def success_rate(self) -> float: ...
    @property
    def milestones_mean(self) -> float: ...
    @property
    def return_mean(self) -> float: ...
    @property
    def length_mean(self) -> float: ...


Evaluator = Callable[[Path], Judged]
"""Plays the checkpoint in a file, and tells how well."""

PICTURED = 12
"""Frames in the picture of answers."""


class Training:
    """The state of one run: network, optimizer, loader, and what was measured so far.

    Args:
        run: where checkpoints and curves go.
        train: settings.
        selection: the steps; closed by `close`.
        inputs: of `inputs_of`; the order of the steps is added.
        device: where the network is computed.
        dtype: bfloat16 or float32, of the network's arithmetic.
        before: the checkpoint that is carried on from; None removes those of an earlier training.

    Raises:
        PipelineError: ``train.start_from`` is of another architecture, or ``track`` without its
            package.
    """

    def __init__(
        self,
        run: Run,
        train: Train,
        selection: Selection,
        inputs: Inputs,
        device: torch.device,
        dtype: torch.dtype,
        before: Checkpoint | None,
    ) -> None:
        self.run, self.folder, self.train = run, run.folder, train
        self.selection, self.inputs, self.device = selection, inputs, device
        torch.manual_seed(self.train.seed)
        self.start = None if before else self._start()
        self.cloner = self._cloner(before or self.start, dtype, with_state=before is not None)
        self.step = before.step if before else 0
        self.saved = self.step if before and before.path == self.folder / "last.pt" else 0
        self.progress = Progress.of(before) if before else Progress()
        if before:
            _set_random_state(before.random_state)
            best = self.progress.best
            self.progress.best = best_kept(self.folder, inputs, best, self.train)
        else:
            remove_checkpoints(self.folder)
        self.loader = selection.loader(
            self.train,
            device.type,
            before.inputs.get("order") if before else None,
            worker_init=leave_interrupts,
        )
        inputs["order"] = self.loader.order
        print(self.loader.plan, flush=True)
        actions = len(selection.headers[0].actions)
        self.last = LastUpdates(self.progress, self.train.log_every, device, actions)
        self.tracker = Tracker(
            self.folder,
            run.name,
            run.settings,
            track=run.track,
            step=self.progress.measured,
        )

    def _start(self) -> Checkpoint | None:
        """The checkpoint of ``start_from``, checked against the shards."""
        path = self.train.start_from
        if path is None:
            return None
        start, header = load_checkpoint(path), self.selection.headers[0]
        pairs = {
            "hidden": (start.hidden, self.train.hidden),
            "actions": (" ".join(start.actions), " ".join(header.actions)),
            "frames": (str(start.frame_contract), str(header.frame_contract)),
            "goals": (" ".join(start.goals) or "none", " ".join(self.selection.goals) or "none"),
        }
        wrong = [f"{name} {is_}, not {due}" for name, (is_, due) in pairs.items() if is_ != due]
        if wrong:
            raise PipelineError(
                f"{path}: another architecture ({'; '.join(wrong)}); fix train.start_from"
            )
        trained_by = start.inputs.get("optimizer", "adam")
        if self.train.keep_optimizer and trained_by != self.train.optimizer:
            raise PipelineError(
                f"{path}: its optimizer is {trained_by}, not {self.train.optimizer}; give "
                f"--train.optimizer {trained_by}, or --train.keep_optimizer false"
            )
        return start

    def _cloner(
        self, checkpoint: Checkpoint | None, dtype: torch.dtype, *, with_state: bool
    ) -> Cloner:
        train, header = self.train, self.selection.headers[0]
        if checkpoint is None:
            contract = header.frame_contract
            network = ImpalaCNN(
                len(header.actions),
                height=contract.height,
                width=contract.width,
                hidden=train.hidden,
                goals=number_of_goals(self.selection.goals),
            )
        else:
            network = checkpoint.network()
        network = network.to(self.device).to(memory_format=torch.channels_last).train()
        optimizer = make_optimizer(
            network,
            kind=train.optimizer,
            rate=train.learning_rate,
            weight_decay=train.weight_decay,
        )
        if checkpoint is not None and (with_state or train.keep_optimizer):
            optimizer.load_state_dict(checkpoint.optimizer)
            for group in optimizer.param_groups:
                group["weight_decay"] = train.weight_decay
        return Cloner(network, self.device, dtype, optimizer, train.gradient_clip)

    def updates(self, evaluator: Evaluator | None) -> None:
        """All updates that are left, with what is due between them.

        Args:
            evaluator: chooses ``best.pt``; None leaves that to the validation split.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; ``last.pt`` holds all updates.
            PipelineError: the training breaks down, or a shard is damaged or gone.
        """
        train = self.train
        with (
            tqdm(total=train.steps, initial=self.step, desc="train", unit="step", disable=None)
            as bar,
            finish_the_step() as interrupt,
        ):  # fmt: skip
            if self.progress.measured < self.step:
                self._measure(bar, evaluator)  # it was stopped in the middle of that
            begun = perf_counter()
            for batch in self.loader.batches(self.step, train.steps):
                self._update(batch)
                bar.update()
                stop = interrupt.is_set()
                if not (stop or self._due()):
                    continue
                self.progress.seconds += perf_counter() - begun
                self._measure(bar, evaluator)
                if stop:
                    self._save("last.pt")
                    raise KeyboardInterrupt
                begun = perf_counter()

    def _update(self, batch: Batch) -> None:
        train = self.train
        frames = batch.frames.to(self.device, non_blocking=True)
        buttons = batch.buttons.to(self.device, non_blocking=True)
        weights, goals = (
            None if one is None else one.to(self.device, non_blocking=True)
            for one in (batch.weights, batch.goals)
        )
        augmentation = Augmentation(train.shift, train.brightness, train.cutout)
        frames = augmentation(frames, seed=train.seed, step=self.step)
        rate = learning_rate(train.schedule, train.learning_rate, self.step, train.steps)
        try:
            self.last.add(*self.cloner.update(frames, buttons, rate, weights, goals))
        except NotFinite as found:
            raise self._broken(self.step + 1, str(found), rate) from None
        self.step += 1

    def _due(self, every: int | None = None) -> bool:
        if every is not None:
            return every > 0 and self.step % every == 0
        train = self.train
        periods = (train.log_every, train.validate_every, train.evaluate_every, train.save_every)
        return self.step == train.steps or any(self._due(period) for period in periods)

    def _measure(self, bar: Any, evaluator: Evaluator | None) -> None:
        """Log, validate, evaluate and save, whatever is due after this step."""
        train, last = self.train, self.step == self.train.steps
        whole = self._due(train.log_every) or last
        trouble = self.last.trouble(self.cloner.network, whole=whole)
        if trouble:
            raise self._broken(self.step, trouble, self._rate())
        if whole:
            shown = self._recent()
            bar.set_postfix(loss=f"{shown['bc_loss']:.3f}", accuracy=f"{shown['accuracy']:.3f}")
            self.tracker.scalars({f"train/{k}": v for k, v in shown.items()}, self.step)
        if train.validate_every and (self._due(train.validate_every) or last):
            self._validate()
        if evaluator is not None and (self._due(train.evaluate_every) or last):
            self._evaluate(evaluator)
        self.progress.measured = self.step
        if self._due(train.save_every):
            self._save(f"step-{self.step:06d}.pt")
            self._save("last.pt")

    def _broken(self, step: int, what: str, rate: float) -> PipelineError:
        last = self.folder / "last.pt"
        kept = "no checkpoint had been written"
        if last.exists():
            kept = f"last.pt, of step {load_checkpoint(last).step}, is kept"
        return PipelineError(
            f"{self.folder}: the training broke down at step {step} of {self.train.steps} ({what}, "
            f"learning rate {rate:.4g}); {kept}; lower train.learning_rate or set "
            "train.gradient_clip, with another --run or --train.resume false"
        )

    def _rate(self) -> float:
        """The learning rate of the last update."""
        train = self.train
        return learning_rate(train.schedule, train.learning_rate, self.step - 1, train.steps)

    def _recent(self) -> dict[str, float]:
        train = self.train
        seconds = max(self.progress.seconds, 1e-9)
        return {
            "bc_loss": self.last.loss(),
            "accuracy": self.last.right() / (len(self.last) * train.batch_size),
            "learning_rate": self._rate(),
            "samples_per_second": self.step * train.batch_size / seconds,
        }

    def _validate(self) -> None:
        steps = self.selection.validation
        if steps is not None:
            batches = self.selection.validation_batches()
            self.progress.validation = self.cloner.agreement(
                (batch.frames, batch.buttons, batch.goals) for batch in batches
            )
            if not math.isfinite(self.progress.validation["loss"]):
                what = f"validation loss {self.progress.validation['loss']:.4g}"
                raise self._broken(self.step, what, self._rate())
            self.tracker.scalars(
                {f"validation/{k}": v for k, v in self.progress.validation.items()}, self.step
            )
            score = [self.progress.validation["agreement"], -self.progress.validation["loss"]]
            self._keep_if_best("validation", score)
        self._picture(steps or self.selection.train)

    def _picture(self, steps: Steps) -> None:
        chosen = np.unique(np.linspace(0, len(steps) - 1, PICTURED).astype(np.int64))
        batch = steps.batch(chosen)
        frames, buttons = batch.frames, batch.buttons
        goals = None if batch.goals is None else batch.goals.to(self.device)
        with torch.inference_mode():
            logits = self.cloner.logits(frames.to(self.device), goals)
        probabilities = torch.softmax(logits.double(), dim=1).cpu().numpy()
        names = self.selection.headers[0].actions
        picture = answers_picture(frames.numpy(), probabilities, buttons.numpy(), names)
        self.tracker.picture("answers", picture, self.step)

    def _evaluate(self, evaluator: Evaluator) -> None:
        if self.saved < self.step:  # else it was stopped in this very evaluation
            self._save("last.pt")
        with torch.random.fork_rng(devices=[]):  # who plays may draw numbers, too
            figures = evaluator(self.folder / "last.pt")
        score = {
            "success_rate": float(figures.success_rate),
            "milestones_mean": float(figures.milestones_mean),
            "return_mean": float(figures.return_mean),
        }
        self.progress.evaluation = {**score, "length_mean": float(figures.length_mean)}
        self.tracker.scalars(
            {f"evaluation/{k}": v for k, v in self.progress.evaluation.items()}, self.step
        )
        self._keep_if_best("evaluation", list(score.values()))

    def _keep_if_best(self, by: str, score: list[float]) -> None:
        """Save best.pt if none had a higher score; only evaluations count where there are any."""
        best = self.progress.best
        if by == "validation" and self.train.evaluate_every:
            return
        if not best or score >= best["score"]:
            self.progress.best = {"by": by, "score": score, "step": self.step}
            self._save("best.pt")

    def finish(self) -> TrainResult:
        """Write ``last.pt`` and ``final.pt``, and ``best.pt`` where nothing has chosen one."""
        progress, selection = self.progress, self.selection
        # Only checkpoints of older pipelines do not know the last updates.
        shown = self._recent() if len(self.last) else {}
        if not progress.best:
            progress.best = {"by": "nothing measured", "score": [], "step": self.step}
            self._save("best.pt")
        result = TrainResult(
            checkpoint=self.folder / "final.pt",
            best=self.folder / "best.pt",
            best_step=progress.best["step"],
            best_by=progress.best["by"],
            steps=self.step,
            shards=tuple(selection.paths),
            labels=len(selection.train),
            parameters=sum(p.numel() for p in self.cloner.network.parameters()),
            device=str(self.device),
            precision=str(self.inputs["precision"]),
            loss=shown.get("bc_loss"),
            accuracy=shown.get("accuracy"),
            validation_labels=len(selection.validation) if selection.validation else 0,
            validation_agreement=progress.validation.get("agreement"),
            success_rate=progress.evaluation.get("success_rate"),
            milestones_mean=progress.evaluation.get("milestones_mean"),
            return_mean=progress.evaluation.get("return_mean"),
            length_mean=progress.evaluation.get("length_mean"),
            samples_per_second=shown.get("samples_per_second"),
            seconds=progress.seconds,
            up_to_date=False,
        )
        progress.summary = summary_of(result)
        self._save("last.pt")
        self._save("final.pt")  # at last: where it is, nothing is left to do
        return result

    def close(self) -> None:
        self.tracker.close()
        self.selection.close()

    def _save(self, name: str) -> None:
        self.tracker.flush()
        self.last.note()
        header, start = self.selection.headers[0], self.start
        seeds = [self.selection.seeds, *([start.trained_seeds] if start else [])]
        cuda = {"cuda": torch.cuda.get_rng_state()} if self.device.type == "cuda" else {}
        checkpoint = Checkpoint(
            weights={k: v.cpu() for k, v in self.cloner.network.state_dict().items()},
            hidden=self.train.hidden,
            frame_contract=header.frame_contract,
            actions=header.actions,
            game=header.game,
            rom_sha1=header.rom_sha1,
            timing=header.timing,
            goals=self.selection.goals,
            step=self.step,
            settings=self.run.settings,
            inputs=self.inputs,
            shard_ids=tuple(one.shard_id for one in self.selection.headers),
            trained_seeds=np.unique(np.concatenate(seeds)),
            optimizer=self.cloner.optimizer.state_dict(),
            random_state={"cpu": torch.get_rng_state(), **cuda},
            metrics=self.progress.kept(),
        )
        save_checkpoint(self.folder / name, checkpoint)


def _set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
