"""From the prompts of one object on one frame to its mask there (layer: engine).

Clicks are replayed in the order they were made, each with the mask before it as dense prompt, as in interactive use
of SAM 2: the result depends on the prompts only, not on how often the user looked at intermediate masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..core.masks import label_components
from ..core.prompts import FramePrompt
from ..model import steps
from ..model.certainty import expected_iou, raise_to_best
from ..model.refiner import Clues
from .crop import Crop, CropPolicy, bounding_box
from .network import Frame, FrameCache, Network

LOGIT_LIMIT = 32.0
"""Previous logits are clamped to this size before they prompt the decoder."""
WORTH_ZOOMING = 0.8
"""A clicked object is looked at again if its window would be smaller than this share of that it was found in."""
CLICK_REACH = 1 / 32
"""A click on a tracked mask is followed at least this far around it, as a share of the window's side."""
CLICK_LOGIT = 4.0
"""How sure the mask is there."""
NEIGHBOUR_SHARE = 1 / 3
"""How much what clicks find on each neighbouring slice counts beside what they find on their own."""
NUM_WINDOWS = 3
"""The whole frame, half and a quarter of its side: a small object in a large frame is but a few pixels at first."""


@dataclass(frozen=True, eq=False)
class Prompted:
    """Answer to a prompt: the anchor that a propagation starts from."""

    mask: NDArray[np.bool_]  # (H, W)
    crop: Crop | None = None
    decoded: steps.Decoded | None = None  # of one object, under ``crop``; None for a mask that was given


@dataclass(frozen=True, eq=False)
class Context:
    """What is known of a frame before its clicks are read: a mask tracked earlier, and what other anchors tell."""

    previous: torch.Tensor  # (1, 1, h, w) logits
    clues: Clues  # with the nearest anchor
    embedding: torch.Tensor | None  # (1, C, h, w) memory-conditioned; None where the refiner follows alone


class Prompter:
    """Answers prompts on single frames."""

    def __init__(self, network: Network, cache: FrameCache, policy: CropPolicy) -> None:
        """Work on the frames of one session."""
        self._network = network
        self._cache = cache
        self._policy = policy

    def answer(self, frame: int, prompt: FramePrompt) -> Prompted:
        """Segment the object a prompt shows, whatever is known of it on other frames."""
        if prompt.mask is not None:
            return Prompted(prompt.mask)
        if prompt.box is not None:
            box = prompt.box
            return self._answer_in(self._policy.choose((box.x0, box.y0, box.x1, box.y1)), frame, prompt)
        is_refined = self._network.model.refiner is not None
        answer = None if is_refined else self._answer_in(self._policy.whole(), frame, prompt)
        window, mask = (answer.crop, answer.mask) if answer else self._find(frame, prompt)
        closer = self._policy.choose(bounding_box(mask))
        if closer.width < WORTH_ZOOMING * window.width and _holds(closer, prompt):
            return self._answer_in(closer, frame, prompt)
        return answer or self._answer_in(window, frame, prompt)

    def correct(self, frame: Frame, prompt: FramePrompt, context: Context) -> steps.Decoded:
        """Apply clicks to a mask that was tracked before, with the memories it was tracked with.

        A refiner draws the whole mask anew at every click, without what it knew when it tracked. So each click changes
        only the piece that it points at; the rest stays as it was tracked.
        """
        decoded, model = None, self._network.model
        previous = context.previous
        for count, point in enumerate(prompt.points, start=1):
            clues = replace(context.clues, hint=previous.clamp(-LOGIT_LIMIT, LOGIT_LIMIT))
            decoded = self._decode(frame, context.embedding, clues, prompt, count, is_tracking=True)
            if model.refiner is not None:
                x, y = frame.crop.to_network(point.x, point.y, decoded.low_res.shape[-1])
                decoded = steps.redraw(model, decoded, confine(decoded.low_res, previous, x, y, point.positive))
            previous = decoded.low_res
        return decoded

    def to_mask(self, crop: Crop, low_res: torch.Tensor) -> NDArray[np.bool_]:
        """Frame-sized masks (B, H, W) of network logits (B, 1, h, w)."""
        window = (crop.to_pixels(low_res) > 0).cpu().numpy()
        return crop.place(window, self._policy.height, self._policy.width)

    def _find(self, index: int, prompt: FramePrompt) -> tuple[Crop, NDArray[np.bool_]]:
        """Look for a clicked object in the whole frame and in smaller windows: the surest of them and its mask.

        The refiner alone is quick, and it says how sure it is in a way that holds for every window.
        """
        middle = np.mean([(point.x, point.y) for point in prompt.points if point.positive], axis=0)
        windows = [one for one in self._policy.halve(*middle, NUM_WINDOWS) if _holds(one, prompt)]
        images = steps.to_grey(torch.cat([self._cache.look(index, window) for window in windows]))
        side, logits = self._network.size, None
        for count in range(_first_positive(prompt), len(prompt.points) + 1):
            given = [_to_tensors(prompt, count, window, self._network) for window in windows]
            coordinates, labels = (torch.cat(parts) for parts in zip(*given, strict=True))
            logits = self._network.glance(Clues(images, logits).with_points((coordinates, labels), side))
        best = int(expected_iou(logits).argmax())
        return windows[best], self.to_mask(windows[best], logits[best : best + 1])[0]

    def _answer_in(self, crop: Crop, index: int, prompt: FramePrompt) -> Prompted:
        """Segment the object under one crop; what clicks find on the slices beside it has a say, too."""
        model = self._network.model
        decoded = self._replay(self._cache.get(index, crop), prompt)
        if model.refiner is not None:
            beside = self._cache.slices_beside(index) if prompt.box is None else ()
            others = [self._replay(self._cache.get(one, crop), prompt).low_res for one in beside]
            mean = (decoded.low_res + NEIGHBOUR_SHARE * sum(others)) / (1 + NEIGHBOUR_SHARE * len(others))
            decoded = replace(steps.redraw(model, decoded, raise_to_best(mean)), iou=expected_iou(mean))
        return Prompted(self.to_mask(crop, decoded.low_res)[0], crop, decoded)

    def _replay(self, frame: Frame, prompt: FramePrompt) -> steps.Decoded:
        """Answer the box, then every click with the mask before it."""
        model = self._network.model
        embedding = None if self._network.answers_alone else steps.no_memory(model, frame.features)
        first = 0 if prompt.box is not None else _first_positive(prompt)
        clues = Clues(frame.grey)
        for count in range(first, len(prompt.points) + 1):
            decoded = self._decode(frame, embedding, clues, prompt, count, is_tracking=False)
            clues = replace(clues, hint=decoded.low_res.clamp(-LOGIT_LIMIT, LOGIT_LIMIT))
        return decoded

    def _decode(
        self,
        frame: Frame,
        embedding: torch.Tensor | None,
        clues: Clues,
        prompt: FramePrompt,
        count: int,
        is_tracking: bool,
    ) -> steps.Decoded:
        """Answer the box and the first ``count`` points; without an embedding the refiner does it alone."""
        network = self._network
        points = _to_tensors(prompt, count, frame.crop, network)
        clues = clues.with_points(points, network.size)
        if embedding is None:
            return steps.draw(network.model, network.glance(clues))
        multimask = network.uses_multimask(points[1].shape[1], is_tracking)
        decoded = steps.decode(network.model, embedding, frame.features, points, clues.hint, multimask=multimask)
        return network.refine(decoded, clues)


def confine(drawn: torch.Tensor, before: torch.Tensor, x: float, y: float, positive: bool) -> torch.Tensor:
    """Let a click change only the piece of a mask that it points at, and that one for certain.

    Args:
        drawn: (1, 1, h, w) logits with the click.
        before: (1, 1, h, w) logits without it.
        x: Column of the click, in pixels of the logits.
        y: Row of the click.
        positive: Whether it shows the object.

    Returns:
        (1, 1, h, w) logits before, where the click has no say.
    """
    sign, side = (1 if positive else -1), drawn.shape[-1]
    line = torch.arange(side, device=drawn.device)
    near = (line - x) ** 2 + (line[:, None] - y) ** 2 <= (CLICK_REACH * side) ** 2
    told = torch.where(near, sign * (sign * drawn).clamp_min(CLICK_LOGIT), drawn)
    changed = ((sign * told > 0) & (sign * before <= 0))[0, 0].cpu().numpy()
    pieces, _ = label_components(changed)
    pointed_at = np.unique(pieces[near.cpu().numpy() & changed])
    has_say = torch.from_numpy(np.isin(pieces, pointed_at) & changed).to(near.device) | near
    return torch.where(has_say, told, before)


def _first_positive(prompt: FramePrompt) -> int:
    """Number of points up to the first positive one: what comes before it shows no object yet."""
    return next((number for number, point in enumerate(prompt.points, start=1) if point.positive), len(prompt.points))


def _holds(crop: Crop, prompt: FramePrompt) -> bool:
    """Whether all points of a prompt lie in a window."""
    return all(
        crop.x <= point.x < crop.x + crop.width and crop.y <= point.y < crop.y + crop.height for point in prompt.points
    )


def _to_tensors(prompt: FramePrompt, count: int, crop: Crop, network: Network) -> tuple[torch.Tensor, torch.Tensor]:
    """Box corners and points as (1, P, 2) network pixels and (1, P) labels in SAM's coding."""
    pixels, labels = [], []
    if prompt.box is not None:
        box = prompt.box
        pixels += [(box.x0, box.y0), (box.x1, box.y1)]
        labels += [2, 3]
    for point in prompt.points[:count]:
        pixels.append((point.x, point.y))
        labels.append(int(point.positive))
    coordinates = [crop.to_network(x, y, network.size) for x, y in pixels]
    return (
        torch.tensor([coordinates], dtype=torch.float32, device=network.device),
        torch.tensor([labels], dtype=torch.int32, device=network.device),
    )
