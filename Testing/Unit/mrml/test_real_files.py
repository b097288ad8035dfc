"""Slicer's reader and the project's own see a real file at the same place, voxel by voxel."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.geometry import Axis

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.cli.readers import read_image  # noqa: E402
from DDSAM2SlicerLib.mrml import volumes  # noqa: E402 (needs slicer)
from DDSAM2SlicerLib.mrml.segmentations import (  # noqa: E402
    SegmentWriter,
    add_segment,
    create_segmentation,
    read_volume_mask,
)


@pytest.mark.parametrize(
    "name",
    [
        "odd_geometry/CT_pitch.nii.gz",
        "odd_geometry/avf_float_32.nrrd",
        "odd_geometry/adi_slice.nrrd",
        "msd_hippocampus/hippocampus_008.nii.gz",
        "sts_sarcoma/STS_003_PET.nii.gz",
    ],
)
def test_both_readers_agree(scene, shared_data, name):
    path = shared_data / name
    volume = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), "image", 0)
    image = read_image(path)
    assert volumes.volume_geometry(volume).same_grid_as(image.geometry)
    np.testing.assert_array_equal(volumes.volume_array(volume), image.arrays[0])


def test_a_real_label_map_makes_the_round_trip_through_frames(scene, shared_data):
    folder = shared_data / "msd_hippocampus"
    load = slicer.modules.volumes.logic().AddArchetypeVolume
    volume = load(str(folder / "hippocampus_008.nii.gz"), "image", 0)
    labels = volumes.volume_array(load(str(folder / "hippocampus_008_label.nii.gz"), "labels", 0))
    node = create_segmentation(volume, "result")
    segments = {label: add_segment(node, f"label {label}") for label in (1, 2)}
    frames = volumes.frames_along_axis(volume, Axis.J)
    writer = SegmentWriter(node, volume, segments)
    for index in range(frames.num_frames):
        shown = frames.from_volume(labels, index)
        writer.write_frame(frames, index, {label: shown == label for label in segments})
    for label, segment_id in segments.items():
        np.testing.assert_array_equal(read_volume_mask(node, segment_id, volume), labels == label)
