"""Time and memory until a slide without smaller copies can be looked at in `label`.

    python benchmarks/speed/label_slides.py [--side 20000] [--out DIR] [--json]

The slide is a TIFF of JPEG tiles (see slides.py), of which no part was read before. In a process of its own, four
threads ask for tiles, as the server does:

    first    all tiles of the level at which the image fills a screen, until the last one is there; they are blurred
    native   a screen of native tiles in the middle, right after
    sharp    until every part of the file was read, and the coarse tiles are exact
    label    a screen of label tiles of that level, with a stroke across the slide
    peak     anonymous memory, less that of the process before (its libraries)

The error of a tile is the mean difference of its grey levels from the exact ones.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from peak_memory import Phase, status_bytes
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, refuse, unequal
from slides import write_slide

from textdiff.pipeline.labelling.data_set.images import ImageEntry
from textdiff.pipeline.labelling.pictures.pictures import Pictures
from textdiff.pipeline.labelling.strokes.events import Stroke
from textdiff.pipeline.labelling.strokes.raster import LabelRaster
from textdiff.pipeline.labelling.strokes.shapes import Mark
from textdiff.pipeline.labelling.strokes.tiles import TILE, Key, level_size, n_levels_of

THREADS, SCREEN = 4, 1600


def measure(slide: Path, side: int) -> dict[str, float]:
    """Seconds and MiB, in this process."""
    size = (side, side)
    level = next(n for n in range(n_levels_of(size)) if max(level_size(size, n)) <= SCREEN)
    coarse = keys(level, 0, -(-level_size(size, level)[0] // TILE))
    native = keys(0, side // TILE // 2, SCREEN // TILE)
    before = status_bytes("RssAnon")
    with Phase() as phase, ThreadPoolExecutor(THREADS) as pool:
        start = time.perf_counter()
        pictures = Pictures([ImageEntry("slide", "slide", "train", slide, size, "", None)])

        def look(at: list[Key]) -> tuple[list[bytes], float]:
            began = time.perf_counter()
            return [*pool.map(lambda key: pictures.tile(0, key), at)], time.perf_counter() - began

        blurred, first_s = look(coarse)
        _, native_s = look(native)
        pictures.thumbnail(0)
        sharp_s = time.perf_counter() - start
        exact, _ = look(coarse)
        label_s = look_at_labels(size, coarse)
    return {
        "first_s": first_s,
        "native_s": native_s,
        "sharp_s": sharp_s,
        "label_s": label_s,
        "peak_mib": (phase.peak_bytes - before) / 2**20,
        "blurred_error": float(np.mean([*map(difference, blurred, exact)])),
        "n_tiles": len(exact),
    }


def keys(level: int, first: int, n: int) -> list[Key]:
    """A square of tiles."""
    return [(level, first + column, first + row) for row in range(n) for column in range(n)]


def look_at_labels(size: tuple[int, int], at: list[Key]) -> float:
    """Seconds for the label tiles of a screen."""
    raster, start = LabelRaster(size), time.perf_counter()
    corners = ((0.0, 0.0), (float(size[1]), float(size[0])))
    raster.push(Mark.of(Stroke(key="a", image="slide", tool="brush", label=1, size=100.0, points=corners)))
    tiles = [raster.tile(*key) for key in at]
    assert sum(int((tile == 1).sum()) for tile in tiles if tile is not None)
    return time.perf_counter() - start


def difference(one: bytes, other: bytes) -> float:
    """Mean difference of two pictures' grey levels."""
    pixels = [np.asarray(Image.open(io.BytesIO(content)).convert("L")).astype(float) for content in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


def implausible(side: int, about: dict[str, float]) -> Iterator[str]:
    """Problems: no time for something, an order of times that cannot be, more or fewer tiles than a screen has."""
    yield from not_positive({name: about[name] for name in ("first_s", "native_s", "label_s", "peak_mib")})
    if about["sharp_s"] < about["first_s"]:
        yield f"sharp after {about['sharp_s']} s, before it was first seen"
    level = next(n for n in range(n_levels_of((side, side))) if side / 2**n <= SCREEN)
    yield from unequal("tiles of a screen", about["n_tiles"], (-(-side // (TILE << level))) ** 2)


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=20_000, help="height and width of the slide in pixels")
    parser.add_argument("--out", type=Path, help="where the slide lies; a temporary folder else")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(args.only, args.side)))
        return
    with tempfile.TemporaryDirectory(dir=args.out) as temporary:
        slide = Path(temporary) / "slide.tif"
        write_slide(slide, args.side, args.side)
        command = [sys.executable, __file__, "--only", str(slide), "--side", str(args.side)]
        about = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(json.dumps(about) if args.json else "  ".join(f"{name} {value:,.3g}" for name, value in about.items()))
    refuse(implausible(args.side, about))


if __name__ == "__main__":
    main()
