"""Answers of single objects joined into one batch, and taken apart again (layer: engine)."""

from __future__ import annotations

from dataclasses import fields

import torch

from ..model import steps


def join(parts: list[steps.Decoded]) -> steps.Decoded:
    """Batch the answers of single objects; what was only on offer is not kept."""
    names = ("low_res", "high_res", "iou", "object_score", "pointer")
    joined = {name: _join_values([getattr(part, name) for part in parts]) for name in names}
    return steps.Decoded(**joined, candidates=joined["low_res"], candidate_ious=joined["iou"][:, None])


def put_row(decoded: steps.Decoded, row: int, one: steps.Decoded) -> steps.Decoded:
    """Replace one object's answer in a batch."""
    return join([*_rows(decoded, 0, row), one, *_rows(decoded, row + 1, len(decoded.iou))])


def _rows(decoded: steps.Decoded, start: int, stop: int) -> list[steps.Decoded]:
    """Some rows of a batch, as a list of no or one smaller batch."""
    if start >= stop:
        return []
    values = {declared.name: getattr(decoded, declared.name) for declared in fields(decoded)}
    return [steps.Decoded(**{name: one if one is None else one[start:stop] for name, one in values.items()})]


def _join_values(values: list[torch.Tensor | None]) -> torch.Tensor | None:
    """Batch one kind of value; None if one of the objects has none."""
    return None if any(one is None for one in values) else torch.cat([one.float() for one in values])
