"""DICOM series: sorted in space and time; odd ones refused with a reason."""

import shutil

import numpy as np
import pytest

from DDSAM2SlicerLib.cli.readers import read_image
from DDSAM2SlicerLib.core.errors import GeometryError, InputError

NORMAL_STEP_MM = 2.5


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 2000, (5, 6, 7)).astype(np.int16)


def test_slices_are_sorted_along_the_normal_whatever_the_file_names(write_dicom, pixels):
    image = read_image(write_dicom(pixels, order=[3, 0, 4, 1, 2]))
    np.testing.assert_array_equal(image.arrays[0], pixels - 1000)
    assert image.geometry.spacing_mm == pytest.approx((0.5, 0.75, NORMAL_STEP_MM))
    # LPS (-2.5 k, -10, 20) is RAS (2.5 k, 10, 20)
    np.testing.assert_allclose(image.geometry.map_ijk_to_ras([[0, 0, 4]]), [[10.0, 10.0, 20.0]])
    assert [path.name for path, _ in image.sources] == ["003.dcm", "000.dcm", "004.dcm", "001.dcm", "002.dcm"]


def test_slices_recorded_against_the_normal_are_turned_round(write_dicom, pixels):
    changes = {k: {"ImagePositionPatient": [2.5 * k, -10.0, 20.0]} for k in range(5)}
    image = read_image(write_dicom(pixels, changes))
    np.testing.assert_array_equal(image.arrays[0], pixels[::-1] - 1000)
    assert not image.geometry.is_left_handed


def test_files_that_are_no_images_are_passed_over(write_dicom, pixels):
    folder = write_dicom(pixels)
    (folder / "README.txt").write_text("no image")
    (folder / "broken.dcm").write_bytes(b"broken")
    assert read_image(folder).geometry.shape_kji == (5, 6, 7)


def test_same_positions_again_are_time_points(write_dicom, pixels):
    changes = {k: {"ImagePositionPatient": [-2.5 * (k % 2), -10.0, 20.0]} for k in range(4)}
    image = read_image(write_dicom(pixels[:4], changes))
    assert (image.num_times, image.geometry.shape_kji) == (2, (2, 6, 7))
    np.testing.assert_array_equal(image.arrays[1], pixels[2:4] - 1000)


def test_missing_slice_is_named_with_its_neighbours(write_dicom, pixels):
    folder = write_dicom(pixels)
    (folder / "002.dcm").unlink()
    with pytest.raises(InputError, match=r"5\.00 mm between 001\.dcm and 003\.dcm instead of 2\.50 mm \(1 missing"):
        read_image(folder)


def test_irregular_distance_is_refused(write_dicom, pixels):
    folder = write_dicom(pixels, {4: {"ImagePositionPatient": [-10.9, -10.0, 20.0]}})
    with pytest.raises(InputError, match=r"3\.40 mm between .* \(irregular\)"):
        read_image(folder)


def test_copied_file_is_a_duplicate(write_dicom, pixels):
    folder = write_dicom(pixels)
    shutil.copy(folder / "001.dcm", folder / "001 copy.dcm")
    with pytest.raises(InputError, match="copies of the same slice"):
        read_image(folder)


def test_time_point_with_a_missing_slice_is_incomplete(write_dicom, pixels):
    folder = write_dicom(pixels, {4: {"ImagePositionPatient": [0.0, -10.0, 20.0]}})
    with pytest.raises(InputError, match="incomplete or has duplicate slices"):
        read_image(folder)


def test_two_series_in_one_folder_are_refused(write_dicom, pixels):
    folder = write_dicom(pixels, {k: {"SeriesInstanceUID": "1.2.3"} for k in (3, 4)})
    with pytest.raises(InputError, match="2 different series"):
        read_image(folder)


def test_mixed_sizes_are_refused(write_dicom, pixels):
    folder = write_dicom(pixels, {2: {"PixelSpacing": [1, 1]}})
    with pytest.raises(InputError, match="different size or pixel spacing"):
        read_image(folder)


def test_missing_position_is_refused(write_dicom, pixels):
    folder = write_dicom(pixels, {2: {"ImagePositionPatient": None}})
    with pytest.raises(InputError, match="ImagePositionPatient is missing"):
        read_image(folder)


@pytest.mark.parametrize(
    ("series", "error", "sentence"),
    [
        ("dicom_gantry_tilt_ct/ge_tilt", GeometryError, r"18\.5 degrees.*tilted CT gantry"),
        ("dicom_odd/failing_sliceincrement_002", GeometryError, r"15\.5 degrees"),
        ("dicom_odd/failing_sliceorientation_001", InputError, "different orientation"),
        ("dicom_odd/siemens_fmri_001", InputError, "mosaic"),
        ("dicom_seg_refs/liver.dcm", InputError, "holds no DICOM image"),
    ],
)
def test_real_odd_series_is_refused_with_the_reason(shared_data, series, error, sentence):
    with pytest.raises(error, match=sentence):
        read_image(shared_data / series)


@pytest.mark.parametrize(
    ("series", "num_times", "shape_kji", "step_mm"),
    [
        ("dicom_ct_head/CTHeadAxialDicom", 1, (93, 64, 64), 1.5),
        ("dicom_seg_refs/dcmqi_23x38x3/multiframe", 1, (3, 38, 23), 2.5),
        ("dicom_odd/philips_enhanced_fmri_001", 4, (8, 64, 64), 3.3125),
        ("dicom_odd/philips_fmri_001", 4, (2, 80, 80), 3.3),
        ("dicom_odd/ge_fmri_001", 2, (4, 64, 64), 3.6),
        ("dicom_odd/failing_notavolume_001", 4, (1, 512, 512), 1.0),
        ("tiny_formats/dicom_4d", 19, (4, 2, 3), 0.5),
    ],
)
def test_real_series_is_arranged_in_space_and_time(shared_data, series, num_times, shape_kji, step_mm):
    image = read_image(shared_data / series)
    assert (image.num_times, image.geometry.shape_kji) == (num_times, shape_kji)
    assert image.geometry.spacing_mm[2] == pytest.approx(step_mm, abs=0.01)
