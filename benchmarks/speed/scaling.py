"""What the tables of a very large cache cost, measured on made-up ones with the real code; and one image's files.

    python benchmarks/speed/scaling.py [--images 100000] [--batch-size 8] [--parts 64] [--json]

The tables are those of `--preset qata` (4 blocks, 3 timesteps, filters), without the arrays: planning, a part's share,
the journal, the manifest, the sample table, opening for reading. Then, for images of 256 pixels, the milliseconds of
one core that each takes beside the model: to check and digest its files, to filter it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from textdiff.cache.building.derived import divide_among_parts, wanted_shards
from textdiff.cache.building.journal import read_journal, record_unit, write_plan
from textdiff.cache.building.plan import PendingUnit, WorkPlan, plan_work, read_state
from textdiff.cache.building.shared_plan import SharedPlan, missing_units, units_left, write_shared_plan
from textdiff.cache.format.digests import features_digest, labels_digest, texts_digest
from textdiff.cache.format.manifest import LightShard, Manifest, RowKey, Unit, write_manifest
from textdiff.cache.format.samples import TABLE, SampleRow, SampleTable, write_table
from textdiff.cache.format.shard import ShardRecord
from textdiff.cache.format.spec import FeatureSpec, TextSpec
from textdiff.cache.reader import FeatureReader
from textdiff.cache.storage.locks import Share
from textdiff.pipeline.data.inspection import inspect_entries
from textdiff.pipeline.data.layouts import Entry
from textdiff.pipeline.images.filter_bank import image_filters

SHAPES = {4: (16, 16, 1024), 6: (32, 32, 512), 8: (64, 64, 512), 12: (128, 128, 256)}
"""Of QaTa's blocks in the paper's UNet at 256 pixels, channels last."""
TIMESTEPS = (50, 150, 250)
SAMPLED = 24
"""Images whose files are written and read."""
CLASSES = {"classes": {"0": "background", "1": "foreground"}, "ignore": None}

Result = TypeVar("Result")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--batch-size", type=int, default=8, help="images in one unit and one shard")
    parser.add_argument("--parts", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure_tables(Path(folder), args.images, args.batch_size, args.parts) | measure_images(Path(folder))
    print(json.dumps(found) if args.json else "\n".join(f"{name:32} {value}" for name, value in found.items()))


class Clock:
    """Seconds of the processor, by names."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def of(self, name: str, work: Callable[[], Result]) -> Result:
        """Do it, and keep how long it took."""
        started = time.process_time()
        result = work()
        self.found[f"{name}_s"] = round(time.process_time() - started, 2)
        return result


def measure_tables(root: Path, n_images: int, batch_size: int, n_parts: int) -> dict[str, Any]:
    """Everything that grows with the number of images and is done by one process."""
    clock, spec, samples = Clock(), spec_of(batch_size), make_samples(n_images)
    keys = [RowKey(sample.id, sample.image_digest) for sample in samples]

    def plan_from(state: Manifest | None) -> WorkPlan:
        return plan_work(state, spec, keys, SHAPES, TIMESTEPS, filters=True)

    plan = clock.of("plan", lambda: plan_from(None))
    shared = SharedPlan({}, plan.pending)
    clock.of("write_plan", lambda: (write_plan(root, plan.manifest), write_shared_plan(root, shared)))
    wanted = wanted_shards(spec, samples, CLASSES, filters=True)
    derived = clock.of("share_of_derived", lambda: divide_among_parts(wanted, set(), n_parts))
    units = [unit_of(pending) for pending in plan.pending]
    started = time.monotonic()
    for unit in units[:1000]:
        record_unit(root, unit)
    clock.found["record_a_unit_ms_wall"] = round(time.monotonic() - started, 3)
    for unit in units[1000:]:
        record_unit(root, unit)
    clock.of("read_journal", lambda: read_journal(root))
    clock.of("units_left", lambda: units_left(root))
    state = clock.of("read_state", lambda: read_state(root, resume=True))
    assert state is not None
    resumed = clock.of("plan_of_a_part", lambda: plan_from(state))
    clock.of("missing_units", lambda: missing_units(shared.of(Share(0, n_parts)), resumed.manifest.units))
    light = tuple(
        LightShard(ShardRecord(one.path, 10**7, "0" * 8), one.made_from) for share in derived for one in share
    )
    publish(root, replace(resumed.manifest, light_shards=light), samples, clock)
    reader = clock.of("open_for_reading", lambda: FeatureReader(root))
    clock.of("digests", lambda: features_digest(reader.manifest, reader.samples))
    return {
        "images": n_images,
        "units": len(units),
        "shards": sum(1 for _ in reader.manifest.shards()),
        "terabytes_of_features": round(sum(2 * np.prod(shape) for shape in SHAPES.values()) * 3 * n_images / 1e12, 3),
        "terabytes_of_filters": round(256 * 256 * 120 * n_images / 1e12, 3),
        "manifest_mb": round((root / "manifest.json").stat().st_size / 1e6, 1),
        "samples_mb": round((root / TABLE).stat().st_size / 1e6, 1),
        **clock.found,
    }


def publish(root: Path, manifest: Manifest, samples: tuple[SampleRow, ...], clock: Clock) -> None:
    """What publishing writes of tables."""
    table = SampleTable(str(root), tuple(f"text {n}" for n in range(len(samples) // 10)), samples)
    clock.of("write_table", lambda: write_table(root, table))
    spec = TextSpec("hf:x", "0" * 64, 768, 64, truncated=False)
    digests = clock.of(
        "digests_to_publish",
        lambda: {
            "features": features_digest(manifest, samples),
            "labels": labels_digest(CLASSES, samples),
            "texts": texts_digest(spec, table.texts),
            "samples": hashlib.sha256((root / TABLE).read_bytes()).hexdigest(),
        },
    )
    whole = replace(manifest, texts=spec, classes=CLASSES, digests=digests, complete=True)
    clock.of("write_manifest", lambda: write_manifest(root, whole))


def spec_of(batch_size: int) -> FeatureSpec:
    """Of the paper's settings for QaTa."""
    return FeatureSpec(
        unet="guided-diffusion:256x256_diffusion_uncond.pt", unet_digest="0" * 64, prediction_type="epsilon",
        noise="shared", noise_draws=1, seed=40, image_size=256, window=None, dtype="float16",
        rows_per_shard=batch_size, precision="bfloat16",
    )  # fmt: skip


def make_samples(n_images: int) -> tuple[SampleRow, ...]:
    """Samples with names and digests as long as real ones."""
    names = [f"sub-S{n:05}_ses-E00001_run-1_bp-chest_vp-ap_dx" for n in range(n_images)]
    return tuple(
        SampleRow(
            id=name, parent=name, group=f"sub-S{n:05}", split="train", row=n, text=n // 10, size=(224, 224),
            image=f"Train_Folder/img/{name}.png", image_digest=f"{n:064}",
            mask=f"Train_Folder/labelcol/mask_{name}.png", mask_digest=f"{n:064}",
        )
        for n, name in enumerate(names)
    )  # fmt: skip


def unit_of(pending: PendingUnit) -> Unit:
    """A finished unit, its shards by name alone."""
    group = pending.rows[0] // len(pending.rows)
    pairs = [(block, timestep) for block in pending.blocks for timestep in pending.timesteps]
    shards = tuple(ShardRecord(f"features/{b}/{t}/c/{group}/0/0/0", 10**7, f"{group:08x}") for b, t in pairs)
    conditions = {"device": "NVIDIA H200", "threads": 8, "compiled": False, "torch": "2.9.0", "diffusers": "0.35.0"}
    return Unit(pending.rows, pending.timesteps, pending.blocks, conditions, shards)


def measure_images(folder: Path) -> dict[str, float]:
    """One core's milliseconds for an image beside the model."""
    rng, entries = np.random.default_rng(0), []
    for n in range(SAMPLED):
        image, mask = folder / f"{n}.png", folder / f"{n}_mask.png"
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((256, 256)).save(image)
        Image.fromarray(rng.integers(0, 2, (8, 8), dtype=np.uint8) * 255).resize((256, 256), 0).save(mask)
        entries.append(Entry(id=str(n), group=str(n), split="train", image=image, mask=mask, text="", where=""))
    clock = Clock()
    clock.of("check", lambda: inspect_entries(entries, None))
    pixels = np.asarray(Image.open(entries[0].image))
    clock.of("filter", lambda: [image_filters(pixels) for _ in range(SAMPLED)])
    return {f"{name.removesuffix('_s')}_an_image_ms": round(s / SAMPLED * 1000, 1) for name, s in clock.found.items()}


if __name__ == "__main__":
    main()
