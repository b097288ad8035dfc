"""Fixtures of the command line's tests: a predictor without a network, small images and DICOM series."""

from types import SimpleNamespace

import numpy as np
import pytest

from DDSAM2SlicerLib.core.plan import Direction
from DDSAM2SlicerLib.core.results import FrameScore
from DDSAM2SlicerLib.testing.phantoms import create_geometry


class FakeSession:
    """Gives every frame the mask of the nearest prompted frame; a box is filled, a point becomes one pixel."""

    def __init__(self, source, opened):
        """Note the source."""
        self.source = source
        opened.append(source)

    def set_prompts(self, prompts):
        prompts.validate(self.source.num_frames, self.source.height, self.source.width)
        self.prompts = prompts

    def preview(self, frame):
        return self._answer(frame)

    def propagate(self, direction=Direction.BOTH, frame_range=None, cancel=lambda: False):
        for frame in frame_range or range(self.source.num_frames):
            if cancel():
                return
            self.source.frame(frame)  # the frame must exist
            yield self._answer(frame)

    def _answer(self, frame):
        ids = self.prompts.object_ids
        masks = np.stack([self._mask(object_id, frame) for object_id in ids])
        scores = tuple(
            FrameScore(iou=0.9, object_score=0.5, overlap=0.8, area=np.count_nonzero(mask)) for mask in masks
        )
        return SimpleNamespace(frame=frame, object_ids=ids, masks=masks, scores=scores)

    def _mask(self, object_id, frame):
        nearest = min(self.prompts.frames(object_id), key=lambda seed: abs(seed - frame))
        prompt = self.prompts.get(object_id, nearest)
        if prompt.mask is not None:
            return prompt.mask
        mask = np.zeros((self.source.height, self.source.width), bool)
        if prompt.box is not None:
            box = prompt.box
            mask[round(box.y0) : round(box.y1) + 1, round(box.x0) : round(box.x1) + 1] = True
        for point in prompt.points:
            mask[round(point.y), round(point.x)] = point.positive
        return mask


class FakePredictor:
    """Counts how often it was loaded and opened; calling it loads it."""

    def __init__(self):
        """Begin with nothing opened."""
        self.opened = []
        self.loaded = 0

    def __call__(self, threads=0):
        self.loaded += 1
        return self

    def open(self, source):
        return FakeSession(source, self.opened)


@pytest.fixture
def a_predictor():
    return FakePredictor()


@pytest.fixture
def a_volume():
    """Voxels (9, 14, 17) with a bright block, on an oblique left-handed grid."""
    array = np.random.default_rng(0).integers(0, 50, (9, 14, 17)).astype(np.int16)
    array[2:7, 4:9, 5:12] += 200
    return array, create_geometry(array.shape, seed=3, is_left_handed=True)


@pytest.fixture
def write_itk(tmp_path):
    """Write an array (K, J, I) or (T, K, J, I) on a grid with SimpleITK; returns the path."""
    import SimpleITK as sitk

    def write(name, array, geometry=None):
        volumes = [sitk.GetImageFromArray(volume) for volume in (array if array.ndim == 4 else array[np.newaxis])]
        for volume in volumes if geometry is not None else []:
            origin, spacing, direction = geometry.to_lps()
            volume.SetOrigin(origin)
            volume.SetSpacing(spacing)
            volume.SetDirection(direction)
        path = tmp_path / name
        sitk.WriteImage(sitk.JoinSeries(volumes) if array.ndim == 4 else volumes[0], str(path))
        return path

    return write


@pytest.fixture
def write_dicom(tmp_path):
    """Write slices as a CT series; every change of a header is given by slice number."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(array, changes=None, name="series", order=None):
        folder = tmp_path / name
        folder.mkdir()
        study, series, frame_of_reference = generate_uid(), generate_uid(), generate_uid()
        for k in range(len(array)):
            meta = FileMetaDataset()
            meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
            meta.MediaStorageSOPInstanceUID = generate_uid()
            header = Dataset()
            header.file_meta = meta
            header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
            header.StudyInstanceUID, header.SeriesInstanceUID = study, series
            header.FrameOfReferenceUID, header.Modality, header.InstanceNumber = frame_of_reference, "CT", k + 1
            header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = (
                "Phantom^Test",
                "1",
                "",
                "O",
            )
            header.StudyDate, header.StudyTime, header.AccessionNumber, header.StudyID = "20200101", "120000", "", ""
            header.ReferringPhysicianName, header.SeriesNumber, header.Manufacturer = "", 1, "none"
            header.PositionReferenceIndicator = ""
            header.Rows, header.Columns = array.shape[1:]
            header.PixelSpacing, header.SliceThickness = [0.75, 0.5], 2.5
            header.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
            # the normal points to -x, so ascending k runs from right to left
            header.ImagePositionPatient = [-2.5 * k, -10.0, 20.0]
            header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
            header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
            header.RescaleSlope, header.RescaleIntercept = 1, -1000
            for key, value in (changes or {}).get(k, {}).items():
                setattr(header, key, value)
            header.PixelData = np.ascontiguousarray(array[k], dtype=np.int16).tobytes()
            header.save_as(folder / f"{(order or range(len(array)))[k]:03d}.dcm", enforce_file_format=True)
        return folder

    return write
