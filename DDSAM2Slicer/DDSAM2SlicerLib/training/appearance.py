"""How a label map looks: CT, MR, ultrasound, PET and fantasy contrasts with their typical faults (layer: training)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..core.intensity import IntensityMapping
from .fields import Draws, smooth_field
from .scenes import Scene, largest_of

STYLES = ("ct", "mr", "mr", "ultrasound", "pet", "fantasy")


def render(draws: Draws, scene: Scene) -> torch.Tensor:
    """Draw the frames (T, H, W) of a scene as 8-bit images with one intensity mapping for the clip."""
    if scene.image is not None:
        return _to_8_bit(draws, _recorded(draws, scene))
    style = draws.choice(STYLES)
    image = _tissue_image(draws, scene, style)
    if not scene.is_time and draws.chance(0.5):  # a thick slice holds a part of its neighbours
        image = _average_neighbours(image, draws.uniform(0, 0.33))
    image = _blur(image, draws.uniform(1.0, 3.0) if style == "pet" else draws.uniform(0.3, 1.4))
    if style == "mr" or draws.chance(0.2):
        image = _with_bias_field(draws, scene, image, 0.5)
    if draws.chance(0.3):  # frames of one series differ in brightness
        image = image * (1 + draws.uniform(0, 0.1) * draws.normal(len(image), 1, 1))
    image = _add_noise(draws, image, style)
    if style == "ultrasound":
        image = _ultrasound_geometry(draws, image)
    return _to_8_bit(draws, image)


def _recorded(draws: Draws, scene: Scene) -> torch.Tensor:
    """Real frames (T, H, W), often in a window that suits the structure, now and then less well recorded."""
    image = scene.image
    if draws.chance(0.5):
        own = image[torch.isin(scene.labels, torch.tensor(scene.wholes[0]))]
        spread = float(image.std()) * draws.uniform(0.3, 1.5) + (float(own.std()) if len(own) > 1 else 0.0)
        level = float(own.mean() if len(own) else image.mean()) + draws.uniform(-0.5, 0.5) * spread
        image = image.clamp(level - 1.5 * spread, level + 1.5 * spread)
    low, high = image.min(), image.max()
    image = (image - low) / (high - low).clamp_min(1e-3)
    if draws.chance(0.2):
        image = _blur(image, draws.uniform(0.3, 1.0))
    if draws.chance(0.2):
        image = _with_bias_field(draws, scene, image, 0.4)
    return image + draws.log_uniform(0.005, 0.06) * draws.normal(*image.shape) if draws.chance(0.3) else image


def _with_bias_field(draws: Draws, scene: Scene, image: torch.Tensor, strongest: float) -> torch.Tensor:
    """Make frames (T, H, W) smoothly brighter here and darker there, by factors of about exp(``strongest``) at most."""
    strength, cells = draws.uniform(0, strongest), draws.uniform(0.7, 2)
    return image * torch.exp(strength * _upsampled(smooth_field(draws, 1, cells, scene.points), image))


def _tissue_image(draws: Draws, scene: Scene, style: str) -> torch.Tensor:
    """Give every label a mean, a texture and perhaps a slow change over the clip (contrast uptake)."""
    count = scene.num_labels
    means = _label_means(draws, scene, style)
    num_frames = scene.labels.shape[0]
    is_matter = torch.tensor([float(label != scene.air) for label in range(count)])
    uptake = torch.zeros(count)
    if draws.chance(0.25):
        uptake = draws.normal(count) * is_matter * 0.3 / num_frames
    per_frame = means[None] + uptake[None] * torch.arange(num_frames)[:, None]  # (T, labels)
    image = torch.gather(per_frame, 1, scene.labels.flatten(1)).view_as(scene.labels)
    persisting = scene.points * torch.tensor([1.0, 1.0, draws.log_uniform(0.1, 1.0)])  # through several slices
    textures = smooth_field(draws, 2, draws.log_uniform(6, 40), persisting)
    amplitudes = draws.uniform(0.0, draws.choice((0.16, 0.35))) * draws.uniform_tensor(0, 1, 2, count) * is_matter
    for amplitude, texture in zip(amplitudes, textures, strict=True):
        image = image + amplitude[scene.labels] * _upsampled(texture[None], image)
    if draws.chance(0.7):  # lobules, bundles, small organs: compartments that fill the place around what is sought
        image = image + _compartments(draws, scene, persisting) * is_matter[scene.labels]
    if draws.chance(0.5):  # septa, small vessels, folds: edges that are no organ's border
        ridges = torch.exp(-((smooth_field(draws, 1, draws.log_uniform(4, 16), persisting) / 0.2) ** 2))
        strength = draws.uniform(0, 0.5) * draws.uniform_tensor(-1, 1, count) * is_matter
        image = image + strength[scene.labels] * _upsampled(ridges, image)
    return image


def _label_means(draws: Draws, scene: Scene, style: str) -> torch.Tensor:
    """Draw the mean brightness of every label, (labels,)."""
    count = scene.num_labels
    means = draws.uniform_tensor(0.0, 1.0, count)
    if style == "ct":  # soft tissues lie close together; bone and air do not
        means = torch.where(draws.uniform_tensor(0, 1, count) < 0.65, 0.45 + 0.25 * (means - 0.5), means)
    if style == "pet":
        means = torch.where(draws.uniform_tensor(0, 1, count) < 0.7, 0.3 * means, means)
    if draws.chance(0.3):  # a faint scene: most tissues differ by little
        means = torch.where(draws.uniform_tensor(0, 1, count) < 0.7, 0.5 + 0.3 * (means - 0.5), means)
    for label in range(1, count):  # some neighbours, or parts of one organ, differ by hardly anything
        if draws.chance(0.4):
            other = label - 1 if draws.chance(0.5) else draws.integer(0, label - 1)
            means[label] = means[other] + 0.06 * draws.normal(1).item()
    for label, other in scene.alike:
        means[label] = means[other]
    if scene.air is not None:
        means[scene.air] = min(0.0, float(means.min()))
    return means


def _compartments(draws: Draws, scene: Scene, points: torch.Tensor) -> torch.Tensor:
    """Brightness (T, H, W) of small sharp-edged compartments: strong in tissues, mostly absent in organs."""
    count = draws.integer(3, 6)
    values = smooth_field(draws, count, draws.log_uniform(6, 30), points)
    own = largest_of(torch.stack([_upsampled(one[None], scene.labels) for one in values]))  # (T, H, W)
    strength = draws.uniform(0.1, 0.8) * draws.uniform_tensor(0, 1, scene.num_labels)
    is_plain = draws.uniform_tensor(0, 1, scene.num_labels) < torch.where(
        torch.arange(scene.num_labels) < scene.num_tissues, 0.3, 0.7
    )
    return torch.where(is_plain, 0.0, strength)[scene.labels] * draws.uniform_tensor(-0.5, 0.5, count)[own]


def _average_neighbours(image: torch.Tensor, share: float) -> torch.Tensor:
    """Mix every frame (T, H, W) with a ``share`` of the one before and as much of the one behind."""
    before, behind = torch.cat([image[:1], image[:-1]]), torch.cat([image[1:], image[-1:]])
    return (1 - 2 * share) * image + share * (before + behind)


def _upsampled(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Interpolate one coarse function (1, T, h, w) to the size of ``like`` (T, H, W)."""
    return F.interpolate(values[0][:, None], size=like.shape[-2:], mode="bilinear", align_corners=False)[:, 0]


def _blur(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    """Blur (T, H, W) in plane with a Gaussian: the scanner's point spread."""
    radius = max(int(2.5 * sigma_px + 0.5), 1)
    positions = torch.arange(-radius, radius + 1, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (positions / sigma_px) ** 2)
    kernel = kernel / kernel.sum()
    padded = F.pad(image[:, None], (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel.view(1, 1, 1, -1)), kernel.view(1, 1, -1, 1))[:, 0]


def _add_noise(draws: Draws, image: torch.Tensor, style: str) -> torch.Tensor:
    """Add the noise of the modality: Rician for MR, multiplicative speckle for ultrasound, Gaussian otherwise."""
    strength = draws.log_uniform(0.005, 0.12)
    noise = draws.normal(*image.shape)
    if draws.chance(0.5):
        noise = _blur(noise, draws.uniform(0.5, 1.2))
        noise = noise / noise.std()
    if style == "ultrasound":
        return image.clamp_min(0.03) * torch.exp(draws.uniform(0.2, 0.7) * noise)
    if style == "mr":
        return torch.hypot(image + strength * noise, strength * draws.normal(*image.shape))
    return image + strength * noise


def _ultrasound_geometry(draws: Draws, image: torch.Tensor) -> torch.Tensor:
    """Attenuate with depth, drop shadows and, often, cut out the sector that the probe sees."""
    size = image.shape[-1]
    line = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(line, line, indexing="ij")
    image = image * torch.exp(-draws.uniform(-0.3, 1.2) * y)
    apex_x, apex_y = draws.uniform(0.3, 0.7), draws.uniform(-0.6, 0.0)
    angle = torch.atan2(x - apex_x, y - apex_y)
    for _ in range(draws.integer(0, 2)):
        shadow = torch.sigmoid((draws.uniform(0.02, 0.1) - (angle - draws.uniform(-0.5, 0.5)).abs()) * 80)
        image = image * (1 - draws.uniform(0.3, 0.9) * shadow * (y > draws.uniform(0.1, 0.6)))
    if draws.chance(0.6):
        reach = torch.hypot(x - apex_x, y - apex_y)
        image = image * ((angle.abs() < draws.uniform(0.4, 0.9)) & (reach < 1 - apex_y + draws.uniform(-0.1, 0.2)))
    return image


def _to_8_bit(draws: Draws, image: torch.Tensor) -> torch.Tensor:
    """Window the clip as a viewer would, with gamma and, at times, inverted."""
    sample = image.flatten()[:: max(image.numel() // 20000, 1)]
    low, high = torch.quantile(sample, draws.uniform(0.0, 0.05)), torch.quantile(sample, draws.uniform(0.95, 1.0))
    image = ((image - low) / (high - low).clamp_min(1e-3)).clamp(0, 1)
    if draws.chance(0.6):  # as an image without a chosen window reaches the network
        pixels = image.numpy()
        image = torch.from_numpy(IntensityMapping(0.0, 1.0).stretched_on([pixels]).apply(pixels)) / 255
    image = image ** draws.log_uniform(0.6, 1.6)
    if draws.chance(0.2):
        image = 1 - image
    return (image * 255).round().to(torch.uint8)
