"""Which changes of the prompts are one step back."""

from itertools import pairwise

import numpy as np
import pytest

from DDSAM2SlicerLib.core.prompts import PromptSet

pytest.importorskip("slicer", reason="the logic needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.core.prompts import Point
from DDSAM2SlicerLib.logic.prompt_history import PromptHistory

EMPTY = PromptSet.empty()


def at(*columns):
    prompts = EMPTY
    for x in columns:
        prompts = prompts.with_point(1, 4, Point(x, 5))
    return prompts


def steps_back(*states):
    """The sets one comes through, when these follow each other and all steps are taken back."""
    history, found = PromptHistory(), []
    for before, now in pairwise(states):
        history.note(before, now)
    now = states[-1]
    while history.last is not None:
        before, now = now, history.last
        found.append(now)
        history.note(before, now)
    return found


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([EMPTY], []),
        ([EMPTY, at(1), at(1, 2)], [at(1), EMPTY]),
        ([EMPTY, at(1), PromptSet.empty()], [at(1), EMPTY]),  # what was removed comes back
        ([EMPTY, at(1), at(2), at(3), at(4)], [at(1), EMPTY]),  # a drag is one step
        ([EMPTY, at(1), at(2), at(2, 9), at(3, 9)], [at(2, 9), at(2), at(1), EMPTY]),
    ],
)
def test_steps_are_taken_back_one_by_one_and_a_drag_at_once(states, expected):
    assert steps_back(*states) == expected


def test_every_mask_is_a_step():
    masks = [EMPTY.with_mask(1, 4, np.eye(9, k=k, dtype=bool)) for k in range(4)]
    assert steps_back(EMPTY, *masks) == [*masks[-2::-1], EMPTY]


def test_a_forgotten_object_does_not_come_back():
    history = PromptHistory()
    history.note(at(1).with_point(2, 4, Point(1, 1)), at(1))
    history.forget_object(2)
    assert history.last == at(1)
