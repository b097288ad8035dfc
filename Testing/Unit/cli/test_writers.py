"""Round trips: what is written reads back identical, and nothing half written is left."""

import errno

import numpy as np
import pytest

from DDSAM2SlicerLib.cli import writers
from DDSAM2SlicerLib.cli.labels import Labels
from DDSAM2SlicerLib.cli.readers import Image, read_image
from DDSAM2SlicerLib.cli.writers import prepare_output
from DDSAM2SlicerLib.core.errors import OutputError


@pytest.fixture
def make_labels(a_volume, tmp_path):
    """Two separate random objects (1 and 3) on an oblique left-handed grid, at some time points."""

    def make(num_times=1, num_slices=9, overlap=False):
        _, geometry = a_volume
        shape = (num_slices, *geometry.shape_kji[1:])
        image = Image(
            tmp_path / "in.nrrd", (np.zeros(shape, np.uint8),) * num_times, type(geometry)(shape, geometry.ijk_to_ras)
        )
        values = np.random.default_rng(5).integers(0, 4, (num_times, *shape))
        second = values == 3
        return Labels(image, {1: values == 1, 3: second | (values == 1) if overlap else second}, {3: "Liver"})

    return make


@pytest.mark.parametrize("ending", [".seg.nrrd", ".nrrd", ".nii.gz", ".mha"])
def test_volume_reads_back_identical(tmp_path, make_labels, ending):
    labels = make_labels()
    prepare_output(tmp_path / f"out{ending}", labels.image)(tmp_path / f"out{ending}", labels)
    back = read_image(tmp_path / f"out{ending}")
    assert back.geometry.same_grid_as(labels.image.geometry)
    np.testing.assert_array_equal(back.arrays[0], labels.merge()[0])


@pytest.mark.parametrize("ending", [".seq.nrrd", ".nrrd", ".nii.gz", ".mha"])
def test_series_reads_back_identical(tmp_path, make_labels, ending):
    labels = make_labels(num_times=3)
    prepare_output(tmp_path / f"out{ending}", labels.image)(tmp_path / f"out{ending}", labels)
    back = read_image(tmp_path / f"out{ending}")
    assert back.geometry.same_grid_as(labels.image.geometry)
    np.testing.assert_array_equal(np.stack(back.arrays), labels.merge())


def test_clip_becomes_a_sequence_or_slices(tmp_path, make_labels):
    labels = make_labels(num_times=4, num_slices=1)
    for ending in (".seq.nrrd", ".seg.nrrd"):
        prepare_output(tmp_path / f"out{ending}", labels.image)(tmp_path / f"out{ending}", labels)
    np.testing.assert_array_equal(np.stack(read_image(tmp_path / "out.seq.nrrd").arrays), labels.merge())
    stacked = read_image(tmp_path / "out.seg.nrrd")
    np.testing.assert_array_equal(stacked.arrays[0], labels.merge()[:, 0])
    assert stacked.geometry.spacing_mm[2] == pytest.approx(1.0)


def test_sequence_header_says_what_slicer_needs(tmp_path, make_labels):
    import nrrd

    labels = make_labels(num_times=3)
    writers.write_sequence(tmp_path / "out.seq.nrrd", labels)
    header = nrrd.read_header(str(tmp_path / "out.seq.nrrd"))
    assert header["kinds"] == ["list", "domain", "domain", "domain"]
    assert header["axis 0 index values"] == "0 1 2"
    assert header["DataNodeClassName"] == "vtkMRMLLabelMapVolumeNode"


def test_segmentation_keeps_names_colours_and_reference(tmp_path, make_labels):
    import slicerio

    labels = make_labels()
    writers.write_segmentation(tmp_path / "out.seg.nrrd", labels)
    back = slicerio.read_segmentation(str(tmp_path / "out.seg.nrrd"))
    assert [(part["name"], part["labelValue"]) for part in back["segments"]] == [("Object 1", 1), ("Liver", 3)]
    assert back["segments"][1]["color"] == pytest.approx(labels.colour(3))
    assert back["conversionParameters"][0]["name"] == "Reference image geometry"
    assert back["conversionParameters"][0]["value"].endswith("0;16;0;13;0;8;")


def test_overlapping_objects_keep_all_their_voxels_in_layers(tmp_path, make_labels):
    import slicerio

    labels = make_labels(overlap=True)
    writers.write_segmentation(tmp_path / "out.seg.nrrd", labels)
    back = slicerio.read_segmentation(str(tmp_path / "out.seg.nrrd"))
    for part, mask in zip(back["segments"], labels.masks.values(), strict=True):
        layer = back["voxels"][part["layer"]].transpose(2, 1, 0)
        np.testing.assert_array_equal(layer == part["labelValue"], mask[0])


def test_dicom_segmentation_refers_to_every_slice_it_was_made_on(tmp_path, write_dicom):
    import highdicom
    import pydicom

    folder = write_dicom(np.random.default_rng(1).integers(0, 99, (5, 6, 7)), order=[3, 0, 4, 1, 2])
    image = read_image(folder)
    masks = {n: np.random.default_rng(n).random((1, 5, 6, 7)) > 0.5 for n in (1, 4)}
    labels = Labels(image, masks, {4: "Kidney"})
    prepare_output(tmp_path / "out.dcm", image)(tmp_path / "out.dcm", labels)
    back = highdicom.seg.segread(tmp_path / "out.dcm")
    assert [back.get_segment_description(n).segment_label for n in (1, 2)] == ["Object 1", "Kidney"]
    uids = [pydicom.dcmread(path).SOPInstanceUID for path, _ in image.sources]
    pixels = back.get_pixels_by_source_instance(uids)
    for position, mask in enumerate(masks.values()):
        np.testing.assert_array_equal(pixels[..., position], mask[0])


def test_dicom_segmentation_of_a_multi_frame_file_reads_back_identical(tmp_path, shared_data):
    import highdicom

    image = read_image(shared_data / "dicom_seg_refs" / "dcmqi_23x38x3" / "multiframe")
    mask = np.random.default_rng(1).random((1, 3, 38, 23)) > 0.5
    prepare_output(tmp_path / "out.dcm", image)(tmp_path / "out.dcm", Labels(image, {1: mask}))
    back = highdicom.seg.segread(tmp_path / "out.dcm")
    volume = back.get_volume(combine_segments=True)
    to_ras = np.diag([-1.0, -1, 1, 1]) @ volume.affine  # indices are (k, row, column) there
    # the volume may run against our slices; compare by place
    points = np.argwhere(volume.array > 0)
    ijk = image.geometry.map_ras_to_ijk(points @ to_ras[:3, :3].T + to_ras[:3, 3])
    found = np.zeros((3, 38, 23), bool)
    found[tuple(np.rint(ijk).astype(int)[:, ::-1].T)] = True
    np.testing.assert_array_equal(found, mask[0])


def test_empty_result_is_no_dicom_segmentation(tmp_path, write_dicom):
    image = read_image(write_dicom(np.zeros((3, 4, 5))))
    with pytest.raises(OutputError, match="nothing to write"):
        prepare_output(tmp_path / "out.dcm", image)(
            tmp_path / "out.dcm", Labels(image, {1: np.zeros((1, 3, 4, 5), bool)})
        )


@pytest.mark.parametrize(
    ("name", "num_times", "sentence"),
    [
        ("out.dcm", 1, "only be written for a DICOM volume"),
        ("out.seq.nrrd", 1, "several time points"),
        ("out.seg.nrrd", 2, "holds one time point"),
        ("out.stl", 1, "ending of out.stl is unknown.*Accepted: .seg.nrrd"),
    ],
)
def test_format_that_cannot_hold_the_result_is_refused_at_once(tmp_path, make_labels, name, num_times, sentence):
    with pytest.raises(OutputError, match=sentence):
        prepare_output(tmp_path / name, make_labels(num_times).image)


def test_output_below_a_file_or_onto_a_folder_is_refused_at_once(tmp_path, make_labels):
    (tmp_path / "file").touch()
    (tmp_path / "folder.nrrd").mkdir()
    with pytest.raises(OutputError, match="Cannot write"):
        prepare_output(tmp_path / "file" / "out.nrrd", make_labels().image)
    with pytest.raises(OutputError, match="is a folder"):
        prepare_output(tmp_path / "folder.nrrd", make_labels().image)


@pytest.mark.parametrize("ending", [".seg.nrrd", ".seq.nrrd"])
def test_full_disk_leaves_the_old_file_and_nothing_half_written(tmp_path, make_labels, monkeypatch, ending):
    import nrrd

    def fill(path, *_args, **_kwargs):
        with open(path, "wb") as file:  # noqa: PTH123 (nrrd gets a string)
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nrrd, "write", fill)
    target = tmp_path / f"out{ending}"
    target.write_bytes(b"old")
    labels = make_labels(num_times=2 if ending == ".seq.nrrd" else 1)
    with pytest.raises(OutputError, match=r"disk is full.*nothing was left half written"):
        prepare_output(target, labels.image)(target, labels)
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_failing_itk_writer_leaves_nothing(tmp_path, make_labels, monkeypatch):
    import SimpleITK as sitk

    def fail(_image, path, _compress):
        with open(path, "wb") as file:  # noqa: PTH123 (ITK gets a string)
            file.write(b"half")
        msg = "itk::ERROR"
        raise RuntimeError(msg)

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(OutputError, match=r"Cannot write .*out\.nii\.gz"):
        writers.write_label_map(tmp_path / "out.nii.gz", make_labels())
    assert list(tmp_path.iterdir()) == []
