"""The page shown while the interactive panels are not built: what works today, and how (layer: ui)."""

import qt
from slicer.i18n import tr as _


def create_getting_started():
    """Create a label that wraps its text and lets the commands be copied."""
    label = qt.QLabel(
        _(
            "<h3>DDSAM2Slicer</h3>"
            "<p>The interactive panels of this extension are not part of this version yet. "
            "Its command line program segments volumes, DICOM folders and ultrasound clips, and writes segmentations "
            "that open here with their names and colors.</p>"
            "<ol>"
            "<li>Get the source code of the extension and run <code>make setup</code> in it.</li>"
            "<li>Give a box on one frame and let it be propagated:"
            "<pre>.venv/bin/ddsam2 propagate image.nrrd \\\n"
            "  -o result.seg.nrrd \\\n"
            "  --box 1 40 100 120 180 200</pre>"
            "(object 1, frame 40, columns 100 to 180, rows 120 to 200).</li>"
            "<li>Drag <code>image.nrrd</code> and <code>result.seg.nrrd</code> into this window.</li>"
            "</ol>"
        )
    )
    label.wordWrap = True
    label.textInteractionFlags = qt.Qt.TextSelectableByMouse
    return label
