"""A session of `textdiff label` in a process of its own, and its page in Chromium."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WEB = Path(__file__).resolve().parents[1] / "pipeline" / "labelling" / "web"
SIDE = 128
N_TRAIN, N_VAL, N_TEST = 8, 1, 1
LARGE = (3000, 4000)
"""Size of the last image."""
WAIT_MS = 60_000


@pytest.fixture(scope="session")
def label_data(tmp_path_factory) -> Path:
    """A small phantom with reports and without masks, and a large image of many of its tiles."""
    from textdiff.pipeline.demo.phantom import write_phantom

    folder = tmp_path_factory.mktemp("label") / "phantom"
    manifest = write_phantom(folder, n_train=N_TRAIN, n_val=N_VAL, n_test=N_TEST, image_size=SIDE)
    with manifest.open(newline="") as file:
        rows = [{**row, "mask": ""} for row in csv.DictReader(file)]
    tile = Image.open(folder / rows[0]["image"]).convert("RGB")
    Image.fromarray(np.tile(tile, (24, 32, 1))[: LARGE[0], : LARGE[1]]).save(folder / "large.png", compress_level=1)
    rows.append({**rows[0], "id": "large", "image": "large.png", "group": "large"})
    with manifest.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def label_cache(label_data, tiny_unet, tiny_encoder) -> Path:
    """Its features: of filters and of tiny models."""
    from textdiff.pipeline.config.extraction import ExtractConfig
    from textdiff.pipeline.extraction.extract import extract_features

    cache = label_data.parent / "cache"
    models = {"unet": f"diffusers:{tiny_unet}", "text_encoder": f"hf:{tiny_encoder}"}
    sizes = {"timesteps": (50,), "blocks": (1, 3), "image_size": 64}
    extract_features(ExtractConfig(data=label_data, cache=cache, device="cpu", **models, **sizes))
    return cache


@dataclass
class Labelling:
    """A running session."""

    process: subprocess.Popen
    context: object
    origin: str
    out: Path

    def page(self, image: int) -> Desk:
        """A new tab with an image."""
        return Desk(self, self.context.new_page(), image)

    def session(self) -> dict:
        """What the server says."""
        return self.context.request.get(f"{self.origin}/api/session").json()


@pytest.fixture(scope="session")
def labelling(label_data, label_cache, browser):
    """One session for all tests: each keeps to images of its own."""
    out = label_data.parent / "labels"
    command = [
        sys.executable,
        "-m",
        "textdiff",
        "label",
        str(label_cache),
        "--out",
        str(out),
        "--no-browser",
        "--port",
        "0",
    ]
    errors = (label_data.parent / "errors.txt").open("w+")
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, (label_data.parent / "errors.txt").read_text()
        context = browser.new_context(viewport={"width": 1200, "height": 800}, reduced_motion="reduce")
        page = context.new_page()
        page.goto(found[0])
        page.close()
        yield Labelling(process, context, found[0].partition("/?")[0], out)
        context.close()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
        errors.close()


@dataclass
class Desk:
    """A tab of the page, driven as a person would."""

    labelling: Labelling
    page: object
    image: int
    complaints: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self._said(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{self.labelling.origin}/#image-{self.image}")
        self.settle()

    def _said(self, kind: str, text: str) -> None:
        # Failed requests are some tests' subject, and are said by the browser itself.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.complaints.append(text)

    def settle(self) -> None:
        """Wait until the image is there and at rest."""
        self.page.wait_for_selector("body[data-ready]", timeout=WAIT_MS)
        self.page.wait_for_function(
            "() => document.getElementById('zoom-shown').textContent !== '' || !document.getElementById('lock').hidden"
        )
        self.page.wait_for_timeout(150)

    def reload(self) -> None:
        self.page.reload()
        self.settle()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the image is on the page, while the image is fitted."""
        box = self.page.locator("#stage").bounding_box()
        scale = min(box["width"], box["height"]) / SIDE
        left, top = box["x"] + (box["width"] - SIDE * scale) / 2, box["y"] + (box["height"] - SIDE * scale) / 2
        return left + x * scale, top + y * scale

    def stroke(self, *points: tuple[float, float]) -> None:
        """Draw a line with the mouse."""
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=4)
        self.page.mouse.up()

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(*self.place(x, y))

    def shown(self, canvas: str, x: float, y: float) -> list[int]:
        """Red, green, blue and opacity above a pixel of the image."""
        at = self.place(x, y)
        return self.page.evaluate(
            """([id, x, y]) => {
                const canvas = document.getElementById(id), box = canvas.getBoundingClientRect();
                const ratio = canvas.width / box.width;
                const at = [(x - box.left) * ratio, (y - box.top) * ratio];
                return [...canvas.getContext("2d").getImageData(...at, 1, 1).data];
            }""",
            [canvas, *at],
        )

    def wait_shown(self, canvas: str, x: float, y: float, shown: bool = True) -> None:
        """Wait until something, or nothing, is above a pixel of the image."""
        for _ in range(100):
            if (self.shown(canvas, x, y)[3] > 0) is shown:
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"#{canvas} at {x}, {y}: {self.shown(canvas, x, y)}")

    def wait_text(self, element: str, pattern: str, timeout_s: float = 10) -> str:
        """Wait until an element's text matches."""
        end, text = time.monotonic() + timeout_s, ""
        while time.monotonic() < end:
            text = self.page.locator(f"#{element}").text_content()
            if re.search(pattern, text):
                return text
            self.page.wait_for_timeout(50)
        raise AssertionError(f"#{element} says {text!r}, and {pattern} was expected")

    def wait_saved(self) -> None:
        self.wait_text("saving", "^Saved$")

    def facts(self) -> dict:
        """What the server says of the image."""
        return self.labelling.session()["images"][self.image]

    def wait_ready(self) -> None:
        """Wait until all images have features."""
        for _ in range(WAIT_MS // 250):
            if all(image["ready"] for image in self.labelling.session()["images"]):
                return
            self.page.wait_for_timeout(250)
        raise AssertionError(json.dumps(self.labelling.session()["cache"]))


@pytest.fixture
def open_desk(labelling):
    """Gives `open_desk(image)`: a tab with that image; in the end nobody may have complained or asked elsewhere."""
    desks = []

    def open_one(image: int) -> Desk:
        desks.append(labelling.page(image))
        return desks[-1]

    yield open_one
    for desk in desks:
        desk.page.unroute_all(behavior="ignoreErrors")
        desk.page.close()
    assert [text for desk in desks for text in desk.complaints] == []
    assert {
        url for desk in desks for url in desk.asked if not url.startswith((labelling.origin + "/", "blob:"))
    } == set()


@pytest.fixture(scope="session")
def axe(tmp_path_factory) -> str:
    """The source of axe-core."""
    if not (WEB / "node_modules" / "axe-core").is_dir() and shutil.which("npm") is None:
        pytest.skip("needs npm, for axe-core")
    folder = WEB
    if not (WEB / "node_modules" / "axe-core").is_dir():
        folder = tmp_path_factory.mktemp("axe")
        for name in ("package.json", "package-lock.json", ".npmrc"):
            shutil.copy(WEB / name, folder)
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=folder, check=True, capture_output=True, timeout=300
        )
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
