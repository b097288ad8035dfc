"""What the user says about the objects of a stack: immutable, validated, JSON in and out (layer: core).

Coordinates are pixels of the frame, (x = column, y = row); an integer is the centre of a pixel.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .errors import DDSAM2Error, PromptError, suggest
from .masks import decode_rle, encode_rle
from .prompt_parts import Box, FramePrompt, Point, check_inside

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from .plan import FrameRange

__all__ = ["Box", "FramePrompt", "Point", "PromptSet"]

JSON_FORMAT = "ddsam2-prompts"
JSON_VERSION = 1
ENTRY_KEYS = frozenset({"object", "frame", "points", "box", "mask"})


@dataclass(frozen=True)
class PromptSet:
    """All prompts of one stack by (object, frame); every change gives a new set.

    Attributes:
        prompts: Read-only mapping {(object_id, frame): FramePrompt}, sorted.
    """

    prompts: Mapping[tuple[int, int], FramePrompt] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Freeze and validate the keys."""
        ordered = {}
        for (object_id, frame), prompt in sorted(self.prompts.items(), key=lambda item: item[0]):
            if object_id < 1 or frame < 0:
                msg = f"Object {object_id} on frame {frame}: objects count from 1, frames from 0."
                raise PromptError(msg)
            ordered[int(object_id), int(frame)] = prompt
        object.__setattr__(self, "prompts", MappingProxyType(ordered))

    def __hash__(self) -> int:
        """Agree with equality."""
        return hash(tuple(self.prompts.items()))

    def __reduce__(self) -> tuple:
        """Pickle and copy through a plain dictionary; a read-only view cannot be."""
        return PromptSet, (dict(self.prompts),)

    @classmethod
    def empty(cls) -> PromptSet:
        """Return a set without prompts."""
        return cls()

    def with_point(self, object_id: int, frame: int, point: Point) -> PromptSet:
        """Add a point; a mask on that frame gives way to it, as in SAM 2."""
        old = self.get(object_id, frame)
        points, box = (old.points, old.box) if old else ((), None)
        return self._with(object_id, frame, FramePrompt((*points, point), box))

    def with_box(self, object_id: int, frame: int, box: Box) -> PromptSet:
        """Set the box and keep the points; a mask on that frame gives way to it."""
        old = self.get(object_id, frame)
        return self._with(object_id, frame, FramePrompt(old.points if old else (), box))

    def with_mask(self, object_id: int, frame: int, mask: NDArray) -> PromptSet:
        """Set a mask (H, W); it replaces the points and the box of that frame."""
        return self._with(object_id, frame, FramePrompt(mask=mask))

    def without(self, object_id: int | None = None, frame: int | None = None) -> PromptSet:
        """Remove the prompts of an object, of a frame, of an object on a frame, or all of them."""
        return PromptSet(
            {
                key: prompt
                for key, prompt in self.prompts.items()
                if object_id not in (None, key[0]) or frame not in (None, key[1])
            }
        )

    @property
    def object_ids(self) -> tuple[int, ...]:
        """Objects with at least one prompt, ascending."""
        return tuple(sorted({object_id for object_id, _ in self.prompts}))

    def frames(self, object_id: int | None = None) -> tuple[int, ...]:
        """Prompted frames of one object, or of all, ascending."""
        return tuple(sorted({frame for prompted_id, frame in self.prompts if object_id in (None, prompted_id)}))

    def get(self, object_id: int, frame: int) -> FramePrompt | None:
        """Return what is said about the object on that frame, if anything."""
        return self.prompts.get((object_id, frame))

    def changed_since(self, other: PromptSet) -> set[tuple[int, int]]:
        """Keys (object_id, frame) whose prompt was added, removed or altered."""
        keys = self.prompts.keys() | other.prompts.keys()
        return {key for key in keys if self.get(*key) != other.get(*key)}

    def validate(
        self,
        num_frames: int,
        height: int,
        width: int,
        frame_range: FrameRange | None = None,
        object_ids: Iterable[int] = (),
    ) -> None:
        """Check that every prompt lies in the stack and that every object can be found.

        Args:
            num_frames: Frames of the stack.
            height: Rows of a frame.
            width: Columns of a frame.
            frame_range: Frames to propagate over, if not all.
            object_ids: Objects that must have a prompt, besides those that have one.

        Raises:
            PromptError: With the object, the frame and what to do.
        """
        if not self.prompts:
            msg = "There is no prompt. Give at least one point, box or mask on one frame."
            raise PromptError(msg)
        for (object_id, frame), prompt in self.prompts.items():
            where = f"Object {object_id}, frame {frame}:"
            if not frame < num_frames:
                msg = f"{where} the stack has frames 0 to {num_frames - 1} only. Move or remove the prompt."
                raise PromptError(msg)
            if frame_range is not None and frame not in frame_range:
                msg = f"{where} the prompt is outside of frames {frame_range}. Widen the range or remove the prompt."
                raise PromptError(msg)
            check_inside(where, prompt, height, width)
        for object_id in sorted({*self.object_ids, *object_ids}):
            if not any(self.get(object_id, frame).shows_object for frame in self.frames(object_id)):
                msg = f"Object {object_id} has no prompt that shows it. Add a positive point, a box or a mask."
                raise PromptError(msg)

    def to_json(self) -> str:
        """Write all prompts as JSON text; masks are run-length encoded."""
        entries = [_to_entry(object_id, frame, prompt) for (object_id, frame), prompt in self.prompts.items()]
        return json.dumps({"format": JSON_FORMAT, "version": JSON_VERSION, "prompts": entries}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> PromptSet:
        """Read what ``to_json`` wrote.

        Raises:
            PromptError: If the text is not JSON, not prompts, of another version, or an entry cannot be used.
        """
        return cls(dict(_read_entries(text)))

    def _with(self, object_id: int, frame: int, prompt: FramePrompt) -> PromptSet:
        """Set one entry."""
        return PromptSet({**self.prompts, (object_id, frame): prompt})


def _to_entry(object_id: int, frame: int, prompt: FramePrompt) -> dict[str, Any]:
    """One prompt as plain JSON values."""
    entry: dict[str, Any] = {"object": object_id, "frame": frame}
    if prompt.points:
        entry["points"] = [[point.x, point.y, point.positive] for point in prompt.points]
    if prompt.box is not None:
        entry["box"] = [prompt.box.x0, prompt.box.y0, prompt.box.x1, prompt.box.y1]
    if prompt.mask is not None:
        height, width = prompt.mask.shape
        entry["mask"] = {"height": height, "width": width, "counts": encode_rle(prompt.mask)}
    return entry


def _read_entries(text: str) -> Iterator[tuple[tuple[int, int], FramePrompt]]:
    """Read the entries of a prompt file one by one."""
    try:
        content = json.loads(text)
    except ValueError as error:
        msg = f"The prompts are not valid JSON ({error})."
        raise PromptError(msg) from error
    if not isinstance(content, dict) or content.get("format") != JSON_FORMAT or content.get("version") != JSON_VERSION:
        msg = f'This is not a prompt file: it must hold "format": "{JSON_FORMAT}" and "version": {JSON_VERSION}.'
        raise PromptError(msg)
    entries = content.get("prompts")
    if not isinstance(entries, list):
        msg = 'The prompt file has no list named "prompts".'
        raise PromptError(msg)
    seen = set()
    for number, entry in enumerate(entries, start=1):
        try:
            key, prompt = _from_entry(entry)
        except (AttributeError, KeyError, TypeError, ValueError, DDSAM2Error) as error:
            msg = f"Entry {number} of the prompt file cannot be used ({type(error).__name__}: {error})."
            raise PromptError(msg) from error
        if key in seen:
            msg = f"Object {key[0]}, frame {key[1]} appears twice in the prompt file. Join the two entries."
            raise PromptError(msg)
        seen.add(key)
        yield key, prompt


def _from_entry(entry: dict[str, Any]) -> tuple[tuple[int, int], FramePrompt]:
    """Read one prompt from plain JSON values."""
    for name in entry.keys() - ENTRY_KEYS:
        msg = f"unknown key {name!r}. {suggest(name, ENTRY_KEYS)}"
        raise PromptError(msg)
    points = tuple(Point(*point) for point in entry.get("points", ()))
    box = Box(*entry["box"]) if "box" in entry else None
    coded = entry.get("mask")
    mask = None if coded is None else decode_rle(coded["counts"], coded["height"], coded["width"])
    return (int(entry["object"]), int(entry["frame"])), FramePrompt(points, box, mask)
