"""Frames, prompts, results and errors as fields and arrays of messages, and back (layer: worker, numpy only)."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core import errors
from ..core.errors import DDSAM2Error, WorkerError
from ..core.plan import Direction, FrameRange
from ..core.prompts import PromptSet
from ..core.results import FrameResult, FrameScore
from .protocol import CHUNK_BYTES, Message

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from ..core.frames import FrameSource

Packed = tuple[dict[str, Any], dict[str, "NDArray"]]  # fields and arrays of a message


@contextmanager
def reading(message: Message) -> Iterator[None]:
    """Turn a missing or senseless field into one sentence.

    Raises:
        WorkerError: With the kind of the message.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        msg = f"The message {message.kind!r} cannot be read ({type(error).__name__}: {error})."
        raise WorkerError(msg) from error


def pack_error(error: DDSAM2Error) -> dict[str, Any]:
    """Class name and sentence."""
    return {"error": type(error).__name__, "sentence": str(error)}


def unpack_error(message: Message) -> DDSAM2Error:
    """Build the same error again; a class this side does not know becomes WorkerError."""
    kind = getattr(errors, str(message.fields.get("error")), None)
    is_ours = isinstance(kind, type) and issubclass(kind, DDSAM2Error)
    return (kind if is_ours else WorkerError)(str(message.fields.get("sentence", "The worker gave no reason.")))


def pack_result(result: FrameResult) -> Packed:
    """Masks as bits; anything with the attributes of a FrameResult will do."""
    scores = [[one.iou, one.object_score, one.overlap, one.ended, one.area] for one in result.scores]
    fields = {"frame": result.frame, "objects": list(result.object_ids), "width": result.masks.shape[-1]}
    packed = np.packbits(np.asarray(result.masks, bool), axis=-1)
    return fields, {"masks": packed, "scores": np.array(scores, np.float64).reshape(-1, 5)}


def unpack_result(message: Message) -> FrameResult:
    """Inverse of ``pack_result``."""
    with reading(message):
        fields = message.fields
        masks = _unpack_masks(message.arrays["masks"], fields["width"])
        scores = tuple(FrameScore(*row[:3], bool(row[3]), int(row[4])) for row in message.arrays["scores"].tolist())
        object_ids = tuple(fields["objects"])
        if not len(object_ids) == len(masks) == len(scores):
            msg = f"{len(object_ids)} objects, {len(masks)} masks, {len(scores)} scores"
            raise ValueError(msg)
        return FrameResult(int(fields["frame"]), object_ids, masks, scores)


def pack_prompts(prompts: PromptSet) -> dict[str, NDArray]:
    """The JSON text as bytes."""
    return {"prompts": np.frombuffer(prompts.to_json().encode(), np.uint8)}


def unpack_prompts(message: Message) -> PromptSet:
    """Inverse of ``pack_prompts``."""
    with reading(message):
        return PromptSet.from_json(message.arrays["prompts"].tobytes().decode())


def pack_propagation(
    direction: Direction | str = Direction.BOTH,
    frame_range: FrameRange | None = None,
    locked: Mapping[int, Mapping[int, NDArray]] | None = None,
    ends: Mapping[int, tuple[int | None, int | None]] | None = None,
    changed: tuple[int, int] | Iterable[tuple[int, int]] | None = None,
) -> Packed:
    """The arguments of ``EngineSession.propagate``."""
    changed = [changed] if isinstance(changed, tuple) else changed
    keys = [(int(one), int(frame)) for one, own in (locked or {}).items() for frame in own]
    masks = [np.asarray(locked[one][frame]).astype(bool) for one, frame in keys]
    fields = {
        "direction": str(Direction(direction)),
        "range": None if frame_range is None else [frame_range.start, frame_range.stop],
        "locked": keys,
        "width": masks[0].shape[-1] if masks else 0,
        "ends": [[int(one), *map(_to_int, limits)] for one, limits in (ends or {}).items()],
        "changed": None if changed is None else [[int(one), int(frame)] for one, frame in sorted(changed)],
    }
    return fields, {"locked": np.packbits(np.stack(masks), axis=-1)} if masks else {}


def unpack_propagation(message: Message) -> dict[str, Any]:
    """Keyword arguments for ``EngineSession.propagate``."""
    with reading(message):
        fields = message.fields
        masks = _unpack_masks(message.arrays["locked"], fields["width"]) if fields["locked"] else ()
        locked: dict[int, dict[int, NDArray]] = {}
        for (one, frame), mask in zip(fields["locked"], masks):  # noqa: B905 (also read by older Pythons)
            locked.setdefault(one, {})[frame] = mask
        return {
            "direction": Direction(fields["direction"]),
            "frame_range": None if fields["range"] is None else FrameRange(*fields["range"]),
            "locked": locked,
            "ends": {one: (first, last) for one, first, last in fields["ends"]},
            "changed": None if fields["changed"] is None else [tuple(key) for key in fields["changed"]],
        }


def pack_stack(source: FrameSource) -> Packed:
    """Everything about a stack except its pixels."""
    shape = [source.num_frames, *source.frame(0).shape]
    step = source.frame_step_mm
    matrices = np.stack([source.pixel_to_ras(index) for index in range(source.num_frames)])
    fields = {
        "shape": shape,
        "spacing_mm": list(map(float, source.pixel_spacing_mm)),
        "step_mm": None if step is None else float(step),
    }
    return fields, {"pixel_to_ras": matrices.astype(np.float64)}


def chunks_of(source: FrameSource) -> Iterator[tuple[int, NDArray]]:
    """All frames in chunks (first frame, (n, H, W[, 3])), each read only when its turn comes."""
    first, frames = 0, []
    for index in range(source.num_frames):
        frames.append(source.frame(index))
        if len(frames) * frames[0].nbytes >= CHUNK_BYTES or index == source.num_frames - 1:
            yield first, np.stack(frames)
            first, frames = index + 1, []


def _to_int(value: int | None) -> int | None:
    """Make a NumPy integer fit for JSON."""
    return None if value is None else int(value)


def _unpack_masks(packed: NDArray, width: int) -> NDArray[np.bool_]:
    """Bits (N, H, W/8) to masks (N, H, W)."""
    return np.unpackbits(packed, axis=-1, count=width).view(bool)
