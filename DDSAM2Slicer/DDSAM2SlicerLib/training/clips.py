"""Training samples: one object of a generated scene, cropped around its prompt as in use (layer: training)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy import ndimage

from .appearance import render
from .atlas import find_label_maps, load_label_map
from .fields import Draws
from .recorded import recorded_scene
from .scenes import Scene, make_scene

LASTING = 0.7
"""Objects that keep more than this share of their area to the last slice hardly taper."""
MIN_PROMPT_PX = 40
"""Smallest object on the prompted frame of a finished sample; coarse voxels can swallow thin ones."""


@dataclass(frozen=True)
class ClipSettings:
    """Size of the samples and range of what is drawn."""

    num_frames: int = 4
    size: int = 128
    """Side of the network input, in pixels."""
    scene_size: int = 160
    """Side of the scene that samples are cut from, in pixels."""
    crops_per_scene: int = 3
    time_share: float = 0.35
    """Share of the scenes that are seen over time; the others are seen slice by slice."""
    min_object_px: int = 40
    """Smallest object on the prompted frame, in scene pixels."""
    share_low: float = 0.22
    share_high: float = 0.8
    """Side of the object's box over the side of the crop; the engine aims at the middle of this range."""
    distant: float = 0.15
    """Share of the samples that show the whole scene, as a first click is seen."""
    peak_share: float = 0.75
    """Share of the samples through slices that begin where the object is largest, as users mostly prompt it."""
    lasting_skipped: float = 0.5
    """Share of the objects through slices that are left out because they hardly taper; in real stacks most do."""
    label_maps: str = ""
    """Folder of label maps, with or without images, that ``label_map_share`` of the scenes show; empty = none.

    Each folder below it that has any is shown as often as every other."""
    label_map_share: float = 0.5


@dataclass(frozen=True, eq=False)
class Clip:
    """One object in one clip; frame 0 is the prompted one."""

    frames: torch.Tensor  # (T, S, S) uint8
    masks: torch.Tensor  # (T, S, S) bool
    step: float
    """Mean distance between neighbouring frames over the side of a frame; 0 in time."""


def make_clips(seed: int, settings: ClipSettings) -> list[Clip]:
    """Draw one scene and cut up to ``crops_per_scene`` samples from it; the same seed gives the same samples."""
    draws = Draws(seed)
    is_time = draws.chance(settings.time_share)
    label_map = None
    if settings.label_maps and draws.chance(settings.label_map_share):
        label_map = load_label_map(draws.choice(draws.choice(find_label_maps(settings.label_maps))))
        is_time |= label_map.is_flat
    make = make_scene if label_map is None or label_map.image is None else recorded_scene
    scene = make(draws, (1 if is_time else 2) * settings.num_frames, settings.scene_size, is_time, label_map)
    image = render(draws, scene)
    clips = []
    for _ in range(settings.crops_per_scene):
        mask = _choose_object(draws, scene, settings)
        if mask is None:
            continue
        order = _order_frames(draws, mask, settings)
        first, last = (int(mask[order[index]].sum()) for index in (0, -1))
        is_lasting = last > LASTING * first and not is_time
        if not first or (is_lasting and draws.chance(settings.lasting_skipped)):
            continue
        clip = _cut(draws, image[order], mask[order], scene, settings)
        if int(clip.masks[0].sum()) >= MIN_PROMPT_PX:
            clips.append(clip)
    return clips


def _choose_object(draws: Draws, scene: Scene, settings: ClipSettings) -> torch.Tensor | None:
    """Pick a whole organ or a label and keep, mostly, one connected piece; None when nothing fits."""
    for _ in range(6):
        if scene.image is not None:  # what lies between its structures is nothing that one would ask for
            wanted = torch.isin(scene.labels, torch.tensor(draws.choice(scene.wholes)))
        elif scene.alike and draws.chance(0.35):  # head and body of one organ: their border is seen in the prompt only
            wanted = scene.labels == draws.choice(draws.choice(scene.alike))
        elif scene.wholes and draws.chance(0.5):
            wanted = torch.isin(scene.labels, torch.tensor(draws.choice(scene.wholes)))
        else:
            wanted = scene.labels == draws.integer(0, scene.num_labels - 1)
        if draws.chance(0.1) and scene.image is None:
            wanted |= scene.labels == draws.integer(0, scene.num_labels - 1)
        if draws.chance(0.75):
            wanted = _connected_piece(draws, wanted, settings.min_object_px)
        largest = int(wanted.flatten(1).sum(1).max())
        if settings.min_object_px <= largest <= 0.35 * wanted[0].numel():
            return wanted
    return None


def _connected_piece(draws: Draws, wanted: torch.Tensor, min_px: int) -> torch.Tensor:
    """Keep the piece, connected through the frames, that a random pixel of a random frame lies in."""
    frames = (wanted.flatten(1).sum(1) >= min_px).nonzero()[:, 0]
    if not len(frames):
        return wanted
    frame = int(frames[draws.integer(0, len(frames) - 1)])
    pieces, _ = ndimage.label(wanted.numpy())
    inside = wanted[frame].nonzero()
    row, column = inside[draws.integer(0, len(inside) - 1)].tolist()
    return torch.from_numpy(pieces == pieces[frame, row, column])


def _order_frames(draws: Draws, mask: torch.Tensor, settings: ClipSettings) -> torch.Tensor:
    """Choose which frames of a scene a sample shows, in which order, the prompted one first: (num_frames,) indices."""
    areas = mask.flatten(1).sum(1)
    shown = (areas >= settings.min_object_px).nonzero()[:, 0]
    count, available = settings.num_frames, len(mask)
    if available == count:  # time: the first frame must show the object
        start = 0 if int(areas[0]) >= settings.min_object_px else count - 1
    elif draws.chance(settings.peak_share):
        start = int(areas.argmax())
    else:
        start = int(shown[draws.integer(0, len(shown) - 1)])
    directions = [step for step in (1, -1) if 0 <= start + step * (count - 1) < available]
    return start + draws.choice(tuple(directions)) * torch.arange(count)


def _cut(draws: Draws, image: torch.Tensor, mask: torch.Tensor, scene: Scene, settings: ClipSettings) -> Clip:
    """Sample a square around the object of frame 0, turned, flipped and at a voxel size as coarse as real data's."""
    rows, columns = mask[0].any(1).nonzero()[:, 0], mask[0].any(0).nonzero()[:, 0]
    extent = max(int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) + 1
    scene_size = image.shape[-1]
    share = draws.uniform(settings.share_low, settings.share_high)
    largest = 1.05 * scene_size
    side = largest if draws.chance(settings.distant) else min(max(extent / share, 16), largest)
    slack = max(side - extent, 0) * 0.35
    centre = [float(edge[0] + edge[-1]) / 2 + draws.uniform(-slack, slack) for edge in (columns, rows)]
    half = min(side / 2, scene_size / 2)  # the engine's window stays inside the frame, too
    centre = [min(max(value, half), scene_size - half) for value in centre]
    is_coarse = draws.chance(0.7 if scene.image is None else 0.15)  # real images mostly are as coarse as they are
    voxel = draws.log_uniform(0.7, 4.0) if is_coarse else 1.0  # scene pixels per stored voxel
    voxel = min(voxel, max(extent / 6, 0.7))
    small = max(round(scene_size / voxel), 16)
    frames = F.interpolate(image[:, None].float(), size=(small, small), mode="area" if voxel > 1 else "bilinear")
    masks = F.interpolate(mask[:, None].float(), size=(small, small), mode="nearest-exact")
    angle = draws.uniform(-3.15, 3.15) if draws.chance(0.3) else draws.integer(0, 3) * torch.pi / 2
    grid = _crop_grid(centre, side, scene_size, angle, draws.chance(0.5), settings.size)
    grid = grid.expand(len(frames), -1, -1, -1)
    frames = F.grid_sample(frames, grid, padding_mode="zeros", align_corners=False)[:, 0]
    masks = F.grid_sample(masks, grid, padding_mode="zeros", align_corners=False)[:, 0] >= 0.5
    share_of_side = scene.step / 2 * scene_size / side  # the scene is two units wide
    return Clip(frames.round().clamp(0, 255).to(torch.uint8), masks, share_of_side)


def _crop_grid(centre: list[float], side: float, scene_size: int, angle: float, flip: bool, size: int) -> torch.Tensor:
    """Build the sampling grid (1, size, size, 2) of a turned square, in [-1, 1] coordinates of the scene."""
    cos, sin = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    scale = side / scene_size
    mirror = -1.0 if flip else 1.0
    middle = [2 * (value + 0.5) / scene_size - 1 for value in centre]
    theta = torch.tensor(
        [[scale * cos * mirror, -scale * sin, middle[0]], [scale * sin * mirror, scale * cos, middle[1]]]
    )
    return F.affine_grid(theta[None], (1, 1, size, size), align_corners=False)
