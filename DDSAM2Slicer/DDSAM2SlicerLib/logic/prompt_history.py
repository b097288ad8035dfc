"""Earlier prompts, to take back the last step (layer: logic)."""

from __future__ import annotations

from collections.abc import Hashable

from ..core.prompts import PromptSet

MAX_STEPS = 100


class PromptHistory:
    """What the prompts were before each of the last steps; moves that follow each other, as in a drag, are one step."""

    def __init__(self) -> None:
        """No step yet."""
        self._earlier: list[PromptSet] = []

    @property
    def last(self) -> PromptSet | None:
        """The prompts before the last step, or None."""
        return self._earlier[-1] if self._earlier else None

    def note(self, before: PromptSet, now: PromptSet) -> None:
        """A step was made; a step to ``last``, the very object, takes that one back."""
        if now is self.last:
            self._earlier.pop()
        elif now != before and not (self.last is not None and _kinds(self.last) == _kinds(before) == _kinds(now)):
            self._earlier = [*self._earlier[1 - MAX_STEPS :], before]

    def forget_object(self, object_id: int) -> None:
        """Nothing of an object comes back."""
        self._earlier = [prompts.without(object_id) for prompts in self._earlier]


def _kinds(prompts: PromptSet) -> Hashable:
    """What there is, wherever it is; another mask is another thing."""
    return tuple(
        (
            key,
            prompt
            if prompt.mask is not None
            else (tuple(point.positive for point in prompt.points), prompt.box is None),
        )
        for key, prompt in prompts.prompts.items()
    )
