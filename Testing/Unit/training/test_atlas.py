"""Label maps lend their shapes to generated clips."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from DDSAM2SlicerLib.core.errors import SettingsError
from DDSAM2SlicerLib.training import data
from DDSAM2SlicerLib.training.atlas import (
    aim,
    find_label_maps,
    interpolated_labels,
    labels_in_view,
    load_label_map,
    nearest_labels,
)
from DDSAM2SlicerLib.training.clips import ClipSettings, make_clips
from DDSAM2SlicerLib.training.data import scene_batches
from DDSAM2SlicerLib.training.fields import Draws
from DDSAM2SlicerLib.training.scenes import _add_label_map, _Canvas, grid_of, make_scene


@pytest.fixture
def label_map(tmp_path):
    """A body (7) of 2 mm slices with an organ (300) in it and a speck (9), in a file."""
    values = np.zeros((20, 40, 40), np.int16)
    values[2:18, 5:35, 5:35] = 7
    values[6:14, 12:24, 14:26] = 300
    values[3, 6, 6] = 9
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(image, tmp_path / "body.nii.gz")
    return tmp_path / "body.nii.gz"


def test_labels_are_counted_anew_and_specks_are_not_aimed_at(label_map):
    """What a file calls 7, 9 and 300 is 1, 2 and 3."""
    loaded = load_label_map(label_map)
    assert loaded.values.unique().tolist() == [1, 2, 3]
    assert sorted(loaded.boxes) == [1, 3]
    assert loaded.spacing.tolist() == [1.0, 1.0, 2.0]
    assert loaded.values.shape == (16, 30, 30)  # without what is not labelled around it
    assert loaded.values[8, 13, 15] == 3


def test_most_views_show_what_they_aim_at(label_map):
    """Turned, bent and from any side, the structure is in the picture and does not fill it."""
    shares = []
    for seed in range(20):
        draws = Draws(seed)
        view = aim(draws, load_label_map(label_map))
        labels = labels_in_view(draws, view, grid_of(32)[None], 64)
        shares.append((labels == view.label).float().mean().item())
    assert labels.shape == (1, 64, 64)
    assert sum(0.02 < share < 0.7 for share in shares) >= 16


def test_what_lies_beyond_the_volume_has_no_label(label_map):
    """Neither way of looking repeats the volume's edge."""
    values = load_label_map(label_map).values
    places = torch.tensor([[[[-30.0, 15.0, 8.0], [13.0, 13.0, 8.0], [13.0, 13.0, 90.0]]]])
    assert nearest_labels(values, places).flatten().tolist() == [0, 3, 0]
    assert interpolated_labels(values, places).flatten().tolist() == [0, 3, 0]
    assert not interpolated_labels(values, places + 500).any()


def test_borders_between_voxels_are_smooth_where_few_are_seen():
    """A staircase of voxels becomes a slope, which nearest voxels do not."""
    steps = torch.arange(12)
    values = (steps.view(1, -1, 1) > steps.view(1, 1, -1)).to(torch.int16).expand(3, -1, -1)
    y, x = torch.meshgrid(torch.linspace(2, 9, 71), torch.linspace(2, 9, 71), indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1)[None]
    slope = (y - x > 0.5)[None].long()
    smooth, rough = (look_up(values, places) for look_up in (interpolated_labels, nearest_labels))
    assert (smooth != slope).sum() < 0.6 * (rough != slope).sum()


def test_a_scene_asks_for_a_structure_of_its_label_map(label_map):
    """It is among the wholes, and its labels are as many as are counted."""
    for seed in range(6):
        scene = make_scene(Draws(seed), 4, 64, is_time=False, label_map=load_label_map(label_map))
        assert int(scene.labels.max()) < scene.num_labels
        assert (scene.labels == scene.wholes[0][0]).any()


def test_slices_lie_as_far_apart_as_lets_the_structure_end(label_map):
    """Half of it is 4 to 30 slices long, whatever the path's own step was."""
    for seed in range(6):
        view = aim(Draws(seed), load_label_map(label_map))
        canvas = _Canvas(torch.zeros(4, 64, 64, dtype=torch.int64), 1, grid_of(32).repeat(4, 1, 1, 1), 0.01)
        _add_label_map(Draws(seed), canvas, load_label_map(label_map))
        assert 4 <= view.depth / canvas.step <= 30


def test_clips_are_drawn_from_a_folder_of_label_maps(label_map):
    """With the folder in the settings clips differ, and are the same for the same seed."""
    plain = ClipSettings(num_frames=3, size=64, scene_size=64)
    settings = ClipSettings(num_frames=3, size=64, scene_size=64, label_maps=str(label_map.parent), label_map_share=1.0)
    clips = [clip for seed in range(8) for clip in make_clips(seed, settings)]
    again = [clip for seed in range(8) for clip in make_clips(seed, settings)]
    others = [clip for seed in range(8) for clip in make_clips(seed, plain)]
    assert len(clips) >= 4
    assert all(torch.equal(one.frames, other.frames) for one, other in zip(clips, again, strict=True))
    assert not torch.equal(clips[0].frames, others[0].frames)


def test_every_folder_is_shown_as_often_as_every_other(label_map):
    """Label maps are listed by folder; an image beside one is none."""
    below = label_map.parent / "below"
    below.mkdir()
    for name in ("a_labels.nii.gz", "a_image.nii.gz", "b.nrrd"):
        (below / name).touch()
    listed = find_label_maps(str(label_map.parent))
    assert [[path.name for path in folder] for folder in listed] == [["a_labels.nii.gz", "b.nrrd"], ["body.nii.gz"]]


def test_a_folder_without_usable_label_maps_is_refused(tmp_path):
    """One sentence says what is accepted."""
    with pytest.raises(SettingsError, match=r"no label maps in .*\.nii\.gz"):
        find_label_maps(str(tmp_path))
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((2, 2, 2), np.uint8)), tmp_path / "tiny.nrrd")
    with pytest.raises(SettingsError, match="200 voxels; take this file out"):
        load_label_map(tmp_path / "tiny.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((40, 40), np.uint8)), tmp_path / "flat.nrrd")
    with pytest.raises(SettingsError, match="not a volume of labels"):
        load_label_map(tmp_path / "flat.nrrd")
    (tmp_path / "broken.nii").write_bytes(b"no image")
    with pytest.raises(SettingsError, match="cannot be read; take this file out"):
        load_label_map(tmp_path / "broken.nii")


def test_one_bad_file_is_named_and_ends_no_training(label_map, caplog):
    """The scenes of the others, and those without a label map, still come."""
    (label_map.parent / "broken.nii").write_bytes(b"no image")
    settings = ClipSettings(num_frames=4, size=64, scene_size=64, label_maps=str(label_map.parent), label_map_share=0.7)
    batches = islice(scene_batches(settings, seed=3), 6)
    assert all(len(batch.frames) for batch in batches)
    assert "broken.nii cannot be read" in caplog.text


def test_a_folder_of_bad_files_ends_training_with_one_sentence(tmp_path, monkeypatch):
    """It would wait for a clip for ever."""
    (tmp_path / "broken.nii").write_bytes(b"no image")
    monkeypatch.setattr(data, "MOST_EMPTY", 5)
    settings = ClipSettings(num_frames=4, size=64, scene_size=64, label_maps=str(tmp_path), label_map_share=1.0)
    with pytest.raises(SettingsError, match=r"5 scenes in a row gave no clip.*take these out of"):
        next(scene_batches(settings, seed=3))
