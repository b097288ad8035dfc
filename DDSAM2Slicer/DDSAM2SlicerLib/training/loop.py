"""The pretraining loop: stages, averaged weights, checkpoints that resume to the step (layer: training)."""

from __future__ import annotations

import csv
import logging
import math
import time
from copy import deepcopy
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from ..core.errors import SettingsError
from ..model.architectures import build_model
from ..model.checkpoint import load_model
from .config import Recipe, Stage
from .data import Pool
from .graphs import RecordedSteps
from .prompts import Batch
from .refining import refiner_loss
from .rollout import clip_loss
from .validation import validate, validation_clips

LOG = logging.getLogger(__name__)


class Objective(nn.Module):
    """The network with its loss as ``forward``, which is the shape that Fabric wraps for one or many devices."""

    def __init__(self, model: nn.Module, stage: Stage) -> None:
        """Keep the network; ``stage`` changes."""
        super().__init__()
        self.model = model
        self.stage = stage

    def forward(
        self, frames: torch.Tensor, masks: torch.Tensor, steps: torch.Tensor, kind: str, generator: torch.Generator
    ) -> torch.Tensor:
        """Return the scalar loss of the parts of a ``Batch``: Fabric converts tensors but no frozen classes."""
        batch = Batch(frames, masks, steps, kind)
        model, stage = self.model, self.stage
        if stage.alone:
            return refiner_loss(model.refiner, model.mask_prior, batch, stage.loss, generator, stage.corrected)
        return clip_loss(model, batch, stage.loss, generator)


class Trainer:
    """Runs a recipe in a folder; starting it again there goes on where it was."""

    def __init__(
        self, recipe: Recipe, folder: Path, num_workers: int = 1, accelerator: str = "auto", devices: int = 1
    ) -> None:
        """Build or resume.

        Args:
            recipe: What to train.
            folder: Where checkpoints, log and sheets go.
            num_workers: Processes per device that generate clips; 0 generates in the training process.
            accelerator: cpu, cuda, mps or auto.
            devices: How many devices, or processes on the CPU, share each step; more than one needs torchrun.

        Raises:
            SettingsError: If a stage that is limited in minutes shall run on several devices.
        """
        if devices > 1 and any(stage.minutes for stage in recipe.stages):
            msg = f"Stages limited in minutes run on one device, not on {devices}: clocks differ. Give steps only."
            raise SettingsError(msg)
        self.recipe, self.folder, self.num_workers = recipe, folder, num_workers
        folder.mkdir(parents=True, exist_ok=True)
        # Each kind of prompt leaves some weights without a gradient.
        strategy = DDPStrategy(find_unused_parameters=True) if devices > 1 else "auto"
        self.fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, precision=recipe.precision)
        self.fabric.launch()
        self.fabric.seed_everything(recipe.seed + self.fabric.global_rank)
        self.model = build_model(recipe.spec)
        if recipe.start:
            start_from(self.model, recipe.start)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(recipe.trains != "refiner" or name.startswith("refiner."))
        self.average = deepcopy(self.model).eval()
        groups = decay_groups(self.model, recipe.weight_decay)
        self.unwrapped = Objective(self.model, recipe.stages[0])  # Fabric's wrapper takes no attributes
        is_on_gpu = self.fabric.device.type == "cuda"
        self.objective, self.optimizer = self.fabric.setup(
            self.unwrapped, torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), fused=is_on_gpu)
        )
        self.may_replay = is_on_gpu and self.fabric.world_size == 1
        self.recorded: RecordedSteps | None = None
        self.average.to(self.fabric.device)
        self.step = 0
        self.stage, self.stage_step, self.seconds = 0, 0, 0.0  # where in which stage, and how long it has taken
        if self.checkpoint_path.exists():
            self._resume()

    @property
    def checkpoint_path(self) -> Path:
        """File that holds everything needed to go on."""
        return self.folder / "checkpoint.pt"

    def run(self) -> None:
        """Train what is left of all stages."""
        for number in range(self.stage, len(self.recipe.stages)):
            if number > self.stage:
                self.stage, self.stage_step, self.seconds = number, 0, 0.0
            self._run_stage(self.recipe.stages[number])
        self.save()

    def _run_stage(self, stage: Stage) -> None:
        """Train one stage from wherever the run stands."""
        if is_over(stage, self.stage_step, self.seconds):
            return
        for model in (self.model, self.average):
            set_image_size(model, stage.clip.size)
        self.unwrapped.stage = stage
        seed = self.recipe.seed + 7919 * (self.step - self.stage_step)
        scenes_seen = self.stage_step * stage.fresh_per_step
        pool = Pool(stage, seed, scenes_seen, self.num_workers, self.fabric.global_rank, self.fabric.device)
        self.recorded = None  # another stage takes other steps
        LOG.info("stage %s: from its step %d of %d on", stage.name, self.stage_step, stage.steps)
        started, running = time.monotonic() - self.seconds, None
        while not is_over(stage, self.stage_step, self.seconds):
            loss = self._train_step(pool.draw(), stage, pool.generator)
            running = loss if running is None else 0.98 * running + 0.02 * loss  # a tensor: nothing waits for it
            self.step, self.stage_step = self.step + 1, self.stage_step + 1
            self.seconds = time.monotonic() - started
            if self.step % 50 == 0:
                rate = self.optimizer.param_groups[0]["lr"]
                LOG.info("step %d  loss %.4f  after %.0f s  lr %.1e", self.step, float(running), self.seconds, rate)
            if self.step % self.recipe.save_every == 0:
                self.save()
            if self.step % self.recipe.validate_every == 0 or is_over(stage, self.stage_step, self.seconds):
                self._validate(stage, float(running))

    def _train_step(self, batch: Batch, stage: Stage, generator: torch.Generator) -> torch.Tensor:
        """Take one optimiser step; returns the loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(stage, self.stage_step, self.seconds)
        self.model.train(self.recipe.trains != "refiner")  # what is frozen runs as in use
        if self.may_replay and batch.kind == "mask" and not stage.corrected:
            loss = self._replay(batch, generator)
        else:
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._learn_from(batch, generator)
        norm = self.fabric.clip_gradients(
            self.objective, self.optimizer, max_norm=self.recipe.gradient_clip, error_if_nonfinite=False
        )
        if torch.isfinite(norm):  # one overflow must not spoil the weights
            self.optimizer.step()
            self._update_average()
        return loss

    def _learn_from(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """Run the model forwards and backwards; returns the loss."""
        parts = (part.to(self.fabric.device) for part in batch.tensors)
        loss = self.objective(*parts, batch.kind, generator)
        self.fabric.backward(loss)
        return loss.detach()

    def _replay(self, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """Let the GPU go by itself through what every step of clips given as masks does; the gradients are set."""
        if self.recorded is None:
            parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
            self.recorded = RecordedSteps(parameters, lambda kept: self._learn_from(kept, generator))
        return self.recorded.run(batch)

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the averaged weights towards the current ones; early on quickly, so that they forget the start."""
        decay = min(self.recipe.average_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)

    def _validate(self, stage: Stage, loss: float) -> None:
        """Measure the averaged weights on fixed clips and append a row to ``log.csv``."""
        if not self.fabric.is_global_zero:
            return
        clips = validation_clips(stage.clip, self.num_workers)
        figures = {
            "step": self.step,
            "stage": stage.name,
            "loss": round(loss, 4),
            **validate(self.average, clips, self.folder, self.step, stage.alone),
        }
        LOG.info("validation %s", figures)
        path = self.folder / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(figures))
            if is_new:
                writer.writeheader()
            writer.writerow(figures)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if not self.fabric.is_global_zero:
            return
        state = {
            "step": self.step,
            "stage": self.stage,
            "stage_step": self.stage_step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        partial = self.checkpoint_path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self.checkpoint_path)

    def _resume(self) -> None:
        """Load the checkpoint of this folder."""
        state = torch.load(self.checkpoint_path, map_location=self.fabric.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.stage, self.stage_step = state["step"], state["stage"], state["stage_step"]
        self.seconds = state["seconds"]
        LOG.info("resumed at step %d", self.step)


def start_from(model: nn.Module, path: str) -> None:
    """Load exported weights of the same architecture; a refiner that the file does not have keeps its random start.

    Raises:
        SettingsError: If the file's network is another one.
    """
    stored = load_model(path)
    if stored.ddsam2_spec.name != model.ddsam2_spec.name:
        msg = f"{path} is {stored.ddsam2_spec.name} and cannot start a recipe for {model.ddsam2_spec.name}."
        raise SettingsError(msg)
    model.load_state_dict({**model.state_dict(), **stored.state_dict()})


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split parameters for AdamW: matrices and kernels decay; biases, norms and the prior's gain do not."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    kept = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]


def is_over(stage: Stage, index: int, seconds: float) -> bool:
    """Whether a stage that has run so many steps and seconds is done."""
    return index >= stage.steps or seconds >= stage.limit_s


def learning_rate(stage: Stage, index: int, seconds: float = 0.0) -> float:
    """Return the rate of step ``index`` of a stage: linear warm-up, then half a cosine over its steps or minutes."""
    if index < stage.warmup:
        return stage.learning_rate * (index + 1) / stage.warmup
    progress = max((index - stage.warmup) / max(stage.steps - stage.warmup, 1), seconds / stage.limit_s)
    span = stage.learning_rate - stage.final_learning_rate
    return stage.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def set_image_size(model: nn.Module, size: int) -> None:
    """Let a network take another input side; no weight depends on it."""
    model.image_size = size
    model.sam_image_embedding_size = size // model.backbone_stride
    encoder = model.sam_prompt_encoder
    encoder.input_image_size = (size, size)
    encoder.image_embedding_size = (model.sam_image_embedding_size,) * 2
    encoder.mask_input_size = (4 * model.sam_image_embedding_size,) * 2
