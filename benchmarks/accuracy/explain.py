"""Do explanations find the words that matter? Known on the phantom, whose reports are made from parts with meanings.

    python benchmarks/accuracy/explain.py DEMO_FOLDER

Over the test images of a finished `textdiff demo`: every word of each report is occluded, and the change of the
logits inside the target's true mask is compared with that outside, by what the word is there for. Then each image gets
the report that names the other kind of nuclei, and its mask is compared with the other kind's. Intervals (95 %) are
bootstrapped over images.
"""

from __future__ import annotations

import argparse
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from textdiff.cache.format.samples import IGNORE
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.demo.sentences import OTHER_KIND, Report, write_reports
from textdiff.pipeline.explanation.measure import explain_sample
from textdiff.pipeline.explanation.result import Explanation
from textdiff.pipeline.images.reading import read_mask
from textdiff.pipeline.images.resizing import resize_labels
from textdiff.pipeline.runs.compatibility import check_same_features, open_as_trained
from textdiff.pipeline.runs.heads import load_head
from textdiff.pipeline.runs.run_config import RunConfig
from textdiff.pipeline.scoring.intervals import bootstrap_intervals, mean_intervals
from textdiff.stages.metrics.overlap import confusion, dice
from textdiff.stages.text.loading import load_text_encoder
from textdiff.stages.text.words import split_words

ROLES = {
    "target type": "names the target as a type (spindle, round)",
    "target shape": "names the target by its shape (thin, plump, ...)",
    "other": "names the other kind",
    "says": "says something of a kind (malignant, tumour, not, upper, ...)",
    "nothing": "names nothing (the, nuclei, cell, are, of, ...)",
}
TELLING = {"tumour", "lesion", "stroma", "tissue", "not", "only", "all", "half"}


def roles(report: Report) -> list[str]:
    """What each word of a report is there for, in order."""
    fills = {
        "target": [(report.kind_words[report.target], "target shape")],
        "other": [(report.kind_words[OTHER_KIND[report.target]], "other")],
        "cell": [(report.target, "target type"), ("cell", "nothing")],
        "bystander": [(OTHER_KIND[report.target], "other"), ("cell", "nothing")],
        "yes": [(report.target_word, "says")],
        "no": [(report.other_word, "says")],
        "place": [(str(report.side), "says")],
        "opposite": [("opposite", "says")],
    }
    found: list[str] = []
    for literal, gap, _, _ in string.Formatter().parse(report.wording.sentence):
        found += ["says" if word.text in TELLING else "nothing" for word in split_words(literal)]
        found += [role for _, role in fills.get(gap or "", [])]
    return found


def explanations(demo: Path) -> Iterator[tuple[Report, np.ndarray, np.ndarray, Explanation]]:
    """Report, true mask, the other kind's mask and explanation of each image; other words as the what-if."""
    run = demo / "run"
    config, reader = RunConfig.read(run), FeatureReader(demo / "cache")
    check_same_features(config, reader)
    if config.texts is None:
        raise SystemExit(f"{run} was trained without texts; give the folder of a finished `textdiff demo`")
    data, head = open_as_trained(config, reader, "true", "cpu"), load_head(run, config, "cpu")
    encoder, rows = load_text_encoder(config.texts.encoder), reader.split("test")
    for row, report in zip(rows, write_reports("test", len(rows), seed=0), strict=True):
        other = report.counterfactual()
        if row.text is None or reader.table.texts[row.text] != report.text:
            raise SystemExit(f"{row.id}: its text is not the phantom's; give the folder of a finished `textdiff demo`")
        mask = Path(reader.table.root) / "masks" / f"{row.parent}-other.png"
        others = resize_labels((read_mask(mask) > 0).astype(np.uint8), data.size) > 0
        found = explain_sample(head, data, row, encoder, report.text, versus=other.text)
        yield report, data.labels(row).numpy() > 0, others, found


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice."""
    counts = confusion(torch.from_numpy(mask).long(), torch.from_numpy(truth).long(), 2, IGNORE)
    return float(dice(counts)[0])


def figures_of(found: Explanation, truth: np.ndarray) -> np.ndarray:
    """Of each word: mean changes inside and outside, mean effect inside, area flipped, and its selectivity.

    Logits move more on what the head can mark than between it, whatever changes in the text. Selectivity takes that
    out: the word's ratio of inside to outside over that of the text's median word.
    """
    sizes, odds = np.abs(found.effects), _odds(found.probability)
    inside, outside = sizes[:, truth].mean(1), sizes[:, ~truth].mean(1)
    flipped = ((odds > 0) != (odds - found.effects > 0)).sum((1, 2)) / max(found.mask.sum(), 1)
    ratios = inside / outside
    effect = found.effects[:, truth].mean(1)
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
    flips, places_in_rank = [], []
    for report, truth, others, found in explanations(given.demo):
        of_words, figures = roles(report), figures_of(found, truth)
        for role in ROLES:
            of_role = figures[[one == role for one in of_words]]
            of_roles[role].append([len(of_role), *of_role.sum(0)])
        places_in_rank.append(float(of_words[found.ranked()[0].place].startswith("target")))
        if found.versus is None:
            raise AssertionError("asked for")
        flips.append([overlap(found.mask, truth), overlap(found.versus.mask, others), overlap(found.mask, others)])
    names = ("inside", "outside", "inside / outside", "effect inside", "area flipped / mask", "selectivity")
    print(f"{'words':<13} {'n':>4}  " + "  ".join(name.ljust(24) for name in names))
    for role in ROLES:
        print_role(role, np.array(of_roles[role]))
    print("\n".join(f"  {role}: {told}" for role, told in ROLES.items()))
    values = np.column_stack([flips, places_in_rank])
    intervals = mean_intervals(values, [str(place) for place in range(len(values))])
    names = ("own report, own mask", "other report, other mask", "own report, other mask", "first word names target")
    for name, value, interval in zip(names, values.mean(0), intervals, strict=True):
        print(f"{name:<26} {shown(float(value), interval)}")


if __name__ == "__main__":
    main()
