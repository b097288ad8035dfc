"""What the module shows where it cannot work; loads in every Slicer that can open the module (layer: ui)."""

import qt
from slicer.i18n import tr as _


def create_notice(reason):
    """Create a label with a title and the reason; its text can be copied."""
    label = qt.QLabel(_("<h3>DDSAM2Slicer cannot be used here</h3><p>{reason}</p>").format(reason=reason))
    label.wordWrap = True
    label.textInteractionFlags = qt.Qt.TextSelectableByMouse
    return label
