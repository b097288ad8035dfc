"""Sessions on a small random network and a moving scene, without zoom, as the tests of sessions open them."""

import numpy as np
from upstream import as_stack

from DDSAM2SlicerLib.core.frames import IntensityMapping, VolumeFrames
from DDSAM2SlicerLib.core.geometry import Axis, VolumeGeometry
from DDSAM2SlicerLib.core.prompts import PromptSet
from DDSAM2SlicerLib.core.settings import EngineSettings
from DDSAM2SlicerLib.engine import network
from DDSAM2SlicerLib.engine.predictor import Predictor

SIZE = 64
SETTINGS = {
    "zoom": False,
    "precision": "fp32",
    "stop_after_empty": 0,
    "mask_prior": False,
    "min_certainty": 0.0,
}


def open_session(model, frames, **settings):
    return Predictor(model, EngineSettings(**{**SETTINGS, **settings}), "cpu").open(as_stack(frames))


def with_masks(masks, *keys):
    prompts = PromptSet.empty()
    for object_id, frame in keys:
        prompts = prompts.with_mask(object_id, frame, masks[frame, object_id - 1])
    return prompts


def collect(results):
    return {
        (one, result.frame): mask
        for result in results
        for one, mask in zip(result.object_ids, result.masks, strict=True)
    }


def count_encoder_calls(monkeypatch):
    calls = []
    original = network.FrameEncoder.encode
    monkeypatch.setattr(network.FrameEncoder, "encode", lambda self, image: calls.append(1) or original(self, image))
    return calls


def follow_slices(model, frames, prompts, locked=None, direction="both", **settings):
    geometry = VolumeGeometry(frames.shape, np.diag([1.0, 1.0, 2.0, 1.0]))
    source = VolumeFrames(frames, geometry, Axis.K, IntensityMapping(0.0, 255.0))
    session = Predictor(model, EngineSettings(**{**SETTINGS, "mask_prior": True, **settings}), "cpu").open(source)
    session.set_prompts(prompts)
    return list(session.propagate(direction, locked=locked))
