"""From a training folder to the file that is shipped (layer: training)."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from ..core.errors import InputError, SettingsError
from ..model.architectures import build_model
from ..model.checkpoint import load_model, read_metadata, save_checkpoint
from .atlas import find_label_maps, image_beside
from .config import Recipe
from .validation import choose_gain

LOG = logging.getLogger(__name__)
LICENCE = "Apache-2.0"


def export_average(recipe: Recipe, folder: Path, output: Path, image_size: int | None = None) -> None:
    """Write the averaged weights of a run as fp16 safetensors that describe themselves.

    Args:
        recipe: The run's recipe; it goes into the file's header.
        folder: Folder of the run.
        output: File to write.
        image_size: Input side the file asks for; by default that of the last stage begun.

    Raises:
        InputError: If the folder holds no checkpoint.
    """
    source = folder / "checkpoint.pt"
    if not source.exists():
        msg = f"{folder} holds no checkpoint.pt. Train first: ddsam2 train pretrain --config … --folder {folder}."
        raise InputError(msg)
    state = torch.load(source, map_location="cpu", weights_only=True)
    spec = recipe.spec.with_image_size(image_size or recipe.stages[state["stage"]].clip.size)
    model = build_model(spec)
    model.load_state_dict(state["average"])
    is_prior_final = model.mask_prior is not None and model.refiner is None  # a refiner was trained with its gain
    gains = choose_gain(model, recipe.stages[-1].clip) if is_prior_final else {}
    LOG.info("mean Dice by gain of the mask prior, on generated clips: %s", gains)
    metadata = {
        "recipe": _without_folders(recipe),
        "steps": state["step"],
        "data": _data_of(recipe),
        "prior_gains": gains,
        "licence": LICENCE,
    }
    save_checkpoint(model, output, metadata, half=True)
    LOG.info("step %d written to %s (%.1f MB)", state["step"], output, output.stat().st_size / 1e6)


def blend(first: Path, second: Path, output: Path, share: float = 0.5) -> None:
    """Write the mean of two models, the second of which was trained from the first (Wortsman et al. 2022, WiSE-FT).

    It is often better than either on images that neither has seen.

    Args:
        first: Exported weights.
        second: Exported weights of the same architecture; its header goes into the file.
        output: File to write.
        share: Weight of the second, 0 to 1.

    Raises:
        SettingsError: If the architectures differ or the share is no share.
    """
    before, after = load_model(first), load_model(second)
    if before.ddsam2_spec != after.ddsam2_spec or not 0 <= share <= 1:
        msg = (
            f"{first.name} and {second.name} cannot be blended by {share}: take one architecture and a share of 0 to 1."
        )
        raise SettingsError(msg)
    with torch.no_grad():
        for old, new in zip(before.parameters(), after.parameters(), strict=True):
            new.lerp_(old, 1 - share)
    metadata = read_metadata(second)
    save_checkpoint(after, output, {**metadata, "blended_with": first.name, "blend_share": share}, half=True)


def _data_of(recipe: Recipe) -> str:
    """What a recipe was trained on, in a few words."""
    folders = {stage.clip.label_maps for stage in recipe.stages} - {""}
    paths = {path for folder in folders for beside in find_label_maps(folder) for path in beside}
    if not paths:
        return "generated clips only"
    images = sum(image_beside(path) is not None for path in paths)
    return f"generated clips, and {len(paths)} label maps, {images} of them with their images"


def _without_folders(recipe: Recipe) -> dict:
    """A recipe as plain JSON types that says nothing of the machine it was run on."""
    values = recipe.to_dict()
    values["start"] = Path(recipe.start).name
    for stage in values["stages"]:
        stage["clip"]["label_maps"] = Path(stage["clip"]["label_maps"]).name
    return values
