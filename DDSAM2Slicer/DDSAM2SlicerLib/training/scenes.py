"""Anatomy-like label maps: tissues, nested organs, lesions, vessels; as slices or over time (layer: training).

A scene is a function of continuous coordinates, so its boundaries are sharp at any resolution. It is looked at along
a path: through the slices of a volume, or through time, where a periodic displacement field beats and breathes.
Related ideas: SynthSeg (Billot et al. 2023), AnyStar (Dey et al. 2024), ScribblePrompt (Wong et al. 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .atlas import LabelMap, aim, labels_in_view
from .fields import Draws, rotation, smooth_field

COARSE = 2
"""Fields are evaluated on a grid this much coarser than the frame; their values are interpolated, labels never."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Labels of a clip of frames."""

    labels: torch.Tensor  # (T, H, W) int64
    num_labels: int
    num_tissues: int
    """The first labels fill the plane; organs and vessels lie over them."""
    points: torch.Tensor  # (T, H/COARSE, W/COARSE, 3) where each coarse pixel lies in the anatomy
    step: float
    """Mean distance between neighbouring frames, as a header would state it in units of ``points``; 0 in time."""
    wholes: tuple[tuple[int, ...], ...]
    """Labels that together are one organ: its wall, core, lesion; most real segmentations name such a whole."""
    alike: tuple[tuple[int, int], ...]
    """Pairs of labels that look the same: only a convention tells them apart, as the levels of one organ."""
    air: int | None = None
    """The label around the body, if its surface is seen."""
    image: torch.Tensor | None = None  # (T, H, W) float
    """What the scene looks like, if it is a real one."""

    @property
    def is_time(self) -> bool:
        """Whether all frames show the same plane."""
        return self.step == 0


def make_scene(draws: Draws, num_frames: int, size: int, is_time: bool, label_map: LabelMap | None = None) -> Scene:
    """Draw a scene and a path of ``num_frames`` frames of ``size`` x ``size`` pixels through slices or time.

    The anatomy is invented, or that of a label map with little added.
    """
    points, step = (time_path(draws, num_frames, size), 0.0) if is_time else _slice_path(draws, num_frames, size)
    labels, num_tissues = _tissues(draws, points)
    canvas = _Canvas(labels, num_tissues, points, step)
    air = None if label_map is None else _add_label_map(draws, canvas, label_map)
    for _ in range(draws.integer(1, 6) if label_map is None else draws.choice((0, 0, 1))):
        _add_organ(draws, canvas)
    for _ in range(draws.integer(0, 3) if label_map is None else draws.choice((0, 0, 1))):
        _add_vessel(draws, canvas)
    if label_map is None and draws.chance(0.25):
        air = _add_air(draws, canvas)
    return Scene(
        canvas.labels,
        canvas.count,
        num_tissues,
        canvas.points,
        canvas.step,
        tuple(canvas.wholes),
        tuple(canvas.alike),
        air,
    )


def grid_of(size: int) -> torch.Tensor:
    """Coordinates (h, w, 3) of the coarse pixels of the plane z = 0."""
    line = (torch.arange(size) + 0.5) / size * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1)


def _slice_path(draws: Draws, num_frames: int, size: int) -> tuple[torch.Tensor, float]:
    """Walk through slices, now and then uneven, in a gently bent space.

    Returns:
        Coordinates (T, h, w, 3), and the step between slices in the same units, as a header states it.
    """
    step = draws.log_uniform(0.006, 0.07)
    steps = step * (1 + draws.uniform(0, 0.3) * draws.normal(num_frames)).clamp(0.3, 2.0)
    depth = torch.cumsum(steps, 0) - steps.sum() / 2 + draws.uniform(-0.3, 0.3)
    points = grid_of(size // COARSE).expand(num_frames, -1, -1, -1).clone()
    points[..., 2] += depth.view(-1, 1, 1)
    tilt = draws.normal(2) * draws.uniform(0, 0.25)  # the stack runs obliquely through the body
    points[..., :2] += (depth[:, None] - depth.mean()).view(-1, 1, 1, 1) * tilt
    bend = smooth_field(draws, 2, draws.uniform(1, 5), points)
    points[..., :2] += draws.uniform(0.0, 0.12) * bend.permute(1, 2, 3, 0)
    drift = torch.cumsum(
        draws.normal(num_frames, 2) * draws.choice((0.0, 0.0, 0.005, 0.02)), 0
    )  # patient moved between slices
    points[..., :2] += drift.view(-1, 1, 1, 2)
    # thick slices are cut across what is long: spine, vessels; such anatomy is drawn as short as any other
    length = draws.log_uniform(1, 12) if draws.chance(0.25) else draws.log_uniform(0.8, 1.25)
    return points, step * length


def time_path(draws: Draws, num_frames: int, size: int) -> torch.Tensor:
    """Stay in one plane while the anatomy moves along two periodic displacement fields and slides as a whole."""
    still = grid_of(size // COARSE)[None]
    period = draws.log_uniform(8, 40)  # frames per heartbeat or breath, as cine series are recorded
    phase = torch.arange(num_frames) * (2 * math.pi / period) + draws.uniform(0, 2 * math.pi)
    fields = smooth_field(draws, 4, draws.uniform(0.8, 3.5), still).permute(1, 2, 3, 0)  # (1, h, w, 4)
    amplitude = draws.uniform(0.0, 0.12)
    moved = amplitude * (
        torch.sin(phase).view(-1, 1, 1, 1) * fields[..., :2] + torch.cos(phase).view(-1, 1, 1, 1) * fields[..., 2:]
    )
    points = still.repeat(num_frames, 1, 1, 1)
    points[..., :2] += moved
    slide = draws.normal(1, 2) * draws.uniform(0.0, 0.1)
    points[..., :2] += (torch.sin(phase / 2).view(-1, 1) * slide).view(-1, 1, 1, 2)
    points[..., 2] += (draws.uniform(0.0, 0.06) * torch.sin(phase)).view(-1, 1, 1)  # out-of-plane motion
    return points


class _Canvas:
    """Label map that shapes are painted on, one new label at a time."""

    def __init__(self, labels: torch.Tensor, count: int, points: torch.Tensor, step: float) -> None:
        """Start with ``count`` labels at the ``points`` of a path with that ``step``."""
        self.labels, self.count, self.points, self.step = labels, count, points, step
        self.wholes: list[tuple[int, ...]] = []
        self.alike: list[tuple[int, int]] = []

    @property
    def straight(self) -> torch.Tensor:
        """Points (T or 1, h, w, 3) in which a plane stands still from slice to slice; in time it moves along."""
        return grid_of(self.points.shape[1])[None] if self.step else self.points

    def stretch(self, factor: float) -> None:
        """Take the slices so many times as far from each other, with their mean at the scene's middle."""
        depth = self.points[..., 2]
        self.points = torch.cat([self.points[..., :2], (depth - depth.mean())[..., None] * factor], dim=-1)
        self.step *= factor

    def close_whole(self, first: int) -> None:
        """Note that the labels from ``first`` on belong together, if there are several."""
        if self.count - first > 1:
            self.wholes.append(tuple(range(first, self.count)))

    def paint(self, level: torch.Tensor) -> None:
        """Give a new label to the pixels where the coarse function ``level`` (T, h, w) is negative."""
        self.labels = torch.where(_refine(level[None])[0] < 0, self.count, self.labels)
        self.count += 1


def _refine(values: torch.Tensor) -> torch.Tensor:
    """Interpolate (C, T, h, w) functions to the frame's resolution."""
    return F.interpolate(values.transpose(0, 1), scale_factor=COARSE, mode="bilinear", align_corners=False).transpose(
        0, 1
    )


def _tissues(draws: Draws, points: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Fill the plane with tissues: argmax of smooth random functions, so neighbours touch."""
    count = draws.integer(2, 8)
    values = smooth_field(draws, count, draws.log_uniform(1.5, 9), points)
    return largest_of(_refine(values)), count


def largest_of(values: torch.Tensor) -> torch.Tensor:
    """Index of the largest of C functions (C, ...) at every place; much faster than ``argmax`` over the first axis."""
    best, index = values[0], torch.zeros(values.shape[1:], dtype=torch.int64)
    for number, one in enumerate(values[1:], start=1):
        is_larger = one > best
        best, index = torch.where(is_larger, one, best), index.masked_fill_(is_larger, number)
    return index


def _add_label_map(draws: Draws, canvas: _Canvas, label_map: LabelMap) -> int | None:
    """Lay the structures of a label map over the tissues; returns the label of air if that is what is left."""
    view = aim(draws, label_map)
    if canvas.step:  # as many slices from its middle to its end as in real stacks
        canvas.stretch(view.depth / (canvas.step * draws.log_uniform(4, 30)))
    labels = labels_in_view(draws, view, canvas.points, canvas.labels.shape[-1])
    air = None
    if draws.chance(0.4):
        canvas.labels, air = torch.full_like(canvas.labels, canvas.count), canvas.count
        canvas.count += 1
    present, index = labels.unique(return_inverse=True)
    first = canvas.count - int(present[0] == 0)
    canvas.labels = torch.where(labels > 0, first + index, canvas.labels)
    canvas.count = first + len(present)
    if view.label not in present:
        return air
    own = first + int(torch.searchsorted(present, view.label))
    canvas.wholes.append((own,))
    if draws.chance(0.5):  # one part of it is named apart from the other, though both look the same
        canvas.labels = split_off(draws, canvas.labels, own, canvas.count, canvas.straight, canvas.points)
        canvas.alike.append((own, canvas.count))
        canvas.count += 1
    return air


def _add_organ(draws: Draws, canvas: _Canvas) -> None:
    """Paint a bumpy body of one or more lobes, perhaps with a wall, a core or a divided inside."""
    first = canvas.count
    base = draws.log_uniform(0.07, 0.6)
    centre = draws.uniform_tensor(-0.75, 0.75, 3) * torch.tensor([1.0, 1.0, 0.4])
    points = canvas.points
    if draws.chance(0.3):  # vertebrae, ribs, teeth, folds: the same again beside it, which may or may not be asked for
        base = min(base, 0.3)
        points = _repeat(draws, points, centre, base * draws.uniform(1.6, 3.2))
    local, radius = _lobe(draws, points, centre, base)
    for _ in range(draws.choice((0, 0, 0, 1, 2, 3))):  # processes of a vertebra, lobes of a liver, horns of a ventricle
        beside = centre + base * draws.uniform(0.5, 1.3) * F.normalize(draws.normal(3), dim=0)
        _, other = _lobe(draws, points, beside, base * draws.uniform(0.25, 0.8))
        radius = torch.minimum(radius, other)
    bumps = smooth_field(draws, 1, draws.uniform(1.0, 3.0) / base, points)[0]
    radius = radius * (1 + draws.uniform(0, 0.25) * bumps)
    canvas.paint(radius - 1)
    if draws.chance(0.45):  # wall: what was painted stays as the shell
        canvas.paint(radius - draws.uniform(0.6, 0.92))
    if draws.chance(0.3):  # lesion or cavity off the centre
        offset = draws.normal(3) * 0.3
        canvas.paint((local - offset).norm(dim=-1) * (1 + 0.2 * bumps) - draws.uniform(0.15, 0.5))
    if draws.chance(0.5):  # two parts that touch, mostly divided by a convention only
        if draws.chance(0.7):
            canvas.alike.append((canvas.count, canvas.count - 1))
        canvas.paint(torch.maximum(radius - 1, _dividing_plane(draws, canvas.straight, canvas.points, centre, base)))
    canvas.close_whole(first)


def split_off(
    draws: Draws, labels: torch.Tensor, own: int, new: int, straight: torch.Tensor, points: torch.Tensor
) -> torch.Tensor:
    """Name one side of a structure ``new``, as conventions do: labels (T, H, W) with a plane through the middle.

    Args:
        draws: Source of randomness.
        labels: (T, H, W) of the scene.
        own: The structure's label.
        new: That of the part beyond the plane.
        straight: (T or 1, h, w, 3) points in which an upright plane stands still from frame to frame.
        points: (T, h, w, 3) where each coarse pixel lies in the anatomy.
    """
    ahead = _refine(_dividing_plane(draws, straight, points, torch.zeros(3), 0.3)[None])[0] > 0
    return torch.where((labels == own) & ahead, new, labels)


def _dividing_plane(
    draws: Draws, straight: torch.Tensor, points: torch.Tensor, centre: torch.Tensor, base: float
) -> torch.Tensor:
    """Draw a function (T or 1, h, w) that changes its sign at a plane near ``centre``, within about half of ``base``.

    Where one half of an organ ends is a matter of convention, and conventions follow the axes of the body, as slices
    do: mostly the plane stands upright on the slices, often along a side of the image.
    """
    is_upright = draws.chance(0.6)
    direction = F.normalize(draws.normal(3) * torch.tensor([1.0, 1.0, 0.0 if is_upright else 1.0]), dim=0)
    if is_upright and draws.chance(0.6):
        direction = torch.eye(3)[draws.integer(0, 1)]
    places = straight if is_upright else points
    return ((places - centre) / base) @ direction - draws.uniform(-0.4, 0.4)


def _lobe(draws: Draws, points: torch.Tensor, centre: torch.Tensor, base: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Coordinates (T, h, w, 3) in a turned ellipsoid of about radius ``base``, and their norm, 1 on its surface."""
    local = ((points - centre) @ rotation(draws)) / (base * torch.exp(draws.uniform(0.2, 0.8) * draws.normal(3)))
    return local, local.norm(dim=-1)


def _repeat(draws: Draws, points: torch.Tensor, centre: torch.Tensor, distance: float) -> torch.Tensor:
    """Fold space (T, h, w, 3) along a line through ``centre``: what lies there appears again at every ``distance``."""
    direction = F.normalize(draws.normal(3) * torch.tensor([1.0, 1.0, 0.5]), dim=0)
    farthest = draws.integer(1, 4)
    number = (((points - centre) @ direction) / distance).round().clamp(-farthest, farthest)
    return points - (number * distance)[..., None] * direction


def _add_air(draws: Draws, canvas: _Canvas) -> int:
    """Paint everything outside a large body; returns the label."""
    _, radius = _lobe(draws, canvas.points, draws.uniform_tensor(-0.3, 0.3, 3), draws.uniform(0.8, 1.3))
    canvas.paint(1 - radius)
    return canvas.count - 1


def _add_vessel(draws: Draws, canvas: _Canvas) -> None:
    """Paint a winding tube, across the frames or within them, perhaps with a wall."""
    first = canvas.count
    along = draws.choice((0, 1, 2, 2))
    across = [axis for axis in range(3) if axis != along]
    line = canvas.points[..., along]
    centre = [
        draws.uniform(-0.7, 0.7) * (0.3 if axis == 2 else 1)
        + draws.uniform(0, 0.3) * torch.sin(line * draws.uniform(0.5, 5) + draws.uniform(0, 6.3))
        for axis in across
    ]
    distance = torch.hypot(canvas.points[..., across[0]] - centre[0], canvas.points[..., across[1]] - centre[1])
    radius = draws.log_uniform(0.03, 0.22) * (1 + 0.25 * torch.sin(line * draws.uniform(1, 8)))
    canvas.paint(distance - radius)
    if draws.chance(0.4):
        canvas.paint(distance - radius * draws.uniform(0.5, 0.8))
    canvas.close_whole(first)
