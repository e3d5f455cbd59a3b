"""Peak memory and time of `predict` on tiled slides of one width and growing height: masks, outlines and labels.

    python benchmarks/speed/slides.py [--width 20000] [--heights 5000,10000,20000] [--tile 1024] [--out DIR] [--json]

The slide is a pyramid of one level: JPEG tiles of round nuclei on pink, drawn once and repeated. Models are so small
that what is measured is what surrounds them: reading, blending, and writing PNG, GeoJSON and OME-Zarr. Each height runs
in a process of its own. Bounded means that the peak does not follow the height.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tifffile
from jaxtyping import UInt8
from peak_memory import Phase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "torture"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from plausibility import not_positive, refuse, unequal
from small_models import extraction_of, write_small

from textdiff import extract_features, predict, train_head
from textdiff.components import read_mask

FORMATS = ("png", "geojson", "ome-zarr")
_JPEG_TILE = 512


def write_slide(path: Path, height: int, width: int) -> None:
    """A slide of JPEG tiles, of which one is in memory."""
    one = _nuclei()
    n_tiles = -(-height // _JPEG_TILE) * -(-width // _JPEG_TILE)
    tiles: Iterator[UInt8[np.ndarray, "y x 3"]] = (one for _ in range(n_tiles))
    options = {"tile": (_JPEG_TILE, _JPEG_TILE), "compression": "jpeg", "photometric": "rgb", "bigtiff": True}
    tifffile.imwrite(path, tiles, shape=(height, width, 3), dtype=np.uint8, metadata=None, **options)


def _nuclei() -> UInt8[np.ndarray, "tile tile 3"]:
    rng = np.random.default_rng(0)
    tile = np.full((_JPEG_TILE, _JPEG_TILE, 3), (235, 190, 215), np.uint8)
    y, x = np.mgrid[:_JPEG_TILE, :_JPEG_TILE]
    for _ in range(40):
        top, left = rng.integers(20, _JPEG_TILE - 20, 2)
        radius = rng.integers(8, 30)
        tile[(y - top) ** 2 + (x - left) ** 2 < radius**2] = (90, 50, 140)
    return tile


def make_run(out: Path, tile: int) -> Path:
    """A head trained on tiles of this side for a moment."""
    write_small(out, n_train=4, n_val=2, n_test=1, image_size=32)
    cache, run = out / "cache.zarr", out / "run"
    extract_features(replace(extraction_of(out, cache), tile=tile, tile_overlap=tile // 4))
    train_head(cache, run, head="pixel", epochs=5, text="none", device="cpu")
    return run


def measure(run: Path, slide: Path, out: Path) -> dict[str, float]:
    """Peak of anonymous memory and seconds of one `predict`, in this process."""
    with Phase() as phase:
        predict(run=run, images=slide, out=out, formats=FORMATS, device="cpu", offline=True)
    mask = read_mask(out / "slide.png")
    return {
        "peak_mib": phase.peak_bytes / 2**20,
        "seconds": phase.seconds,
        "mask_height": mask.shape[0],
        "mask_width": mask.shape[1],
        "foreground": float((mask > 0).mean()),
        "objects": (out / "slide.geojson").read_text(encoding="utf-8").count('"geometry"'),
        **{path.name: size_of(path) for path in sorted(out.iterdir())},
    }


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())


def implausible(about: dict[str, float]) -> Iterator[str]:
    """Problems: a mask of another size than the slide's, and formats that nothing was written in."""
    for side in ("height", "width"):
        yield from unequal(f"{side} of the slide and of its mask", about[side], about[f"mask_{side}"])
    written = [name for name in about if name.startswith("slide")]
    yield from unequal("formats that were written, and asked for", len(written), len(FORMATS))
    yield from not_positive({name: about[name] for name in ("peak_mib", "seconds", "foreground", "objects", *written)})


def main() -> None:
    """Print a line for each height."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=20_000)
    parser.add_argument("--heights", default="5000,10000,20000")
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--out", type=Path, help="where slides and masks lie; a temporary folder else")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs=3, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure(*args.only)))
        return
    with tempfile.TemporaryDirectory(dir=args.out) as temporary:
        root = Path(temporary)
        run = make_run(root, args.tile)
        for height in map(int, args.heights.split(",")):
            slide, out = root / "slide.tif", root / f"out-{height}"
            write_slide(slide, height, args.width)
            command = [sys.executable, __file__, "--only", str(run), str(slide), str(out)]
            result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            about = {"height": height, "width": args.width, **result}
            print(
                json.dumps(about) if args.json else "  ".join(f"{name} {value:,.4g}" for name, value in about.items())
            )
            refuse(implausible(about))


if __name__ == "__main__":
    main()
