"""Folder for a GPU machine that reaches no network: the sources, the wheels that it lacks, and images.

    python benchmarks/gpu/prepare.py OUT [--data DATA] [--present FILE] [--limit-mb 60] [--json]

There, `python benchmarks/gpu/run.py --minutes 12` in the folder needs nothing else than Python 3.12 and PyTorch with
what usually comes with it (present.txt; name another list with --present). Wheels are of the versions that are
installed here, where pip finds them. What finds no place in the limit, or is no wheel, is named. Repeated, the command
keeps what stands in the folder, and brings the sources up to date.

Images are of 512 pixels: about a dozen of DATA (a folder or manifest as `extract-features` reads it; all classes but
the background become one, and texts stay behind), or of the project's own phantom.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from wheels import ROOT, fetch, lacking, read_names

sys.path.insert(0, str(ROOT / "benchmarks" / "speed"))
SIDE = 512
COUNTS = {"train": 8, "val": 4}
MANIFEST = "manifest.csv"


def main() -> None:
    """Fill the folder, and print what it holds."""
    args = parse_arguments()
    copy_sources(args.out)
    if not (args.out / "data" / MANIFEST).exists():
        write_images(args.data, args.out / "data")
    of_wheels = 1e6 * args.limit_mb - size_of(args.out) + size_of(args.out / "wheels")
    wanted = lacking(read_names(args.present))
    left_out = fetch(wanted, args.out / "wheels", of_wheels)
    told = {
        "folder": str(args.out),
        "mb": {name: size_of(args.out / name) / 1e6 for name in ("wheels", "data", ".")},
        "wheels": sorted(path.name for path in (args.out / "wheels").iterdir()),
        "left_out": left_out,
    }
    print(json.dumps(told) if args.json else "\n".join(lines(told)))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder, new or begun before")
    parser.add_argument("--data", type=Path, help="where to take images from; the phantom, unless given")
    parser.add_argument("--present", type=Path, default=Path(__file__).with_name("present.txt"), metavar="FILE")
    parser.add_argument("--limit-mb", type=float, default=60.0, help="of the whole folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser.parse_args()


def copy_sources(out: Path) -> None:
    """Copy all files that git tracks or would."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, names):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, target)


def write_images(data: Path | None, folder: Path) -> None:
    """Images of 512 pixels with their masks, and a manifest, which is written last."""
    if data is None:
        from textdiff.components import write_phantom

        write_phantom(folder, n_train=COUNTS["train"], n_val=COUNTS["val"], n_test=1, image_size=SIDE)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy_samples(as_read(data, Path(scratch)), folder)


def as_read(data: Path, scratch: Path) -> Any:  # noqa: ANN401
    """Reader of a cache of the data, whose images and labels have the side; its features are of no use."""
    from diffusers import DDPMScheduler
    from random_unets import small_unet

    from textdiff import extract_features
    from textdiff.components import FeatureReader

    small_unet(SIDE, (32,) * 5).save_pretrained(scratch / "unet")
    DDPMScheduler().save_pretrained(scratch / "unet")
    extract_features(
            data, scratch / "cache", unet=f"diffusers:{scratch / 'unet'}", timesteps=(0,), blocks=(0,),
            image_size=SIDE, filters=False, texts=False, batch_size=1, precision="float32", device="cpu"
    )  # fmt: skip
    return FeatureReader(scratch / "cache")


def copy_samples(reader: Any, folder: Path) -> None:  # noqa: ANN401
    """The first labelled samples of each split."""
    folder.mkdir(parents=True)
    rows = ["id,image,mask,text,split"]
    for split, count in COUNTS.items():
        for place, sample in enumerate([one for one in reader.split(split) if one.mask is not None][:count]):
            name, labels = f"{split}{place}", reader.labels(sample.row)
            Image.fromarray(reader.image(sample.row)).save(folder / f"{name}.png", optimize=True)
            foreground = (labels > 0) & (labels != reader.table.ignore)
            Image.fromarray(foreground.astype("uint8") * 255).save(folder / f"{name}_mask.png")
            rows.append(f"{name},{name}.png,{name}_mask.png,,{split}")
    (folder / MANIFEST).write_text("\n".join(rows) + "\n", encoding="utf-8")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def lines(told: dict[str, Any]) -> list[str]:
    """The result for people."""
    sizes = told["mb"]
    return [
        f"{told['folder']}: {sizes['.']:.1f} MB, {sizes['wheels']:.1f} of {len(told['wheels'])} wheels, "
        f"{sizes['data']:.1f} of images",
        *(f"left out: {name} ({reason})" for name, reason in told["left_out"].items()),
        "there: python benchmarks/gpu/run.py --minutes 12",
    ]


if __name__ == "__main__":
    main()
