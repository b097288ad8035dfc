"""Labelled images are shown in training as they were recorded."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from DDSAM2SlicerLib.core.errors import SettingsError
from DDSAM2SlicerLib.training import recorded
from DDSAM2SlicerLib.training.appearance import render
from DDSAM2SlicerLib.training.atlas import load_label_map
from DDSAM2SlicerLib.training.clips import ClipSettings, make_clips
from DDSAM2SlicerLib.training.fields import Draws
from DDSAM2SlicerLib.training.recorded import recorded_scene


def write_pair(folder, labels, image, spacing=(1.0, 1.0, 1.0)):
    """Write labels and image, (Z, Y, X) or, as a series of one slice, (T, 1, Y, X); returns the path of the labels."""
    for name, values in (("case_labels.nii.gz", labels), ("case_image.nii.gz", image)):
        frames = [sitk.GetImageFromArray(frame) for frame in values] if values.ndim == 4 else None
        file = sitk.JoinSeries(frames) if frames else sitk.GetImageFromArray(values)
        file.SetSpacing(spacing + (1.0,) * (file.GetDimension() - 3))
        sitk.WriteImage(file, folder / name)
    return folder / "case_labels.nii.gz"


@pytest.fixture
def ball(tmp_path):
    """A bright ball (5) in a volume of 2.5 mm slices whose brightness tells the slice."""
    z, y, x = np.mgrid[:24, :60, :60]
    inside = (2.5 * (z - 12)) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 < 15**2
    image = (10 * z + 500 * inside).astype(np.int16)
    return write_pair(tmp_path, 5 * inside.astype(np.uint8), image, (1.0, 1.0, 2.5))


def test_labels_lie_where_the_image_shows_them(ball, monkeypatch):
    """Slice by slice and in motion, whatever the view, in one part or two."""
    monkeypatch.setattr(recorded, "UNNAMED", 0.0)
    for seed in range(12):
        scene = recorded_scene(Draws(seed), 6, 64, seed % 2 == 1, load_label_map(ball))
        background = scene.labels[scene.image < 1000].mode().values
        overlap = ((scene.labels != background) == (scene.image > 2000)).float().mean()
        assert scene.labels.shape == (6, 64, 64)
        assert overlap > 0.97


def test_a_structure_may_be_asked_for_up_to_a_plane_only(ball, monkeypatch):
    """The other side is named otherwise, though the image shows nothing there."""
    monkeypatch.setattr(recorded, "UNNAMED", 0.0)
    monkeypatch.setattr(recorded, "DIVIDED", 1.0)
    is_divided = []
    for seed in range(8):
        scene = recorded_scene(Draws(seed), 6, 64, False, load_label_map(ball))
        own, rest = scene.labels == scene.wholes[0][0], scene.labels == scene.num_labels - 1
        assert (scene.image[own | rest] > 1500).float().mean() > 0.97
        is_divided.append(bool(own.any() and rest.any()))
    assert sum(is_divided) >= 6


def test_all_that_is_named_may_be_asked_for_at_once(tmp_path, monkeypatch):
    """As users draw a box around the whole of something that has parts."""
    monkeypatch.setattr(recorded, "JOINED", 1.0)
    labels = np.zeros((20, 48, 48), np.uint8)
    labels[:, 8:24, 8:40], labels[:, 24:40, 8:40] = 1, 2
    loaded = load_label_map(write_pair(tmp_path, labels, 1000 * labels.astype(np.int16)))
    scenes = [recorded_scene(Draws(seed), 4, 64, False, loaded) for seed in range(4)]
    assert any(len(whole) == 2 for scene in scenes for whole in scene.wholes)


def test_a_region_that_nobody_named_may_be_asked_for(ball, monkeypatch):
    """It is as bright as one place, and then it can be the whole ball, or it lies along the ball's border."""
    monkeypatch.setattr(recorded, "UNNAMED", 1.0)
    shares_of_ball, reaches_beyond = [], []
    for seed in range(24):
        scene = recorded_scene(Draws(seed), 6, 64, seed % 2 == 1, load_label_map(ball))
        asked, is_ball = torch.isin(scene.labels, torch.tensor(scene.wholes[0])), scene.image > 2000
        if asked.any() and is_ball.any():
            shares_of_ball.append(float((asked & is_ball).sum() / is_ball.sum()))
            reaches_beyond.append(bool((asked & ~is_ball).any()))
    assert any(0.1 < share < 0.9 for share in shares_of_ball)  # an inside or a rim
    assert any(share > 0.99 for share in shares_of_ball)
    assert any(reaches_beyond)


def test_rims_are_measured_within_each_frame():
    """A margin does not reach into a frame that does not show the structure."""
    structure = torch.zeros(3, 64, 64, dtype=torch.bool)
    structure[1, 20:44, 20:44] = True
    rims = [rim for seed in range(20) if (rim := recorded._rim(Draws(seed), structure)) is not None]
    assert len(rims) >= 10
    assert all(rim[1].any() and not rim[0].any() and not rim[2].any() for rim in rims)
    assert any((rim & ~structure).any() for rim in rims)
    assert any((structure & ~rim).any() for rim in rims)


def test_thick_slices_are_shown_as_they_were_recorded(ball):
    """Each frame is one slice of the volume, never a mixture of two; where slices end, they go back."""
    loaded = load_label_map(ball)
    slices = loaded.image[:, 0, 0].float()
    for seed in range(6):
        scene = recorded_scene(Draws(seed), 40, 64, False, loaded)
        for frame in scene.image:
            shown = frame[(frame > 0) & (frame < 1500)]
            assert not len(shown) or torch.isin(shown.round(), slices).float().mean() > 0.9
        assert scene.step > 0
        assert len({round(float(frame.median())) for frame in scene.image}) <= len(slices)


def test_a_series_is_played_and_a_single_image_is_moved(tmp_path):
    """Both are time: no step, and the object moves."""
    labels = np.zeros((12, 1, 48, 48), np.uint8)
    for frame in range(12):
        labels[frame, 0, 10:30, 5 + frame : 25 + frame] = 1
    for values in (labels, labels[:1, 0]):
        loaded = load_label_map(write_pair(tmp_path, values, values.astype(np.float32)))
        load_label_map.cache_clear()
        assert loaded.is_flat
        scene = recorded_scene(Draws(3), 8, 48, True, loaded)
        assert scene.step == 0
        assert (scene.labels[0] != scene.labels[-1]).any()
        assert scene.image.amax() > 4000


def test_clips_of_labelled_images_show_their_structures(ball):
    """Real grey values, in different windows, with the structure on the first frame; the same for the same seed."""
    settings = ClipSettings(num_frames=3, size=64, scene_size=64, label_maps=str(ball.parent), label_map_share=1.0)
    clips = [clip for seed in range(12) for clip in make_clips(seed, settings)]
    again = [clip for seed in range(12) for clip in make_clips(seed, settings)]
    assert len(clips) >= 8
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(clips, again, strict=True))
    contrasts = [
        abs(float(clip.frames[0][clip.masks[0]].float().mean() - clip.frames[0][~clip.masks[0]].float().mean()))
        for clip in clips
    ]
    assert min(contrasts) > 20


def test_recorded_images_are_rendered_whole(ball):
    """They are drawn in 8 bits as generated ones are."""
    frames = render(Draws(1), recorded_scene(Draws(1), 4, 64, False, load_label_map(ball)))
    assert frames.dtype == torch.uint8
    assert frames.float().std() > 5


def test_an_image_of_another_size_is_refused(tmp_path):
    """The sentence says both sizes."""
    path = write_pair(tmp_path, np.ones((4, 20, 20), np.uint8), np.ones((4, 20, 21), np.int16))
    with pytest.raises(SettingsError, match=r"\(4, 20, 20\) voxels and its image \(4, 20, 21\)"):
        load_label_map(path)
