"""Clips are shown otherwise, never without their object, and frames and masks stay together."""

import pytest
import torch

from DDSAM2SlicerLib.training import variation
from DDSAM2SlicerLib.training.clips import MIN_PROMPT_PX
from DDSAM2SlicerLib.training.prompts import Batch
from DDSAM2SlicerLib.training.variation import vary

SIDE, BRIGHT, DARK = 48, 200, 40


@pytest.fixture
def a_batch():
    """Six clips of a bright ellipse that drifts to the right, on a dark ground."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    masks = torch.stack([((x - 16 - 2 * t) / 9) ** 2 + ((y - 20) / 6) ** 2 < 1 for t in range(4)]).repeat(6, 1, 1, 1)
    frames = torch.where(masks, BRIGHT, DARK).to(torch.uint8)
    return Batch(frames, masks, torch.full((6, 1, 1, 1), 0.1), "mask")


def seeds(count=8):
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_the_object_keeps_one_look_and_its_ground_another(a_batch, monkeypatch):
    monkeypatch.setattr(variation, "NOISY", 0.0)
    for generator in seeds():
        varied = vary(a_batch, generator)
        for frames, masks in zip(varied.frames.float(), varied.masks, strict=True):
            inside = frames[torch.nn.functional.avg_pool2d(masks.float(), 5, 1, 2) > 0.99]
            assert float(inside.std()) < 2


def test_the_object_stays_in_sight_on_its_first_frame(a_batch):
    for generator in seeds(20):
        assert int(vary(a_batch, generator).masks[:, 0].sum(dim=(1, 2)).min()) >= MIN_PROMPT_PX


def test_clips_differ_from_each_other_and_the_given_ones_stay(a_batch):
    before = a_batch.frames.clone()
    varied = vary(a_batch, torch.Generator().manual_seed(3))
    assert torch.equal(a_batch.frames, before)
    assert varied.frames.shape == before.shape
    assert varied.frames.dtype == torch.uint8
    assert len({tuple(clip.flatten().tolist()) for clip in varied.masks}) > 3


def test_what_looks_larger_lies_farther_apart(a_batch, monkeypatch):
    monkeypatch.setattr(variation, "MOVED", 1.0)
    monkeypatch.setattr(variation, "ZOOM_LOW", 0.5)
    monkeypatch.setattr(variation, "ZOOM_HIGH", 0.5)
    monkeypatch.setattr(variation, "SHIFT", 0.0)
    varied = vary(a_batch, torch.Generator().manual_seed(3))
    assert torch.allclose(varied.steps, 2 * a_batch.steps)
    assert float(varied.masks[:, 0].sum() / a_batch.masks[:, 0].sum()) > 2


def test_a_clip_that_tapers_is_never_played_backwards(a_batch):
    masks = a_batch.masks.clone()
    masks[:, -1, :, : SIDE // 2] = False
    for generator in seeds():
        areas = variation._reverse(Batch(a_batch.frames, masks, a_batch.steps, "mask"), generator).masks.sum(dim=(2, 3))
        assert (areas[:, 0] > areas[:, -1]).all()
