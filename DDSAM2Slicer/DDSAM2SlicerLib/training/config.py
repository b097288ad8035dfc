"""Training recipes as frozen, validated data read from TOML (layer: training)."""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from ..core.errors import SettingsError
from ..model.architectures import ARCHITECTURES, ModelSpec
from .clips import ClipSettings
from .objective import LossWeights
from .prompts import PROMPT_KINDS


@dataclass(frozen=True)
class Stage:
    """One leg of training: what is shown, for how long, how fast."""

    name: str
    steps: int
    minutes: float = 0.0
    """Time after which the stage ends, wherever its steps stand, for machines that are lent by the minute; the learning
    rate follows whichever is further. 0 = no limit."""
    clips_per_step: int = 8
    fresh_per_step: int = 4
    """Newly generated clips a step; the others are drawn from the pool of recent ones, flipped and re-toned."""
    pool: int = 512
    """Recent clips that are kept for reuse."""
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup: int = 100
    prompts: dict[str, float] = field(default_factory=lambda: {"mask": 0.5, "box": 0.25, "click": 0.15, "clicks": 0.1})
    image_share: float = 0.0
    """Share of the steps that show single images: where prompts are learned."""
    images_per_step: int = 0
    """How many images such a step shows; 0 = as many as a clip step has frames."""
    image_prompts: dict[str, float] = field(default_factory=lambda: {"box": 0.45, "click": 0.3, "clicks": 0.25})
    alone: bool = False
    """Run nothing but the mask refiner: cheap steps, without the decoder's clue."""
    corrected: float = 0.0
    """Share of the tracked frames that are clicked right, where the refiner runs alone."""
    clip: ClipSettings = field(default_factory=ClipSettings)
    loss: LossWeights = field(default_factory=LossWeights)

    @property
    def limit_s(self) -> float:
        """Seconds after which the stage ends."""
        return 60 * self.minutes or math.inf

    def __post_init__(self) -> None:
        """Reject stages that cannot run.

        Raises:
            SettingsError: If a count is not positive or a kind of prompt is unknown.
        """
        if not 0 <= self.image_share <= 1:
            msg = f"Stage {self.name!r}: image_share {self.image_share} must lie between 0 and 1."
            raise SettingsError(msg)
        if not 0 <= self.corrected <= 1 or (self.corrected and not self.alone):
            msg = f"Stage {self.name!r}: corrected {self.corrected} must lie between 0 and 1, and needs alone = true."
            raise SettingsError(msg)
        if self.minutes < 0:
            msg = f"Stage {self.name!r}: minutes {self.minutes} must not be negative; 0 sets no limit."
            raise SettingsError(msg)
        if min(self.steps, self.clips_per_step, self.fresh_per_step, self.pool) < 1:
            msg = f"Stage {self.name!r}: steps, clips_per_step, fresh_per_step and pool must be at least 1."
            raise SettingsError(msg)
        unknown = sorted({*self.prompts, *self.image_prompts} - set(PROMPT_KINDS))
        if unknown or not any(self.prompts.values()) or not any(self.image_prompts.values()):
            given = unknown or (self.prompts, self.image_prompts)
            msg = f"Stage {self.name!r}: prompts {given} are not usable; give weights to some of {PROMPT_KINDS}."
            raise SettingsError(msg)


@dataclass(frozen=True)
class Recipe:
    """A whole training run; its text goes into every checkpoint made by it.

    Raises:
        SettingsError: If ``trains`` is unknown, or stages without the network would train the network.
    """

    architecture: str
    seed: int
    stages: tuple[Stage, ...]
    start: str = ""
    """Exported weights of the same architecture to start from, as a path; empty = random weights."""
    trains: str = "all"
    """What learns: all (where the refiner runs alone, it learns alone); the refiner, while the rest stays as it starts;
    or a network without a refiner."""
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    average_decay: float = 0.999
    """Decay per step of the moving average of the weights, which is what is shipped."""
    precision: str = "32-true"
    """Lightning Fabric's name of the arithmetic: 32-true or bf16-mixed."""
    validate_every: int = 500
    save_every: int = 200

    def __post_init__(self) -> None:
        """Reject recipes that train nothing or more than they run."""
        accepted = ("all", "refiner") + (() if any(stage.alone for stage in self.stages) else ("network",))
        if self.trains not in accepted:
            msg = f"This recipe trains {self.trains!r}; its stages accept {' or '.join(accepted)}."
            raise SettingsError(msg)

    @property
    def spec(self) -> ModelSpec:
        """The network to build."""
        spec = ARCHITECTURES[self.architecture]
        return replace(spec, refiner=False) if self.trains == "network" else spec

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe; see ``recipes/nano.toml``.

    What ``[every_stage]`` says holds in every ``[[stage]]`` that does not say otherwise. The paths ``start`` and
    ``label_maps`` begin at the recipe's folder.

    Raises:
        SettingsError: If the file is not TOML or holds unknown settings.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        msg = f"Training recipe {path} cannot be read: {error}."
        raise SettingsError(msg) from error
    shared = values.pop("every_stage", {})
    stages = tuple(_read_stage({**shared, **stage}, path.parent) for stage in values.pop("stage", []))
    if not stages:
        msg = f"Training recipe {path} has no [[stage]]; give at least one."
        raise SettingsError(msg)
    if values.get("start"):
        values["start"] = str(path.parent / values["start"])
    return _build(Recipe, {**values, "stages": stages})


def _read_stage(values: dict, folder: Path) -> Stage:
    """Build a stage with its nested tables; ``folder`` is that of the recipe."""
    nested = {"clip": ClipSettings, "loss": LossWeights}
    stage = _build(
        Stage, {key: _build(nested[key], value) if key in nested else value for key, value in values.items()}
    )
    if not stage.clip.label_maps:
        return stage
    return replace(stage, clip=replace(stage.clip, label_maps=str(folder / stage.clip.label_maps)))


def _build(kind: type, values: dict) -> object:
    """Build a frozen class from a table, naming what is unknown."""
    known = [entry.name for entry in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        msg = f"Unknown training settings {unknown} for {kind.__name__}; known are {known}."
        raise SettingsError(msg)
    return kind(**values)
