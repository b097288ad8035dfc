"""Answers of single objects joined into one batch, and taken apart again (layer: engine)."""

from __future__ import annotations

import torch

from ..model import steps


def join(parts: list[steps.Decoded]) -> steps.Decoded:
    """Batch the answers of single objects; what was only on offer is not kept."""
    names = ("low_res", "high_res", "iou", "object_score", "pointer")
    joined = {name: torch.cat([getattr(part, name).float() for part in parts]) for name in names}
    return steps.Decoded(**joined, candidates=joined["low_res"], candidate_ious=joined["iou"][:, None])


def put_row(decoded: steps.Decoded, row: int, one: steps.Decoded) -> steps.Decoded:
    """Replace one object's answer in a batch."""
    return join([*_rows(decoded, 0, row), one, *_rows(decoded, row + 1, len(decoded.iou))])


def _rows(decoded: steps.Decoded, start: int, stop: int) -> list[steps.Decoded]:
    """Some rows of a batch, as a list of no or one smaller batch."""
    if start >= stop:
        return []
    names = ("low_res", "high_res", "iou", "object_score", "pointer", "candidates", "candidate_ious")
    return [steps.Decoded(**{name: getattr(decoded, name)[start:stop] for name in names})]
