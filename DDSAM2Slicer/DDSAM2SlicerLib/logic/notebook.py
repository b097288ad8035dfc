"""Everything known about one input beside its masks: prompts, locks, scores, what is done; kept in the scene.

Keys are (object, frame). The prompt node of ``mrml.prompt_store`` holds all of it, so a saved scene brings it back.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import slicer

from ..core.errors import InputError
from ..core.prompts import PromptSet
from ..core.results import FrameScore
from ..mrml import prompt_store
from .i18n import _
from .prompt_history import PromptHistory

if TYPE_CHECKING:
    from numpy.typing import NDArray

Key = tuple[int, int]  # object, frame
Ends = tuple[int | None, int | None]  # first and last frame of an object

STATE_KEY = "state"
STATE_VERSION = 1
SCORE_DIGITS = 4


@dataclass(frozen=True)
class Results:
    """What a run leaves behind, and an undo takes back.

    Attributes:
        done: Masks that were computed and still hold.
        pending: Prompts and locked edits that no run has taken into account.
        spread: Time points of each object that were filled slice by slice (3D+t only).
        scores: How sure each mask is.
        checksums: Of the masks as they were written, to notice hand-made changes.
        is_partial: Whether the last run was stopped before its end.
    """

    done: frozenset[Key] = frozenset()
    pending: frozenset[Key] = frozenset()
    spread: Mapping[int, frozenset[int]] = field(default_factory=dict)
    scores: Mapping[Key, FrameScore] = field(default_factory=dict)
    checksums: Mapping[Key, int] = field(default_factory=dict)
    is_partial: bool = False


class Notebook:
    """Notes about one input; ``save`` puts them into the scene."""

    def __init__(self, owner, stack_settings: Mapping[str, object] | None = None) -> None:
        """Read what the scene knows about an input, or begin an empty page.

        Args:
            owner: Volume node that the notes are about.
            stack_settings: How its frames run; notes about frames that run otherwise are on another page.
        """
        self.prompts = PromptSet.empty()
        self.history = PromptHistory()
        self.segment_ids: dict[int, str] = {}
        self.locked: frozenset[Key] = frozenset()
        self.ends: dict[int, Ends] = {}
        self.results = Results()
        self._settings = dict(stack_settings or {})
        self._owner = owner
        self._bound_id: str | None = None
        self.node = self._find_node()
        if self.node is not None:
            self._load()

    def object_of(self, segment_id: str) -> int:
        """Number of the object that a segment shows; a new one for a new segment."""
        for object_id, known in self.segment_ids.items():
            if known == segment_id:
                return object_id
        object_id = max(self.segment_ids, default=0) + 1
        self.segment_ids[object_id] = segment_id
        return object_id

    def forget_object(self, object_id: int) -> None:
        """Remove an object with all its prompts, locks and scores."""
        self.segment_ids.pop(object_id, None)
        self.ends.pop(object_id, None)
        self.prompts = self.prompts.without(object_id)
        self.history.forget_object(object_id)
        self.locked = frozenset(key for key in self.locked if key[0] != object_id)
        old = self.results
        self.results = Results(
            frozenset(key for key in old.done if key[0] != object_id),
            frozenset(key for key in old.pending if key[0] != object_id),
            {one: times for one, times in old.spread.items() if one != object_id},
            {key: score for key, score in old.scores.items() if key[0] != object_id},
            {key: value for key, value in old.checksums.items() if key[0] != object_id},
        )

    def set_prompts(self, prompts: PromptSet) -> bool:
        """Take all prompts as they are now; whether anything changed."""
        changed = prompts.changed_since(self.prompts)
        self.history.note(self.prompts, prompts)
        self.prompts = prompts
        self._add_pending(changed)
        return bool(changed)

    def lock(self, key: Key, mask: NDArray) -> None:
        """Accept a mask; if it was changed by hand since it was written, its neighbours have to follow."""
        self.locked |= {key}
        if self.results.checksums.get(key) != checksum(mask):
            self._add_pending({key})

    def unlock(self, key: Key) -> None:
        """Let a mask be computed again by the next run that reaches it."""
        self.locked -= {key}

    def locked_frames(self) -> dict[int, frozenset[int]]:
        """Accepted frames of each object."""
        return group(self.locked)

    def record(self, frame: int, masks: Mapping[int, NDArray], scores: Mapping[int, FrameScore]) -> None:
        """Note what was written on a frame."""
        results = self.results
        self.results = replace(results, done=results.done | {(one, frame) for one in masks})
        results.scores.update({(one, frame): score for one, score in scores.items()})
        results.checksums.update({(one, frame): checksum(mask) for one, mask in masks.items()})

    def reopen(self, keys: Iterable[Key]) -> None:
        """Let masks stay as they are until the next update computes them again."""
        self.results = replace(self.results, done=self.results.done - frozenset(keys))

    def begin_run(self, stale: Iterable[Key], settled: Iterable[Key], is_afresh: bool) -> Results:
        """Forget what is about to be computed again; returns the results before, for undo."""
        before = self.begin_step()
        self.results = replace(
            self.results,
            done=before.done - frozenset(stale),
            pending=before.pending - frozenset(settled),
            spread={} if is_afresh else before.spread,
            is_partial=True,
        )
        return before

    def begin_step(self) -> Results:
        """Return the results as they are, for undo; what is recorded from now on leaves them alone."""
        before = self.results
        self.results = replace(before, scores=dict(before.scores), checksums=dict(before.checksums))
        return before

    def end_run(self) -> None:
        """The run came to its end."""
        self.results = replace(self.results, is_partial=False)

    def note_spread(self, object_id: int, time: int) -> None:
        """Remember that an object was found slice by slice at a time point."""
        old = self.results.spread
        self.results = replace(self.results, spread={**old, object_id: old.get(object_id, frozenset()) | {time}})

    def bind(self, segmentation_node) -> None:
        """Say where the masks are; what is known about masks of another segmentation is forgotten, prompts stay."""
        segmentation = segmentation_node.GetSegmentation()
        if self.node is not None and self.segmentation_node() is not segmentation_node:
            self.locked, self.results = frozenset(), Results()
            self.segment_ids = {
                one: name for one, name in self.segment_ids.items() if segmentation.GetSegment(name) is not None
            }
        self._bound_id = segmentation_node.GetID()

    def segmentation_node(self):
        """The segmentation of these notes, else that of other notes about the same image, or None."""
        pages = self._pages() if self.node is None else [self.node]
        found = (page.GetNodeReference(prompt_store.SEGMENTATION_REFERENCE) for page in pages)
        return next((node for node in found if node is not None), None)

    def save(self) -> None:
        """Put everything into the scene."""
        if self.node is None:
            self.node = prompt_store.create_prompt_node(self._owner)
        self.node.SetNodeReferenceID(prompt_store.SEGMENTATION_REFERENCE, self._bound_id)
        prompt_store.save_prompts(self.node, self.prompts)
        prompt_store.save_settings(self.node, {STATE_KEY: _to_json(self._to_dict())})

    def _add_pending(self, keys: Iterable[Key]) -> None:
        self.results = replace(self.results, pending=self.results.pending | frozenset(keys))

    def _to_dict(self) -> dict[str, object]:
        results = self.results
        rounded = {
            key: [round(value, SCORE_DIGITS) for value in (one.iou, one.object_score, one.overlap, one.ended, one.area)]
            for key, one in results.scores.items()
        }
        return {
            "version": STATE_VERSION,
            "stack": self._settings,
            "segments": sorted(self.segment_ids.items()),
            "locked": sorted(self.locked),
            "ends": sorted((one, *ends) for one, ends in self.ends.items()),
            "done": sorted(results.done),
            "pending": sorted(results.pending),
            "spread": sorted((one, sorted(times)) for one, times in results.spread.items()),
            "scores": sorted([*key, *values] for key, values in rounded.items()),
            "checksums": sorted([*key, value] for key, value in results.checksums.items()),
            "partial": results.is_partial,
        }

    def _pages(self) -> list:
        """All nodes with notes about the same image, however its frames run."""
        return [
            node
            for node in _all_pages()
            if node.GetNodeReferenceID(prompt_store.VOLUME_REFERENCE) == self._owner.GetID()
        ]

    def _find_node(self):
        """The page about these frames, if the scene has one."""
        wanted = f'"stack":{_to_json(self._settings)}'
        texts = ((node, prompt_store.load_settings(node).get(STATE_KEY, "")) for node in self._pages())
        return next((node for node, text in texts if wanted in text), None)

    def _load(self) -> None:
        try:
            values = json.loads(prompt_store.load_settings(self.node)[STATE_KEY])
            if values["version"] != STATE_VERSION:
                text = _("they are of version {version}, this release reads {readable}")
                raise ValueError(text.format(version=values["version"], readable=STATE_VERSION))
            self.prompts = prompt_store.load_prompts(self.node)
            self._read(values)
        except (KeyError, TypeError, ValueError) as error:
            text = _("The notes in node {name!r} cannot be read ({error}). Delete the node to start afresh.")
            raise InputError(text.format(name=self.node.GetName(), error=error)) from error

    def _read(self, values: Mapping) -> None:
        self.segment_ids = dict(values["segments"])
        self.locked = _keys(values["locked"])
        self.ends = {one: (first, last) for one, first, last in values["ends"]}
        self.results = Results(
            _keys(values["done"]),
            _keys(values["pending"]),
            {one: frozenset(times) for one, times in values["spread"]},
            {(one, frame): FrameScore(*rest[:3], bool(rest[3]), *rest[4:]) for one, frame, *rest in values["scores"]},
            {(one, frame): value for one, frame, value in values["checksums"]},
            values["partial"],
        )


def has_notes(node) -> bool:
    """Whether the scene has notes about a volume, or about the volume that a sequence browser shows."""
    owners = [page.GetNodeReferenceID(prompt_store.VOLUME_REFERENCE) for page in _all_pages()]
    is_browser = node.IsA("vtkMRMLSequenceBrowserNode")
    return any(node.IsProxyNodeID(owner) if is_browser else node.GetID() == owner for owner in owners if owner)


def checksum(mask: NDArray) -> int:
    """A number that changes with the mask."""
    return zlib.crc32((mask != 0).tobytes())


def group(keys: Iterable[Key]) -> dict[int, frozenset[int]]:
    """Frames by object."""
    grouped: dict[int, set[int]] = {}
    for object_id, frame in keys:
        grouped.setdefault(object_id, set()).add(frame)
    return {object_id: frozenset(frames) for object_id, frames in grouped.items()}


def _all_pages() -> list:
    """All nodes with notes."""
    nodes = slicer.util.getNodesByClass("vtkMRMLTextNode")
    return [node for node in nodes if node.GetAttribute(prompt_store.ROLE_ATTRIBUTE) == prompt_store.PROMPTS_ROLE]


def _to_json(values: Mapping[str, object]) -> str:
    return json.dumps(values, separators=(",", ":"))


def _keys(pairs: Iterable) -> frozenset[Key]:
    return frozenset((one, frame) for one, frame in pairs)
