"""`_`, which translates what users read: Slicer's, or outside of Slicer none at all (layer: logic).

It is Slicer's own function and not one around it, because that one looks up who is calling to find the right texts.
"""

try:
    from slicer.i18n import tr as _
except ImportError:  # the libraries of Slicer without the application, or no Slicer

    def _(text: str) -> str:
        """Leave a text as it is."""
        return text


__all__ = ["_"]
