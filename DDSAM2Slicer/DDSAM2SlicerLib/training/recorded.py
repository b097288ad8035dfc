"""Real images with their label maps, as scenes: slice by slice, over time, or set in motion (layer: training)."""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy import ndimage

from .atlas import LabelMap, aim, image_at, labels_at, places_in_view
from .fields import Draws, smooth_field
from .scenes import COARSE, Scene, grid_of, split_off, time_path

JOINED, DIVIDED = 0.12, 0.35
"""Shares of the scenes in which all that is named is asked for at once, or a structure up to a plane through it."""
UNNAMED = 0.2
"""Share of the scenes in which a region is asked for that nobody has named: not only known shapes are to be learned."""
MIN_SHARE, MAX_SHARE = 0.003, 0.3
"""Size of such a region where it is largest, as shares of the frame."""


def recorded_scene(draws: Draws, num_frames: int, size: int, is_time: bool, label_map: LabelMap) -> Scene:
    """Show a structure of a labelled image in ``num_frames`` frames of ``size`` x ``size`` pixels.

    Slices are the volume's own, so far apart that half of the structure is 4 to 30 of them long, but never closer than
    they were recorded. Over time, a series is shown as it is; of a volume or a single image, one plane is moved, as STM
    (Oh et al. 2019) learns from single images. Where recorded frames end, they go back.
    """
    view = aim(draws, label_map)
    is_through = view.turn[2] > 0
    view = view._replace(middle=torch.where(is_through, view.middle.round(), view.middle))
    thickness = float(label_map.spacing[is_through] / view.half_side)  # of a recorded slice, in half sides
    step = 0.0
    if is_time and not label_map.is_series:
        points = time_path(draws, num_frames, size)
        points[..., 2] *= not label_map.is_thick  # between thick slices there is nothing to be seen
    else:
        stride = draws.integer(1, 3) if is_time else max(round(view.depth / draws.log_uniform(4, 30) / thickness), 1)
        points = grid_of(size // COARSE).repeat(num_frames, 1, 1, 1)
        points[..., 2] += ((torch.arange(num_frames) - num_frames // 2) * stride * thickness).view(-1, 1, 1)
        step = 0.0 if is_time else stride * thickness
    bend = smooth_field(draws, 2, draws.uniform(1, 4), points).permute(1, 2, 3, 0)
    points[..., :2] += draws.uniform(0, 0.06) * bend
    places = _turned_back(is_through, places_in_view(view, points, size), label_map)
    image = image_at(view, places)
    present, labels = labels_at(view, places).unique(return_inverse=True)
    count = len(present)
    wholes = [(index,) for index, label in enumerate(present.tolist()) if label]
    aimed_at = [whole for whole in wholes if int(present[whole[0]]) == view.label]
    if len(wholes) > 1 and draws.chance(JOINED):
        aimed_at = [tuple(index for (index,) in wholes)]
    elif draws.chance(UNNAMED):
        has_rim = aimed_at and draws.chance(0.5)
        region = _rim(draws, labels == aimed_at[0][0]) if has_rim else _region(draws, image, step > 0)
        if region is not None:
            labels, aimed_at, wholes = torch.where(region, count, labels), [(count,)], []
            count += 1
    elif aimed_at and not label_map.is_series and draws.chance(DIVIDED):
        straight = grid_of(size // COARSE)[None] if step else points
        labels, count = split_off(draws, labels, *aimed_at[0], count, straight, points), count + 1
    wholes = aimed_at * max(len(wholes) - 1, 1) + wholes or [(0,)]  # as often as all others together, which may be cut
    return Scene(labels, count, 0, points, step, tuple(wholes), (), image=image)


def _region(draws: Draws, image: torch.Tensor, is_through: bool) -> torch.Tensor | None:
    """Mark what is as bright as a random place and connected with it: (T, H, W), None if it is too small or large.

    As superpixels teach few-shot segmentation without labels (Ouyang et al. 2020), but through slices and time.
    """
    sigma_px = draws.log_uniform(1.2, 4)
    smooth = ndimage.gaussian_filter(image.numpy(), (0.5 * is_through, sigma_px, sigma_px))
    place = (len(image) // 2, *(draws.integer(side // 4, 3 * side // 4) for side in image.shape[1:]))
    tolerance = float(image.std()) * draws.log_uniform(0.15, 0.8)
    pieces, _ = ndimage.label(np.abs(smooth - smooth[place] - draws.uniform(-0.8, 0.8) * tolerance) < tolerance)
    return _if_of_some_size(torch.from_numpy(pieces == pieces[place]))


def _rim(draws: Draws, structure: torch.Tensor) -> torch.Tensor | None:
    """Mark a structure (T, H, W) with a margin, its inside or its rim: no edges of their own, but they move along."""
    inside = structure.numpy()
    if not inside.any():
        return None
    apart = (1e4, 1, 1)  # frames are measured one by one
    distance = ndimage.distance_transform_edt(~inside, apart) - ndimage.distance_transform_edt(inside, apart)
    radius_px = math.sqrt(inside.sum((1, 2)).max() / math.pi)
    inward_px, outward_px = (draws.log_uniform(0.08, 0.5) * radius_px for _ in range(2))
    low, high = draws.choice(
        ((-math.inf, outward_px), (-math.inf, -inward_px), (-inward_px, outward_px), (0, outward_px), (-inward_px, 0))
    )
    return _if_of_some_size(torch.from_numpy((distance > low) & (distance <= high)))


def _if_of_some_size(region: torch.Tensor) -> torch.Tensor | None:
    """Pass a region (T, H, W) that is large enough to be looked at, and no more than a part of the frame."""
    return region if MIN_SHARE <= float(region.float().mean((1, 2)).max()) <= MAX_SHARE else None


def _turned_back(is_through: torch.Tensor, places: torch.Tensor, label_map: LabelMap) -> torch.Tensor:
    """Reflect the coordinate across the frames at the first and the last one recorded."""
    last = torch.tensor(label_map.values.shape).flip(0)[is_through].item() - 1
    across = places[..., is_through]
    across = last - (last - across % (2 * last)).abs() if last else torch.zeros_like(across)
    return torch.where(is_through, across, places)
