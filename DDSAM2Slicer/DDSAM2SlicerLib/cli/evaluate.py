"""``ddsam2 evaluate``: mean Dice of the model and of what a user has without it, on labelled 3D cases (layer: cli).

One slice of an object is prompted with its mask, its tight box, a click at its most interior point, or three clicks,
each further one in the middle of the largest error; every other slice of the object's range is scored. Dice is pooled
over the slices of a task; figures are means over tasks. ``model_empty_beyond`` is the share of slices beyond both ends
of the object (up to BEYOND_SLICES each) on which a tracked mask is empty, as it should be.

``review`` simulates a review, from a mask and from a click: the slice that is suggested next is given its true mask
(an empty one beyond the ends), or three clicks; what follows from it is computed again. ``after_1`` pools all slices
but the one prompted first, ``others_after_1`` only those that nobody has corrected.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError, SettingsError
from ..core.files import write_text
from ..core.frames import VolumeFrames
from ..core.geometry import Axis
from ..core.masks import largest_component, most_interior_point
from ..core.metrics import dice
from ..core.plan import Direction, FrameRange
from ..core.prompts import Box, Point, PromptSet
from ..core.review import Track, best_correction
from . import console
from .baselines import BASELINES
from .tasks import Task, iter_tasks

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_METHODS = ("model", *BASELINES)
REVIEW = "review"
METHODS = (*DEFAULT_METHODS, REVIEW)
PROMPT_KINDS = ("mask", "box", "click", "clicks")
REVIEW_KINDS = {
    "review mask": ("mask", False),
    "review click": ("click", False),
    "review mask by clicks": ("mask", True),
}
"""How each review begins, and whether it goes on by clicks instead of true masks."""
HEADERS = {"model_prompted_slice": "given", "model_empty_beyond": "empty beyond"}
NUM_CLICKS = 3
NUM_CORRECTIONS = 3
BEYOND_SLICES = 10
OBJECT = 1

Scores = dict[str, dict[str, float]]


def evaluate(
    folder: str | Path,
    load: Callable[[int], Any],
    methods: Sequence[str] = DEFAULT_METHODS,
    limit: int | None = None,
    jobs: int = 1,
) -> dict[str, Any]:
    """Score every task of a folder.

    Args:
        folder: Images with label maps beside them, see ``tasks``.
        load: Gives a predictor that uses the given number of threads (0: free choice); called once per process.
        methods: Which of METHODS to run.
        limit: Only the first tasks.
        jobs: Number of processes.

    Returns:
        ``{"summary": {kind: {method: mean Dice}}, "tasks": [...]}``.

    Raises:
        InputError: If the folder holds no task.
        SettingsError: If a method is unknown.
    """
    unknown = set(methods) - set(METHODS)
    if unknown:
        msg = f"Unknown method {', '.join(sorted(unknown))}. Accepted: {', '.join(METHODS)}."
        raise SettingsError(msg)
    tasks = list(islice(iter_tasks(folder), limit))
    if not tasks:
        msg = (
            f"{folder} holds no labelled 3D case: an image with a label map beside it (name ending in _label or _seg)."
        )
        raise InputError(msg)
    progress = console.Progress(len(tasks), "tasks")
    rows = []
    for row in _run(tasks, load, tuple(methods), jobs):
        rows.append(row)
        progress.advance()
    progress.finish()
    return {"summary": summarise(rows), "tasks": rows}


def score_task(task: Task, methods: Iterable[str], predictor: Any) -> dict[str, Any]:
    """Run the methods on one task; the row of the report."""
    scores: Scores = defaultdict(dict)
    seconds = {}
    for method in methods:
        start = time.perf_counter()
        if method == "model":
            for kind in PROMPT_KINDS:
                scores[kind].update(_score_model(task, kind, predictor))
        elif method == REVIEW:
            for kind, (prompt, by_clicks) in REVIEW_KINDS.items():
                scores[kind] = _score_review(task, prompt, by_clicks, predictor)
        else:
            first, stop = task.frame_range.start, task.frame_range.stop
            part, given = task.array_kji[first:stop], task.mask_kji[task.prompted]
            masks = BASELINES[method](part, given, task.prompted - first)
            scores["mask"][method] = _pooled_dice(task, dict(zip(task.frame_range, masks, strict=True)))
        seconds[method] = round(time.perf_counter() - start, 3)
    return {
        "name": task.name,
        "dataset": task.dataset,
        "modality": task.modality,
        "prompted_slice": task.prompted,
        "first_slice": task.frame_range.start,
        "last_slice": task.frame_range.stop - 1,
        **scores,
        "seconds": seconds,
    }


def make_prompt(mask: NDArray[np.bool_], kind: str, frame: int) -> PromptSet:
    """Prompt one object with its mask, its tight box or a click at its most interior point."""
    prompts = PromptSet.empty()
    if kind == "mask":
        return prompts.with_mask(OBJECT, frame, mask)
    if kind == "click":
        return prompts.with_point(OBJECT, frame, Point(*most_interior_point(mask)))
    return prompts.with_box(OBJECT, frame, tight_box(mask))


def tight_box(mask: NDArray[np.bool_]) -> Box:
    """Smallest box that holds a mask (H, W), between pixel centres; half a pixel wider where it would have no width."""
    rows, columns = np.nonzero(mask)
    x0, x1, y0, y1 = float(columns.min()), float(columns.max()), float(rows.min()), float(rows.max())
    if x0 == x1:
        x0, x1 = x0 - 0.5, x1 + 0.5
    if y0 == y1:
        y0, y1 = y0 - 0.5, y1 + 0.5
    return Box(x0, y0, x1, y1)


def summarise(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean Dice per kind of prompt and method."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for kind in (*PROMPT_KINDS, *REVIEW_KINDS):
            for method, value in row.get(kind, {}).items():
                values[kind][method].append(value)
    return {kind: {method: round(float(np.mean(v)), 4) for method, v in by.items()} for kind, by in values.items()}


def say_report(report: dict[str, Any]) -> None:
    """Print the mean Dice over all tasks, per data set and per modality."""
    rows = report["tasks"]
    columns = [(kind, method) for kind, by in report["summary"].items() for method in by]
    prompted = [column for column in columns if column[0] in PROMPT_KINDS]
    if prompted:
        console.say("Mean Dice (kind of prompt:method; 'given' is the prompted slice; 'empty beyond' is no Dice, but")
        console.say("the share of slices beyond the object's ends on which the mask is empty)")
        _say_columns(rows, prompted)
    if len(columns) > len(prompted):
        console.say("Mean Dice after 1, 2, 3 corrected slices ('others': on slices that nobody has corrected)")
        _say_columns(rows, [column for column in columns if column not in prompted])


def _say_columns(rows: list[dict[str, Any]], columns: list[tuple[str, str]]) -> None:
    """Print one table of means."""
    header = ["", "tasks", *(f"{kind}:{HEADERS.get(method, method.replace('_', ' '))}" for kind, method in columns)]
    groups = [("all", rows)]
    for key in ("dataset", "modality"):
        names = sorted({row[key] for row in rows})
        groups += [(f"{key} {name}", [row for row in rows if row[key] == name]) for name in names]
    table = []
    for name, members in groups:
        summary = summarise(members)
        table.append([name, len(members), *(_text(summary.get(kind, {}).get(method)) for kind, method in columns)])
    console.say_table(header, table)


def _text(figure: float | None) -> str:
    """A figure, or a dash where no task has it."""
    return "-" if figure is None else f"{figure:.3f}"


def write_report(report: dict[str, Any], path: str | Path) -> None:
    """Write the report as JSON."""
    write_text(path, json.dumps(report, indent=1) + "\n")


def _score_model(task: Task, kind: str, predictor: Any) -> dict[str, float]:
    """Dice of the model on the slices to be found and, unless the mask itself was given, on the prompted one."""
    session, truth = predictor.open(VolumeFrames(task.array_kji, task.geometry, Axis.K)), task.mask_kji[task.prompted]
    prompts = make_prompt(truth, "click" if kind == "clicks" else kind, task.prompted)
    session.set_prompts(prompts)
    if kind == "clicks":
        found = session.preview(task.prompted).masks[0]
        _click_right(session, prompts, found, truth, task.prompted, NUM_CLICKS - 1)
    frames = _widened(task) if kind == "mask" else task.frame_range
    masks = {result.frame: result.masks[0] for result in session.propagate(Direction.BOTH, frames)}
    scores = {"model": _pooled_dice(task, masks)}
    if kind != "mask":
        given = masks[task.prompted] if task.prompted in masks else session.preview(task.prompted).masks[0]
        scores["model_prompted_slice"] = round(dice(given, truth), 4)
    beyond = [k for k in frames if k not in task.frame_range]
    if beyond:
        is_empty = [k not in masks or not masks[k].any() for k in beyond]
        scores["model_empty_beyond"] = round(float(np.mean(is_empty)), 4)
    return scores


def _score_review(task: Task, kind: str, by_clicks: bool, predictor: Any) -> dict[str, float]:
    """Dice after every correction of the slice that is suggested next."""
    session, frames = predictor.open(VolumeFrames(task.array_kji, task.geometry, Axis.K)), _widened(task)
    prompts = make_prompt(task.mask_kji[task.prompted], kind, task.prompted)
    session.set_prompts(prompts)
    results = {result.frame: result for result in session.propagate(Direction.BOTH, frames)}
    drawn: dict[int, NDArray] = {}
    given, scores = {task.prompted}, {}
    for count in range(1, NUM_CORRECTIONS + 1):
        track = Track({k: result.scores[0] for k, result in results.items()}, given, [frames])
        chosen = best_correction([track], results.keys() - given)
        if chosen is not None:
            given.add(chosen)
            truth, found = task.mask_kji[chosen], results[chosen].masks[0]
            if by_clicks and truth.any():
                prompts = _click_right(session, prompts, found, truth, chosen, NUM_CLICKS)
            else:
                drawn[chosen] = truth
            changed = session.propagate(Direction.BOTH, frames, {OBJECT: drawn}, changed=(OBJECT, chosen))
            results.update({result.frame: result for result in changed})
        masks = {k: result.masks[0] for k, result in results.items()} | drawn
        scores[f"after_{count}"] = _pooled_dice(task, masks)
        scores[f"others_after_{count}"] = _pooled_dice(task, masks, [k for k in task.scored if k not in given])
    return scores


def _click_right(
    session: Any, prompts: PromptSet, found: NDArray[np.bool_], truth: NDArray[np.bool_], frame: int, count: int
) -> PromptSet:
    """Correct a mask (H, W) with up to so many clicks, each in the largest error left; the prompts with them."""
    for _ in range(count):
        clicked = correct(prompts, found, truth, frame)
        if clicked == prompts:
            break
        prompts = clicked
        session.set_prompts(prompts)
        found = session.preview(frame).masks[0]
    return prompts


def _widened(task: Task) -> FrameRange:
    """The object's range and up to BEYOND_SLICES beyond its ends."""
    start, stop = task.frame_range.start - BEYOND_SLICES, task.frame_range.stop + BEYOND_SLICES
    return FrameRange(max(start, 0), min(stop, len(task.mask_kji)))


def correct(prompts: PromptSet, found: NDArray[np.bool_], truth: NDArray[np.bool_], frame: int) -> PromptSet:
    """Add a click in the middle of the largest error, positive where something is missing; none if all is right."""
    missing, wrong = largest_component(truth & ~found), largest_component(found & ~truth)
    error = missing if missing.sum() >= wrong.sum() else wrong
    if not error.any():
        return prompts
    return prompts.with_point(OBJECT, frame, Point(*most_interior_point(error), error is missing))


def _pooled_dice(task: Task, masks: dict[int, NDArray], slices: Sequence[int] | None = None) -> float:
    """Dice over these slices together (by default all to be found); one without a result counts as empty."""
    chosen = task.scored if slices is None else slices
    empty = np.zeros(task.mask_kji.shape[1:], bool)
    found = np.array([masks.get(k, empty) for k in chosen], bool).reshape(-1, *empty.shape)
    return round(dice(found, task.mask_kji[list(chosen)]), 4)


def _run(tasks: list[Task], load: Callable[[int], Any], methods: tuple[str, ...], jobs: int) -> Iterator[dict]:
    """Rows in the order of the tasks, from this process or several."""
    if jobs <= 1:
        predictor = load(0) if _needs_model(methods) else None
        for task in tasks:
            yield score_task(task, methods, predictor)
        return
    import multiprocessing

    # A forked copy of a process that has used torch's threads can hang, so the workers start afresh.
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with context.Pool(jobs, _start_worker, (load, threads, methods)) as pool:
        yield from pool.imap(_score_in_worker, tasks)
        pool.close()
        pool.join()


def _needs_model(methods: Iterable[str]) -> bool:
    """Whether a predictor has to be loaded."""
    return not {"model", REVIEW}.isdisjoint(methods)


_worker: dict[str, Any] = {}


def _start_worker(load: Callable[[int], Any], threads: int, methods: tuple[str, ...]) -> None:
    """Load the model once per process."""
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    _worker.update(methods=methods, predictor=load(threads) if _needs_model(methods) else None)


def _score_in_worker(task: Task) -> dict[str, Any]:
    """Score one task with what ``_start_worker`` prepared."""
    return score_task(task, _worker["methods"], _worker["predictor"])
