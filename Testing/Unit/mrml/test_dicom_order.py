"""Trap 6: Slicer's reader takes DICOM files in the order they are given; the project's own reader sorts them."""

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
vtk = pytest.importorskip("vtk")
pydicom = pytest.importorskip("pydicom", reason="writes DICOM files: pip install '.[cli]'")
from DDSAM2SlicerLib.cli.dicom import read_dicom  # noqa: E402 (needs pydicom)
from DDSAM2SlicerLib.mrml import volumes  # noqa: E402 (needs slicer)

NUM_SLICES = 5
SHUFFLED = [3, 0, 4, 1, 2]


@pytest.fixture
def some_files(tmp_path):
    """Slices whose grey value is their number; the file names run against the order in space."""
    return [_write_slice(tmp_path, number) for number in range(NUM_SLICES)]


def test_trap_6_files_in_any_order_are_sorted_along_the_slice_normal(scene, some_files):
    ordered = _slicers_reading(some_files)
    shuffled = _slicers_reading([some_files[number] for number in SHUFFLED])
    assert _slice_values(volumes.volume_array(ordered)) == list(range(NUM_SLICES))
    as_given = [SHUFFLED, SHUFFLED[::-1]]
    assert _slice_values(volumes.volume_array(shuffled)) in as_given, "Slicer sorts now: the trap is gone"
    image = read_dicom(some_files[0].parent)
    np.testing.assert_array_equal(image.arrays[0], volumes.volume_array(ordered))
    assert image.geometry.same_grid_as(volumes.volume_geometry(ordered))


def _slice_values(array_kji):
    return [int(values.max()) for values in array_kji]


def _slicers_reading(files):
    names = vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(str(file))
    return slicer.modules.volumes.logic().AddArchetypeVolume(str(files[0]), "series", 0, names)


def _write_slice(folder, number):
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    meta.MediaStorageSOPInstanceUID = f"1.2.3.{number + 1}"
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = pydicom.Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.PatientID, data.PatientName, data.StudyInstanceUID, data.SeriesInstanceUID = "p", "p", "1.2.4", "1.2.5"
    data.FrameOfReferenceUID, data.Modality, data.InstanceNumber = "1.2.6", "MR", number + 1
    data.Rows, data.Columns = 6, 8
    data.PixelSpacing, data.SliceThickness = [1.5, 1.25], 3
    data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    data.ImagePositionPatient = [10, 20, 3 * number]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelData = np.full((6, 8), number, np.int16).tobytes()
    path = folder / f"slice{NUM_SLICES - number}.dcm"
    data.save_as(path, enforce_file_format=True)
    return path
