"""``ddsam2 propagate``: prompts on some frames of an image become masks on all (layer: cli)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import OutputError
from ..core.plan import Direction
from . import console
from .prompting import collect_prompts, parse_range, read_seed_mask
from .readers import read_image
from .stack import make_stack
from .tracking import Outcome, Plan, stop_on_interrupt, track
from .writers import prepare_output


@dataclass(frozen=True)
class Request:
    """What the user asked for, as typed; see the help of ``ddsam2 propagate``."""

    input: Path
    output: Path
    seed_mask: Path | None = None
    boxes: tuple[tuple[str, ...], ...] = ()
    points: tuple[tuple[str, ...], ...] = ()
    prompts: Path | None = None
    axis: str = "auto"
    frames: str | None = None
    direction: str = "both"
    report: Path | None = None


def propagate(request: Request, load: Callable[[], Any]) -> Outcome:
    """Read, propagate, write; all that can be refused is refused before the model is loaded.

    Args:
        request: What to do.
        load: Gives the predictor.

    Raises:
        DDSAM2Error: With a sentence for the user.
    """
    image = read_image(request.input)
    seed = None if request.seed_mask is None else read_seed_mask(request.seed_mask, image)
    stack = make_stack(image, request.axis, None if seed is None else seed.labels_tkji[0])
    source = stack.source()
    frame_range = parse_range(request.frames, source.num_frames)
    # the file's own grid decides what can be written, even where its slices are taken as times
    target = stack.image if request.output.name.endswith(".seq.nrrd") else image
    _keep_inputs(request)
    write = prepare_output(request.output, target)
    prompts, time = collect_prompts(stack, seed, request.boxes, request.points, request.prompts)
    prompts.validate(source.num_frames, source.height, source.width, frame_range)
    console.note(f"{request.input}: {stack.describe()}")
    predictor = load()
    with stop_on_interrupt() as is_stopped:
        plan = Plan(prompts, frame_range, Direction(request.direction), time)
        outcome = track(stack, plan, predictor, is_stopped, seed)
    write(request.output, outcome.labels.moved_to(target))
    console.say(f"Wrote {request.output}")
    if request.report is not None:
        from .report import write_report

        for path in write_report(outcome, request.report):
            console.say(f"Wrote {path}")
    if outcome.was_stopped:
        console.note("Stopped: the frames that were finished are in the output, the others are empty there.")
    elif (frame := outcome.next_to_check()) is not None:
        console.note(f"Look at frame {frame} next: a prompt there is expected to help most.")
    return outcome


def _keep_inputs(request: Request) -> None:
    """Refuse to write over a file that was read.

    Raises:
        OutputError: If the output is the image, the seed mask or the prompt file.
    """
    for path in (request.input, request.seed_mask, request.prompts):
        if path is not None and request.output.resolve() == path.resolve():
            msg = f"The output {request.output} would overwrite an input. Choose another name."
            raise OutputError(msg)
