"""DICOM segmentation objects, referring to the slices they were made on (layer: cli)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__
from ..core.errors import OutputError
from ..core.files import replace_when_done
from .labels import Labels

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription
    from numpy.typing import NDArray

MANUFACTURER = "DDSAM2Slicer"
SERIES_NUMBER = 300


def write_dicom_segmentation(path: str | Path, labels: Labels) -> None:
    """Write one binary segment per object.

    Raises:
        OutputError: If no object is anywhere, or the source files lack what a segmentation needs.
    """
    import highdicom
    import pydicom

    masks = {object_id: mask[0] for object_id, mask in labels.masks.items() if mask.any()}
    if not masks:
        msg = "No object was found on any slice, so there is nothing to write as a DICOM segmentation."
        raise OutputError(msg)
    datasets = {file: pydicom.dcmread(file) for file, _ in labels.image.sources}
    for dataset in datasets.values():
        if not dataset.get("SpecificCharacterSet"):  # empty means ASCII; highdicom refuses that
            dataset.SpecificCharacterSet = "ISO_IR 100"
    try:
        segmentation = highdicom.seg.Segmentation(
            source_images=list(datasets.values()),
            pixel_array=_order_frames(masks, labels),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_describe(n, labels, object_id) for n, object_id in enumerate(masks, start=1)],
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=__version__,
            device_serial_number="0",
            content_description="Masks propagated from prompts",
            content_label="DDSAM2",
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        msg = f"A DICOM segmentation cannot refer to these files ({str(error)[:200]}). Write .seg.nrrd instead."
        raise OutputError(msg) from error
    with replace_when_done(path) as temporary:
        segmentation.save_as(temporary)


def _order_frames(masks: dict[int, NDArray[np.bool_]], labels: Labels) -> NDArray[np.uint8]:
    """Masks (frames, rows, columns, objects) in the order of the source files' frames, not of the slices."""
    sources = labels.image.sources
    is_multi_frame = len({file for file, _ in sources}) == 1 and len(sources) > 1
    order = np.argsort([frame for _, frame in sources]) if is_multi_frame else np.arange(len(sources))
    return np.stack([mask[order] for mask in masks.values()], axis=-1).astype(np.uint8)


def _describe(number: int, labels: Labels, object_id: int) -> SegmentDescription:
    """Name, colour and origin of one segment; the kind of tissue is not known here."""
    import highdicom
    from pydicom.sr.codedict import codes

    colour = [round(255 * part) for part in labels.colour(object_id)]
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="DD-SAM2", version=__version__, family=codes.DCM.ArtificialIntelligence
    )
    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=labels.name(object_id),
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=algorithm,
        tracking_id=f"object-{object_id}",
        tracking_uid=highdicom.UID(),
        display_color=highdicom.color.CIELabColor.from_rgb(*colour),
    )
