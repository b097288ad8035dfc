"""``ddsam2``: propagate, models, evaluate, demo, train and worker from the command line (layer: cli)."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..core.errors import DDSAM2Error
from ..weights.catalog import DEFAULT_MODEL
from . import console
from .settings import add_settings, read_settings

WRONG_USE = 2
"""Exit code for input that cannot be used; the same as for options that cannot be."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

EXAMPLES = """examples:
  ddsam2 propagate ct.nii.gz -o organs.seg.nrrd --seed-mask one_slice.nii.gz
  ddsam2 propagate dicom_folder -o lesion.dcm --box 1 42 120 95 160 130
  ddsam2 propagate cine.dcm -o heart.seg.nrrd --point 1 0 150 110 + --point 1 0 60 60 - --report report
  ddsam2 propagate ct4d.nrrd -o tumour.seq.nrrd --seed-mask first_time_point.seg.nrrd

A pixel is (column, row) from 0; an integer is the centre of a pixel. Frames count from 0.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are one sentence on stderr, ``--debug`` adds the traceback."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # Before torch is imported: its idle threads would spin, which makes a busy machine ten times slower (measured).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if argv[:1] == ["train"]:
        return _guarded(lambda: _train(argv[1:]), is_debugging="--debug" in argv)
    if argv[:1] == ["worker"]:
        return _worker(argv[1:])
    options = _build_parser().parse_args(argv)
    return _guarded(lambda: options.run(options) or 0, options.debug)


def _guarded(run: Callable[[], int], is_debugging: bool) -> int:
    """Run a command; turn errors and warnings into single lines."""
    with warnings.catch_warnings():
        warnings.showwarning = _note_warning
        try:
            return run()
        except (DDSAM2Error, ImportError, KeyboardInterrupt, MemoryError) as error:
            if is_debugging:
                console.note(traceback.format_exc())
            console.note(f"ddsam2: {_explain(error)}")
            return INTERRUPTED if isinstance(error, KeyboardInterrupt) else WRONG_USE


def _explain(error: BaseException) -> str:
    """One sentence for the user; an error that is not listed here is a fault of ours and shows its traceback."""
    if isinstance(error, ImportError):
        return f"a package is missing ({error.name}). Install the extras: pip install 'ddsam2slicer[cli]'"
    if isinstance(error, MemoryError):
        return "out of memory. Crop the image, give fewer --frames, or close other programs."
    if isinstance(error, KeyboardInterrupt):
        return "interrupted, nothing more was written."
    return str(error)


def _note_warning(message: Warning | str, *_args: Any, **_kwargs: Any) -> None:
    """Show a warning without the line of code it came from; others than ours are not for the user."""
    if type(message).__module__.startswith(__package__.partition(".")[0]):
        console.note(f"Warning: {message}")


def _build_parser() -> argparse.ArgumentParser:
    """All commands but train, which has its own parser."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    engine = argparse.ArgumentParser(add_help=False)
    engine.add_argument(
        "--model", default=DEFAULT_MODEL, metavar="NAME|FILE", help="see `ddsam2 models` (default: %(default)s)"
    )
    engine.add_argument("--adapters", default="", metavar="FILE", help="adapters for the model, from fine-tuning")
    engine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: %(default)s)")
    add_settings(engine)
    parser = argparse.ArgumentParser(prog="ddsam2", description="Propagate segmentations with DD-SAM2.")
    parser.add_argument("--version", action="version", version=f"ddsam2slicer {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_propagate(commands, [engine, common])
    _add_models(commands, [common])
    _add_evaluate(commands, [engine, common])
    demo = commands.add_parser("demo", parents=[engine, common], help="segment a chest CT and a heart ultrasound")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="folder (default: %(default)s)")
    demo.set_defaults(run=_demo)
    commands.add_parser("train", help="train a model; see `ddsam2 train --help`", add_help=False)
    commands.add_parser("worker", help="serve the engine over stdin and stdout, for 3D Slicer", add_help=False)
    return parser


def _add_propagate(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Options of ``propagate``."""
    parser = commands.add_parser(
        "propagate",
        parents=parents,
        help="images and prompts in, masks out",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("input", type=Path, help="NRRD, NIfTI, MHA, DICOM (file or folder) or AVI/MP4; 2D+t, 3D or 3D+t")
    add("-o", "--output", type=Path, required=True, help=".seg.nrrd, .nrrd, .nii.gz, .mha, .seq.nrrd or .dcm")
    add("--seed-mask", type=Path, metavar="FILE", help="label map on the input's grid; each labelled frame is a prompt")
    add("--box", action="append", nargs=6, default=[], metavar=("OBJECT", "FRAME", "X0", "Y0", "X1", "Y1"))
    add(
        "--point",
        action="append",
        nargs=5,
        default=[],
        metavar=("OBJECT", "FRAME", "X", "Y", "SIGN"),
        help="SIGN: + or -",
    )
    add("--prompts", type=Path, metavar="FILE.json", help="prompts saved before")
    add("--axis", default="auto", choices=("auto", "i", "j", "k", "time"), help="what follows from frame to frame")
    add("--frames", metavar="A:B", help="first and last frame to visit, both included")
    add("--direction", default="both", choices=("both", "forward", "backward"), help="from the prompts (default: both)")
    add("--report", type=Path, metavar="DIR", help="write a table, a curve and a montage into this folder")
    parser.set_defaults(run=_propagate)


def _add_models(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Options of ``models``."""
    parser = commands.add_parser("models", parents=parents, help="list, download, adopt or delete model files")
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--download", metavar="NAME", help="bring a model to this computer")
    one.add_argument("--adopt", metavar="FILE", help="take over a file you have, without a network")
    one.add_argument("--delete", metavar="NAME", help="free the space of a downloaded model")
    parser.set_defaults(run=_models)


def _add_evaluate(commands: Any, parents: list[argparse.ArgumentParser]) -> None:
    """Options of ``evaluate``."""
    parser = commands.add_parser("evaluate", parents=parents, help="mean Dice on labelled 3D cases, beside baselines")
    parser.add_argument("data", type=Path, help="folder of images with label maps beside them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    parser.add_argument(
        "--methods", default="model,copy,demons,growcut", help="comma-separated (default: %(default)s; also review)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N tasks")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    parser.set_defaults(run=_evaluate)


def _loader(options: argparse.Namespace) -> Any:
    """What loads the chosen model when it is needed."""
    from .loading import PredictorLoader

    return PredictorLoader(options.model, options.device, options.adapters, read_settings(options))


def _propagate(options: argparse.Namespace) -> int:
    from .propagate import Request, propagate

    request = Request(
        options.input,
        options.output,
        options.seed_mask,
        tuple(map(tuple, options.box)),
        tuple(map(tuple, options.point)),
        options.prompts,
        options.axis,
        options.frames,
        options.direction,
        options.report,
    )
    return INTERRUPTED if propagate(request, _loader(options)).was_stopped else 0


def _models(options: argparse.Namespace) -> None:
    from ..weights.store import Store
    from . import models

    store = Store()
    if options.download:
        models.download_model(store, options.download)
    elif options.adopt:
        models.adopt_model(store, options.adopt)
    elif options.delete:
        models.delete_model(store, options.delete)
    else:
        models.list_models(store)


def _evaluate(options: argparse.Namespace) -> None:
    from .evaluate import evaluate, say_report, write_report

    methods = [name.strip() for name in options.methods.split(",")]
    report = evaluate(options.data, _loader(options), methods, options.limit, options.jobs)
    say_report(report)
    if options.json is not None:
        write_report(report, options.json)


def _demo(options: argparse.Namespace) -> None:
    from .demo import demo

    demo(options.output, _loader(options))


def _worker(argv: list[str]) -> int:
    from ..worker.server import main as serve

    return serve(argv)


def _train(argv: list[str]) -> int:
    from ..training.cli import main as train

    return train([word for word in argv if word != "--debug"])


if __name__ == "__main__":
    sys.exit(main())
