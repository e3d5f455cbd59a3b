"""Do explanations find the words that matter? On the demo's phantom the purpose of every word is known.

    python benchmarks/accuracy/explain.py DEMO_FOLDER

Over the test images of a finished `textdiff demo`: every word of each report is occluded, and the change of the
log odds inside the target's true mask is compared with that outside, by the word's purpose. Then each image gets the
report that names the other kind of nuclei, and its mask is compared with the other kind's. Intervals (95 %) are
bootstrapped over images.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from textdiff import Segmenter
from textdiff.components import (
    Explanation,
    FeatureReader,
    bootstrap_intervals,
    mean_intervals,
    read_mask,
)

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse, unequal

Mask = Bool[np.ndarray, "y x"]

ROLES = {
    "target type": "names the target as a type (spindle, round)",
    "target shape": "names the target by its shape (thin, plump, ...)",
    "other": "names the other kind",
    "says": "says something of a kind (malignant, tumour, not, upper, ...)",
    "nothing": "names nothing (the, nuclei, cell, are, of, ...)",
}
KIND_WORDS = {
    "spindle": {"spindle-shaped", "elongated", "slender", "cigar-shaped", "thin"},
    "round": {"round", "rounded", "plump", "oval", "vesicular"},
}
"""The phantom's adjectives for both kinds of nuclei; its test images have a spindle and a round target in turn."""
TELLING = {
    "tumour", "lesion", "stroma", "tissue", "not", "only", "all", "half", "opposite", "upper", "lower", "left", "right",
    "malignant", "neoplastic", "cancerous", "benign", "reactive", "normal",
}  # fmt: skip


def roles(words: Sequence[str], target: str) -> list[str]:
    """Purpose of each word of a report, in order."""
    other = "round" if target == "spindle" else "spindle"
    lower = [word.lower() for word in words]
    of_words = []
    for word, following in zip(lower, [*lower[1:], ""], strict=True):
        if word in ("spindle", "round") and following == "cell":
            of_words.append("target type" if word == target else "other")
        elif word in KIND_WORDS[target]:
            of_words.append("target shape")
        else:
            of_words.append("other" if word in KIND_WORDS[other] else "says" if word in TELLING else "nothing")
    return of_words


@dataclass(frozen=True)
class Case:
    """A test image of the demo, with its report explained and the other kind's report as the what-if."""

    target: str
    truth: Mask
    other_truth: Mask
    """The other kind's mask."""
    explanation: Explanation


def cases(demo: Path) -> Iterator[Case]:
    """Every test image, in order."""
    segmenter, reader = Segmenter.load(demo / "run", device="cpu"), FeatureReader(demo / "cache")
    data = Path(reader.table.root)
    with (data / "counterfactual.csv").open(encoding="utf-8", newline="") as file:
        others = {Path(row["image"]): row for row in csv.DictReader(file)}
    for i, row in enumerate(reader.split("test")):
        other = others[Path(row.image)]
        text = reader.table.texts[row.text] if row.text is not None else ""
        explanation = segmenter.explain(data / row.image, text, versus=other["text"], sample_id=row.id)
        truth, other_truth = (resized(read_mask(data / mask) > 0, explanation.mask.shape)
                              for mask in (row.mask, other["mask"]))  # fmt: skip
        yield Case("spindle" if i % 2 == 0 else "round", truth, other_truth, explanation)


def resized(mask: Mask, shape: tuple[int, ...]) -> Mask:
    """The mask at the size that the head works at."""
    return np.asarray(Image.fromarray(mask).resize(shape[::-1], Image.Resampling.NEAREST))


def overlap(mask: Mask, truth: Mask) -> float:
    """Dice; 1 where both are empty."""
    total = int(mask.sum() + truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def figures_of(explanation: Explanation, truth: Mask) -> np.ndarray:
    """Of each word: mean changes inside and outside, mean effect inside, area flipped, and its selectivity.

    Logits move more on what the head can mark than between it, whatever changes in the text. Selectivity takes that
    out: the word's ratio of inside to outside over that of the text's median word.
    """
    sizes, odds = np.abs(explanation.effects), _odds(explanation.probability)
    inside, outside = sizes[:, truth].mean(1), sizes[:, ~truth].mean(1)
    flipped = ((odds > 0) != (odds - explanation.effects > 0)).sum((1, 2)) / max(explanation.mask.sum(), 1)
    ratios = inside / outside
    effect = explanation.effects[:, truth].mean(1)
    return np.stack([inside, outside, effect, flipped, ratios / np.median(ratios)], 1).astype(np.float64)


def _odds(probability: np.ndarray) -> np.ndarray:
    p = probability.astype(np.float64).clip(1e-12, 1 - 1e-12)
    return np.log(p / (1 - p))


def shown(value: float, interval: tuple[float, float] | None) -> str:
    """A figure with its interval."""
    return f"{value:.3f}" + ("" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]")


def print_role(role: str, of_images: np.ndarray) -> None:
    """One line of the table, from the number of the role's words in each image and the sums of their figures."""

    def statistic(drawn: np.ndarray) -> np.ndarray:
        n, inside, outside, effect, flipped, selectivity = np.moveaxis(drawn @ of_images, -1, 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = [one / n for one in (inside, outside, effect, flipped, selectivity)]
            return np.stack([*means[:2], inside / outside, *means[2:]], -1)

    (figures,) = statistic(np.ones((1, len(of_images)), dtype=int))
    intervals = bootstrap_intervals(statistic, len(of_images))
    cells = [shown(value, interval) for value, interval in zip(figures, intervals, strict=True)]
    print(f"{role:<13} {int(of_images[:, 0].sum()):>4}  " + "  ".join(cell.ljust(24) for cell in cells))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path)
    given = parser.parse_args()
    of_roles: dict[str, list[list[float]]] = {role: [] for role in ROLES}
    flips, first_names_target, trivial, n_words = [], [], [], 0
    for case in cases(given.demo):
        explanation, what_if = case.explanation, case.explanation.versus
        if what_if is None:
            raise AssertionError("versus was given")
        of_words = roles([word.text for word in explanation.words], case.target)
        figures = figures_of(explanation, case.truth)
        for role in ROLES:
            of_role = figures[[one == role for one in of_words]]
            of_roles[role].append([len(of_role), *of_role.sum(0)])
        n_words += len(explanation.words)
        trivial.append(overlap(np.ones_like(case.truth), case.truth))
        first_names_target.append(float(of_words[explanation.ranked()[0].index].startswith("target")))
        own, other = explanation.mask, what_if.mask
        flips.append([overlap(own, case.truth), overlap(other, case.other_truth), overlap(own, case.other_truth)])
    names = ("inside", "outside", "inside / outside", "effect inside", "area flipped / mask", "selectivity")
    print(f"{'words':<13} {'n':>4}  " + "  ".join(name.ljust(24) for name in names))
    for role in ROLES:
        print_role(role, np.array(of_roles[role]))
    print("\n".join(f"  {role}: {meaning}" for role, meaning in ROLES.items()))
    values = np.column_stack([flips, first_names_target])
    intervals = mean_intervals(values, [str(i) for i in range(len(values))])
    names = ("own text, own mask", "other text, other mask", "own text, other mask", "first word names target")
    for name, value, interval in zip(names, values.mean(0), intervals, strict=True):
        print(f"{name:<26} {shown(float(value), interval)}")
    refuse(implausible({role: np.array(of) for role, of in of_roles.items()}, values, n_words, float(np.mean(trivial))))


def implausible(of_roles: Mapping[str, np.ndarray], values: np.ndarray, n_words: int, trivial: float) -> Iterator[str]:
    """Problems of the tables.

    Args:
        of_roles: role → [image, number of words and sums of their figures].
        values: [image, Dice of own text and mask, of the other's both, own text and other mask, share].
        n_words: in all reports.
        trivial: mean Dice of foreground everywhere, which the head must beat with the image's own text.
    """
    yield from unequal(
        "words of all roles, and of the reports", sum(of[:, 0].sum() for of in of_roles.values()), n_words
    )
    nameless = np.flatnonzero(of_roles["target type"][:, 0] + of_roles["target shape"][:, 0] == 0)
    if nameless.size:
        yield f"{nameless.size} reports do not name their target, the first of them report {nameless[0]}"
    yield from outside(0, 1, {"Dice and share": values.tolist()})
    yield from outside(trivial, 1, {"mean Dice with the own text": float(values[:, 0].mean())})
    changes = {role: of[:, 1:3].min() for role, of in of_roles.items() if len(of)}
    yield from outside(0, float("inf"), {"mean change of log odds by words of the role": changes})


if __name__ == "__main__":
    main()
