"""``ddsam2 train``: collect images, pretrain, export or blend, score on held-out clips (layer: training)."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from .config import load_recipe


def main(argv: list[str]) -> int:
    """Run ``collect``, ``pretrain``, ``export``, ``blend`` or ``score``; returns the process exit code."""
    parser = argparse.ArgumentParser(prog="ddsam2 train", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect", help="fetch labelled images from public repositories, to train on")
    collecting.add_argument("folder", type=Path, help="where they go, a folder for each kind")
    collecting.add_argument("--only", default="", help="only this kind")
    collecting.add_argument(
        "--host", default="", help="address, or path, of another copy of the repositories, with {owner} and {name}"
    )
    pretrain = commands.add_parser(
        "pretrain", help="train from random weights, or go on in a folder that holds a checkpoint"
    )
    pretrain.add_argument("--config", type=Path, required=True, help="recipe (TOML)")
    pretrain.add_argument("--folder", type=Path, required=True, help="where checkpoints, log and sheets go")
    pretrain.add_argument("--workers", type=int, default=1, help="processes that generate clips")
    pretrain.add_argument("--accelerator", default="auto", help="cpu, cuda, mps or auto")
    pretrain.add_argument("--devices", type=int, default=1, help="devices that share each step, started by torchrun")
    export = commands.add_parser("export", help="write the averaged weights of a run as one safetensors file")
    export.add_argument("--config", type=Path, required=True)
    export.add_argument("--folder", type=Path, required=True)
    export.add_argument("--output", type=Path, required=True)
    blending = commands.add_parser("blend", help="write the mean of a model and of what was trained from it")
    blending.add_argument("first", type=Path)
    blending.add_argument("second", type=Path)
    blending.add_argument("--share", type=float, default=0.5, help="weight of the second (default: 0.5)")
    blending.add_argument("--output", type=Path, required=True)
    score = commands.add_parser("score", help="score a model on generated clips that no training has seen")
    score.add_argument("--model", default="nano", help="name or file (default: nano)")
    score.add_argument("--clips", type=int, default=100, help="of each kind (default: 100)")
    score.add_argument("--frames", type=int, default=16, help="per clip (default: 16)")
    score.add_argument("--only", choices=("time", "slices"), help="only this kind")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.command == "score":
        from .holdout import describe_scores

        for sentence in describe_scores(options.model, options.clips, options.frames, options.only):
            sys.stdout.write(f"{sentence}\n")
        return 0
    if options.command == "collect":
        from .collect import HOST, collect

        counts = collect(options.folder, options.host or HOST, only=options.only)
        sys.stdout.write(f"{sum(counts.values())} images in {len(counts)} folders\n")
        return 0
    if options.command == "blend":
        from .export import blend

        blend(options.first, options.second, options.output, options.share)
        return 0
    recipe = load_recipe(options.config)
    if options.command == "pretrain":
        from .loop import Trainer

        Trainer(recipe, options.folder, options.workers, options.accelerator, options.devices).run()
    else:
        from .export import export_average

        export_average(recipe, options.folder, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
