"""Time and memory until a slide without smaller copies can be looked at in `label`.

    python benchmarks/speed/label_slides.py [--side 20000] [--out DIR] [--json]

The slide is a TIFF of JPEG tiles (see slides.py). `textdiff label` serves a folder of it; four connections ask for
tiles, as a browser does, of a server that has read no part of it before:

    first    all tiles of the level at which the image fills a screen, until the last one is there; they are blurred
    native   a screen of native tiles in the middle, right after
    sharp    until every part of the file was read, and the coarse tiles are exact
    stroke   from a stroke across the slide to the label tiles of that screen
    peak     anonymous memory while this goes on, less that of the server before

The error of a blurred tile is the mean difference of its grey levels from the exact ones.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, refuse, unequal
from slides import write_slide

CONNECTIONS, SCREEN, TILE = 4, 1600, 256
SAMPLE_EVERY_S = 0.02


@contextmanager
def served(folder: Path) -> Iterator[tuple[httpx.Client, int]]:
    """A client that the server knows, and the server's process."""
    flags = ["--out", str(folder / "labels"), "--port", "0", "--no-browser", "--tile", "1024", "--offline"]
    command = [sys.executable, "-m", "textdiff", "label", str(folder), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        said = []
        for line in process.stdout or ():
            said.append(line)
            if link := re.search(r"(http://\S+)/\?token=\S+", line):
                break
        else:
            raise SystemExit("".join(said))
        drain = threading.Thread(target=lambda: [*(process.stdout or ())], daemon=True)
        drain.start()
        with httpx.Client(base_url=link[1], headers={"Origin": link[1]}, timeout=600) as client:
            client.get(link[0])
            yield client, process.pid
        process.send_signal(signal.SIGINT)
        drain.join()


class Memory(threading.Thread):
    """The peak of a process's anonymous memory, from the start on (Linux)."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._status, self._over = Path(f"/proc/{pid}/status"), threading.Event()
        self.before = self.peak = self._sample()
        self.start()

    def _sample(self) -> int:
        return int(re.search(r"RssAnon:\s+(\d+) kB", self._status.read_text())[1]) * 1024  # type: ignore[index]

    def run(self) -> None:
        """Look again and again."""
        while not self._over.wait(SAMPLE_EVERY_S):
            self.peak = max(self.peak, self._sample())

    def stop(self) -> float:
        """MiB beyond the start."""
        self._over.set()
        return (self.peak - self.before) / 2**20


def measure(client: httpx.Client, pid: int, side: int) -> dict[str, float]:
    """Seconds and MiB."""
    level = level_of(side)
    coarse = squares(level, 0, -(-side // (TILE << level)))
    native = squares(0, side // TILE // 2, SCREEN // TILE)
    memory, start = Memory(pid), time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:

        def look(kind: str, at: list[str]) -> tuple[list[bytes], float]:
            began = time.perf_counter()
            answers = [*pool.map(lambda tile: client.get(f"/api/images/0/{kind}/{tile}").raise_for_status(), at)]
            return [answer.content for answer in answers], time.perf_counter() - began

        blurred, first_s = look("picture", coarse)
        _, native_s = look("picture", native)
        client.get("/api/images/0/thumbnail").raise_for_status()
        sharp_s = time.perf_counter() - start
        exact, _ = look("picture", coarse)
        began = time.perf_counter()
        draw(client, [(0, 0), (side, side)])
        labels, _ = look("labels", coarse)
        stroke_s = time.perf_counter() - began
    return {
        "first_s": first_s,
        "native_s": native_s,
        "sharp_s": sharp_s,
        "stroke_s": stroke_s,
        "peak_mib": memory.stop(),
        "blurred_error": float(np.mean([*map(difference, blurred, exact)])),
        "n_tiles": len(exact),
        "n_labelled": sum(content.count(1) for content in labels),
    }


def level_of(side: int) -> int:
    """The first level at which the image is no larger than a screen."""
    return max(0, (-(-side // SCREEN) - 1).bit_length())


def squares(level: int, first: int, n: int) -> list[str]:
    """The addresses of a square of tiles."""
    return [f"{level}/{first + column}_{first + row}" for row in range(n) for column in range(n)]


def draw(client: httpx.Client, points: list[tuple[int, int]]) -> None:
    """A brush of 100 pixels."""
    stroke: dict[str, Any] = {"key": str(uuid.uuid4()), "image": 0, "tool": "brush", "class": 1, "size": 100}
    client.post("/api/strokes", json=stroke | {"points": points}).raise_for_status()


def difference(one: bytes, other: bytes) -> float:
    """Mean difference of two pictures' grey levels."""
    pixels = [np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(float) for content in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


def implausible(side: int, about: dict[str, float]) -> Iterator[str]:
    """Problems: no time for something, an order of times that cannot be, another number of tiles than a screen has."""
    yield from not_positive({name: about[name] for name in ("first_s", "native_s", "stroke_s", "peak_mib")})
    if about["sharp_s"] < about["first_s"]:
        yield f"sharp after {about['sharp_s']} s, before it was first seen"
    yield from unequal("tiles of a screen", about["n_tiles"], (-(-side // (TILE << level_of(side)))) ** 2)
    expected = side * 2**0.5 * 100 / 4 ** level_of(side)
    yield from unequal("labelled pixels of a screen", about["n_labelled"], expected, tolerance=0.5)


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="height and width of the slide in pixels")
    parser.add_argument("--out", type=Path, help="where the slide lies; a temporary folder else")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out) as temporary:
        write_slide(Path(temporary) / "slide.tif", args.side, args.side)
        with served(Path(temporary)) as (client, pid):
            about = measure(client, pid, args.side)
    print(json.dumps(about) if args.json else "  ".join(f"{name} {value:,.3g}" for name, value in about.items()))
    refuse(implausible(args.side, about))


if __name__ == "__main__":
    main()
