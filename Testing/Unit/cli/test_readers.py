"""Images from files: placement, time, colour, and one sentence for what cannot be used."""

import numpy as np
import pytest

from DDSAM2SlicerLib.cli.readers import read_image
from DDSAM2SlicerLib.core.errors import GeometryError, InputError


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_volume_reads_the_same_from_every_format(a_volume, write_itk, ending):
    array, geometry = a_volume
    image = read_image(write_itk(f"volume{ending}", array, geometry))
    assert image.num_times == 1
    assert image.geometry.same_grid_as(geometry)
    np.testing.assert_array_equal(image.arrays[0], array)


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".mha"])
def test_fourth_axis_is_time(a_volume, write_itk, ending):
    array, geometry = a_volume
    image = read_image(write_itk(f"series{ending}", np.stack([array, array + 1, array + 2]), geometry))
    assert image.is_series
    assert image.geometry.same_grid_as(geometry)
    np.testing.assert_array_equal(image.arrays[2], array + 2)


@pytest.mark.parametrize("place", [0, 3])
def test_list_axis_of_a_slicer_sequence_is_time_first_or_last(tmp_path, a_volume, place):
    import nrrd

    array, geometry = a_volume
    voxels = np.moveaxis(np.stack([array.T, array.T + 1]), 0, place)
    kinds = ["domain"] * 3
    kinds.insert(place, "list")
    directions = np.insert(np.diag([-1.0, -1, 1]) @ geometry.ijk_to_ras[:3, :3], place, np.nan, axis=1).T
    origin = geometry.ijk_to_ras[:3, 3] * [-1, -1, 1]
    header = {
        "kinds": kinds,
        "space": "left-posterior-superior",
        "space directions": directions,
        "space origin": origin,
    }
    nrrd.write(str(tmp_path / "x.seq.nrrd"), voxels, header)
    image = read_image(tmp_path / "x.seq.nrrd")
    assert image.num_times == 2
    assert image.geometry.same_grid_as(geometry)
    np.testing.assert_array_equal(image.arrays[1], array + 1)


def test_rgb_stays_rgb(shared_data):
    image = read_image(shared_data / "timeseries_us" / "ColorNrrdSample_vtk9.igs.nrrd")
    assert image.arrays[0].shape == (1, 648, 1152, 3)


def test_tracked_ultrasound_is_a_clip(shared_data):
    image = read_image(shared_data / "timeseries_us" / "Prostate10_video.igs.mhd")
    assert image.is_clip
    assert (image.num_times, image.geometry.shape_kji) == (10, (1, 480, 640))


@pytest.mark.parametrize("ending", [".avi", ".mp4"])
def test_video_is_a_clip_without_a_pixel_size(tmp_path, ending):
    import imageio.v3 as iio

    frames = np.zeros((6, 32, 48, 3), np.uint8)
    frames[:, 8:16, 8:16] = (200, 30, 30)
    path = tmp_path / f"clip{ending}"
    iio.imwrite(path, frames, fps=5)
    image = read_image(path)
    assert (image.num_times, image.arrays[0].shape) == (6, (1, 32, 48, 3))
    assert not image.is_calibrated
    assert image.times_s[1] == pytest.approx(0.2)
    assert image.arrays[3][0, 12, 12, 0] > 120


def test_colour_cine_is_rgb_with_size_and_times(shared_data):
    image = read_image(shared_data / "timeseries_misc" / "examples_ybr_color.dcm")
    assert (image.num_times, image.arrays[0].shape) == (30, (1, 240, 320, 3))
    assert image.geometry.spacing_mm[0] == pytest.approx(0.51, abs=0.01)
    assert image.times_s[3] == pytest.approx(0.1, abs=1e-3)
    green = image.arrays[0][0, 20, 190].astype(int)  # the mark beside the sector is green, not what YBR looks like
    assert green[1] > green[0] + 30


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"", "empty.nrrd", "is empty"),
        (b"NRRD0004\ntype: short\ndimension: 3\nsizes: 9 9 9\nencoding: gzip\n\nxx", "cut.nrrd", "cannot be read"),
        (b"not a nifti", "bad.nii.gz", "cannot be read"),
        (b"plain text", "notes.txt", "unknown type"),
        (b"RIFFxxxxAVI ", "cut.avi", "cannot be read"),
        (b"nothing", "bad.dcm", "cannot be read"),
    ],
)
def test_unreadable_file_is_named_with_the_reason(tmp_path, content, name, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}.*{sentence}"):
        read_image(tmp_path / name)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no file or folder"):
        read_image(tmp_path / "nowhere.nrrd")


def test_folder_without_dicom_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no DICOM image"):
        read_image(tmp_path)


def test_five_axes_are_refused(shared_data):
    with pytest.raises(InputError, match=r"5 axes \(4 x 4 x 4 x 4 x 4\)"):
        read_image(shared_data / "tiny_formats" / "image4x4x4x4x4.mha")


def test_four_values_per_voxel_are_refused(shared_data):
    with pytest.raises(InputError, match="4 values per voxel"):
        read_image(shared_data / "odd_geometry" / "CIT168.nii.gz")


def test_sheared_grid_is_refused_with_the_angle(tmp_path):
    import nrrd

    directions = [[1, 0, 0], [0.5, 1, 0], [0, 0, 1]]
    header = {"space": "left-posterior-superior", "space directions": directions, "kinds": ["domain"] * 3}
    nrrd.write(str(tmp_path / "sheared.nrrd"), np.zeros((3, 4, 5), np.uint8), header)
    with pytest.raises(GeometryError, match=r"sheared.*26\.6 degrees"):
        read_image(tmp_path / "sheared.nrrd")
