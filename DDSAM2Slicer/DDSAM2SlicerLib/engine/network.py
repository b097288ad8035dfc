"""The model made ready to run: device, number format, prepared modules, frames ahead of their use (layer: engine)."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial

import torch

from ..core.frames import FrameSource
from ..core.settings import EngineSettings
from ..model import steps
from ..model.prior import Motion
from ..model.refiner import Clues
from .crop import Crop
from .device import computing, has_bf16_unit, wants_bf16
from .encoder import FrameEncoder
from .memory_reader import MemoryReader

CACHED_FRAMES = 8
"""Encoded frames kept per session: enough to re-encode the recent memories of several objects when the crop moves."""
SMALL_NETWORK = 10_000_000
"""Numbers of a network so small that one frame hardly keeps two cores busy: its next frame is prepared beside it."""
STORED_DTYPE = torch.bfloat16
"""Memories are stored in this format whatever the network computes in, as sam2's predictor does."""
REACH_ALONE = 2
"""Between slices the refiner alone draws a mask from so many frames before it; in time the last one is better."""

Motions = dict[tuple[int, int, Crop], Motion]
"""Motions by the frames they lead from and to, and the crop."""


@dataclass(eq=False)
class Frame:
    """One frame as the network sees it."""

    index: int
    crop: Crop
    grey: torch.Tensor  # (1, 1, R, R), see ``steps.to_grey``
    encode: Callable[[], steps.Features]

    @cached_property
    def features(self) -> steps.Features:
        """What the encoder makes of it, once asked for."""
        return self.encode()


class Network:
    """Everything of a predictor that is shared by its sessions."""

    def __init__(self, model: torch.nn.Module, settings: EngineSettings, device: torch.device) -> None:
        """Move the model to the device; in bfloat16 a converted copy is used and the given model stays as it is."""
        self.is_bf16 = wants_bf16(device, settings.precision, model.image_size)
        self.device = device
        with computing(device, is_bf16=False):
            self.reader = MemoryReader(model.to(device).eval(), torch.bfloat16 if self.is_bf16 else torch.float32)
            self.model = _convert(model) if self.is_bf16 else model
            self.encoder = FrameEncoder(self.model)
        self.prior = model.mask_prior if settings.mask_prior else None
        self._memory_use = settings.memory_use
        # the refiner's convolutions gain from 16 bits at any size
        self._refines_in_bf16 = self.is_bf16 or (settings.precision == "auto" and has_bf16_unit(device))
        self._half = torch.get_num_threads() // 2
        is_small = sum(parameter.numel() for parameter in model.parameters()) < SMALL_NETWORK
        may_share = device.type == "cpu" and self._half and is_small
        self.helper = ThreadPoolExecutor(1, "frames", torch.set_num_threads, (self._half,)) if may_share else None
        self.size = model.image_size
        self.mask_side = steps.mask_side(model)

    def computing(self) -> AbstractContextManager[None]:
        """Context in which all network calls belong."""
        return computing(self.device, self.is_bf16)

    @contextmanager
    def sharing_cores(self) -> Iterator[None]:
        """Context in which half of the cores are left to the helper, if there is one."""
        count = torch.get_num_threads()
        torch.set_num_threads(self._half if self.helper else count)
        try:
            yield
        finally:
            torch.set_num_threads(count)

    @property
    def answers_alone(self) -> bool:
        """Whether the refiner answers prompts without encoder and decoder, which add nothing that it misses."""
        return self._memory_use != "always" and self.model.refiner is not None

    @property
    def follows_alone(self) -> bool:
        """Whether motion and refiner follow masks without the network's memory."""
        return self.answers_alone and self.prior is not None

    def refine(self, decoded: steps.Decoded, clues: Clues) -> steps.Decoded:
        """Redraw decoded masks, if the model has a refiner."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._refines_in_bf16):
            return steps.refine(self.model, decoded, clues)

    def glance(self, clues: Clues) -> torch.Tensor:
        """Mask logits (B, 1, R, R) of the refiner alone: quick, without the encoder."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._refines_in_bf16):
            return self.model.refiner(clues)

    def uses_multimask(self, num_points: int, is_tracking: bool) -> bool:
        """Whether the decoder offers three masks, by SAM 2's rule for so many points (a box counts as two)."""
        model = self.model
        is_allowed = model.multimask_output_in_sam and (not is_tracking or model.multimask_output_for_tracking)
        return is_allowed and model.multimask_min_pt_num <= num_points <= model.multimask_max_pt_num

    def remember(
        self,
        features: steps.Features,
        high_res: torch.Tensor,
        object_score: torch.Tensor,
        pointer: torch.Tensor,
        is_prompted: bool,
    ) -> torch.Tensor:
        """Encode masks (B, 1, S, S) of one frame into memory tokens (B, h*w, Cm) in storage format."""
        # one object at a time stays in a CPU's cache, a GPU wants them all
        count = 1 if self.device.type == "cpu" else high_res.shape[0]
        batches = zip(high_res.split(count), object_score.split(count), pointer.split(count), strict=True)
        memories = [
            steps.remember(self.model, features.expand(len(one)), one, score, vector, is_prompted)
            for one, score, vector in batches
        ]
        encoded = torch.cat([memory.features for memory in memories])
        return encoded.to(STORED_DTYPE).flatten(2).transpose(1, 2).contiguous()


class FrameCache:
    """Makes, encodes and registers frames of one stack, on demand or ahead of it, and keeps the latest few."""

    def __init__(self, network: Network, source: FrameSource) -> None:
        """Keep the stack; no frame is read yet."""
        self._network = network
        self._source = source
        self.is_in_time = source.frame_step_mm is None
        self.reach = REACH_ALONE if network.follows_alone and not self.is_in_time else 1
        self._frames: OrderedDict[tuple[int, Crop], Frame] = OrderedDict()
        self._ahead: OrderedDict[tuple[int, Crop], Future[tuple[Frame, Motions]]] = OrderedDict()
        self._motions: Motions = OrderedDict()

    def get(self, index: int, crop: Crop) -> Frame:
        """Return a frame under a crop, made if it is not at hand."""
        key = (index, crop)
        if key in self._ahead:
            frame, motions = self._ahead.pop(key).result()
            _keep(self._frames, key, frame)
            for way, motion in motions.items():
                _keep(self._motions, way, motion)
        if key not in self._frames:
            _keep(self._frames, key, self._make(index, crop, self.look(index, crop)))
        self._frames.move_to_end(key)
        return self._frames[key]

    def motion(self, previous: int, index: int, crop: Crop) -> Motion:
        """How the image moved from frame ``previous`` to frame ``index`` under a crop; found if not at hand."""
        key = (previous, index, crop)
        if key not in self._motions:
            images = (self.get(one, crop).grey for one in (previous, index))
            _keep(self._motions, key, self._network.prior.register(*images, self.step(crop)))
        return self._motions[key]

    def prepare(self, index: int, sources: Iterable[int], crop: Crop) -> None:
        """Let the helper, if there is one, encode a frame and find the motions from other frames to it."""
        key = (index, crop)
        if self._network.helper is None or key in self._ahead:
            return
        frame, step, prior = self.get(index, crop), self.step(crop), self._network.prior
        before = {(one, *key): self.get(one, crop).grey for one in sources if (one, *key) not in self._motions}

        def work() -> tuple[Frame, Motions]:
            with self._network.computing():
                if not self._network.follows_alone:
                    frame.features  # noqa: B018 - kept once it is asked for
                if prior is None:
                    return frame, {}
                return frame, {way: prior.register(grey, frame.grey, step) for way, grey in before.items()}

        _keep(self._ahead, key, self._network.helper.submit(work))

    def look(self, index: int, crop: Crop) -> torch.Tensor:
        """Return the normalised pixels (1, 3, S, S) of a frame under a crop; nothing is encoded or kept."""
        pixels = crop.cut(self._source.frame(index), self._network.size)
        return steps.normalise(pixels.to(self._network.device))

    def step(self, crop: Crop) -> torch.Tensor:
        """Distance between neighbouring frames over the side of a crop, as ``Clues.step``; 0 in time."""
        side_mm = crop.width * self._source.pixel_spacing_mm[0]
        return torch.full((1, 1, 1, 1), (self._source.frame_step_mm or 0.0) / side_mm, device=self._network.device)

    def slices_beside(self, index: int) -> list[int]:
        """The slices before and behind one; none in time."""
        near = [] if self.is_in_time else [index - 1, index + 1]
        return [one for one in near if 0 <= one < self._source.num_frames]

    def clear(self) -> None:
        """Forget all frames."""
        for kept in (self._frames, self._ahead, self._motions):
            kept.clear()

    def _make(self, index: int, crop: Crop, image: torch.Tensor) -> Frame:
        """Make a frame of an image (1, 3, S, S)."""
        return Frame(index, crop, steps.to_grey(image), partial(self._network.encoder.encode, image))


def _keep(store: OrderedDict, key: tuple, value: object) -> None:
    """Add a value to a store of the latest few."""
    store[key] = value
    while len(store) > CACHED_FRAMES:
        store.popitem(last=False)


def _convert(model: torch.nn.Module) -> torch.nn.Module:
    """Copy the model with its linear and convolution weights in bfloat16, so that autocast need not convert them."""
    converted = copy.deepcopy(model)
    for module in converted.modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            module.to(torch.bfloat16)
    return converted
