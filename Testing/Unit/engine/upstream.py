"""sam2's own video predictor around given weights and frames, without image files; and a stack of test frames."""

from unittest import mock

import numpy as np
import torch
from sam2.build_sam import build_sam2_video_predictor

from DDSAM2SlicerLib.core.frames import TimeFrames
from DDSAM2SlicerLib.core.intensity import IntensityMapping
from DDSAM2SlicerLib.model.architectures import build_model
from DDSAM2SlicerLib.model.steps import normalise


def build_lively_model(spec, seed=3):
    """A random model whose logits are large and depend on every memory, so that a missing or misplaced one shows."""
    torch.manual_seed(seed)
    model = build_model(spec)
    with torch.no_grad():
        model.maskmem_tpos_enc.normal_(std=1.0)
        model.no_obj_embed_spatial.normal_(std=1.0)
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
            if (
                name.startswith(("memory_attention", "memory_encoder", "sam_mask_decoder", "obj_ptr"))
                and parameter.dim() > 1
            ):
                parameter.mul_(1.8)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.fill_(20.0)
    return model


def build_upstream(model):
    """Upstream's predictor from upstream's own configuration of the tiny model, with the weights of ours."""
    predictor = build_sam2_video_predictor(
        "configs/sam2.1/sam2.1_hiera_t.yaml",
        None,
        device="cpu",
        hydra_overrides_extra=[f"++model.image_size={model.image_size}"],
    )
    predictor.load_state_dict(model.state_dict())
    predictor.fill_hole_area = 0  # needs a CUDA extension
    predictor.add_all_frames_to_correct_as_cond = True
    return predictor


def start_upstream(predictor, frames):
    """Upstream's inference state for 8-bit frames (T, S, S), through its own ``init_state``."""
    images = normalise(torch.from_numpy(frames))
    with mock.patch("sam2.sam2_video_predictor.load_video_frames", return_value=(images, *frames.shape[1:])):
        return predictor.init_state("")


def draw_frames(count, size, seed=0):
    """Three textured discs that wander over a textured ground: frames (T, S, S) uint8, masks (T, 3, S, S) bool."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(90, 12, (size, size))
    rows, columns = np.mgrid[:size, :size]
    frames, masks = [], []
    for number in range(count):
        frame, own = ground.copy(), []
        for which, (row, column, radius) in enumerate([(0.3, 0.3, 0.12), (0.6, 0.65, 0.16), (0.75, 0.25, 0.08)]):
            centre_row, centre_column = (row + 0.006 * number) * size, (column + 0.004 * number * (which - 1)) * size
            disc = (rows - centre_row) ** 2 + (columns - centre_column) ** 2 < (radius * size) ** 2
            frame[disc] += 60 + 20 * which
            own.append(disc)
        frames.append(frame)
        masks.append(np.stack(own))
    return np.clip(np.stack(frames), 0, 255).astype(np.uint8), np.stack(masks)


def as_stack(frames):
    """A frame source that leaves 8-bit values as they are."""
    return TimeFrames(frames, mapping=IntensityMapping(0.0, 255.0))
