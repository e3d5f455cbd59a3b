"""Settings of `train-head`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from ...cache.storage.location import Location
from .validation import CommandConfig, Count, Distinct, TrainingPrecision, between, multiple_of

TextMode = Literal["true", "none", "shuffled"]
"""Text that a head is shown of each sample."""
TextSetting = Literal["auto", "true", "none", "shuffled"]
"""The same, or `auto`: the training chooses between `true` and `none`."""
HeadKind = Literal["auto", "pixel", "context", "paper"]
LogKind = Literal["tensorboard", "mlflow"]
UNET, FILTERS_SOURCE = "unet", "filters"
"""Names in `--sources` of what is no encoder."""


@dataclass(frozen=True)
class HeadSettings:
    """Settings of `train-head` whose defaults are each head's own."""

    epochs: int
    images_per_step: int
    learning_rate: float
    weight_decay: float
    width: int
    text_dropout: float


HEAD_DEFAULTS: Mapping[HeadKind, HeadSettings] = {
    # Strong weight decay, lest the head learn images by heart in place of their texts.
    "pixel": HeadSettings(
        epochs=40, images_per_step=8, learning_rate=2e-3, weight_decay=2.0, width=128, text_dropout=0.1
    ),
    "context": HeadSettings(
        epochs=40, images_per_step=8, learning_rate=2e-3, weight_decay=0.05, width=48, text_dropout=0.1
    ),
    # The paper's: Adam is AdamW without weight decay.
    "paper": HeadSettings(
        epochs=50, images_per_step=1, learning_rate=1e-4, weight_decay=0.0, width=768, text_dropout=0.0
    ),
}


AUTO_HEADS: tuple[HeadKind, ...] = ("pixel", "context")
"""The heads of which `auto` keeps the better, quickest first."""


@dataclass(frozen=True)
class TrainConfig(CommandConfig):
    """Settings of `train-head`."""

    cache: Location
    """The feature cache to learn from: a folder, or a URL (s3://BUCKET/CACHE)."""
    run: Path
    """The folder for the trained head; must not hold another run."""
    head: HeadKind = "auto"
    """The head's architecture: `pixel`, a light pixel classifier that learns from sampled pixels in seconds; `context`,
    U-Net-like, which learns from crops in minutes and is the most accurate where neighbours tell more than texts;
    `paper`, TextDiff's own, which learns from whole images and is by far the slowest; `auto`, the one of `pixel` and
    `context` that is better on the samples that choose the epoch: both are trained."""
    minutes: Annotated[float, between(0.1, 1e5)] | None = None
    """With `--head auto`: about how long to train in all. Epochs of a head that does not fit are cut; one that
    would learn next to nothing is left out. `None`: however long it takes."""
    ensemble: Count = 1
    """Members of an ensemble of `pixel` or `context` heads, trained at once; their mean probabilities are better than
    one head's, and their disagreement shows where not to trust them (`predict --uncertainty`). Members differ in their
    initial weights; `pixel` members also in the half of the sampled pixels that each learns from."""
    timesteps: Distinct | None = None
    """Cached timesteps to use; `None`: all of them."""
    blocks: Distinct | None = None
    """Cached blocks to use; `None`: all of them."""
    sources: tuple[str, ...] | None = None
    """Frozen models whose features to use: `unet`, names of encoders (all their cached layers) or of single layers
    (`NAME/2`); `filters` alone: nothing but the filter bank. `None`: all that are cached."""
    filters: bool = True
    """Use the hand-crafted filter bank (each image's colours, edges and textures) beside the models' activations, where
    the cache has it (`extract-features --filters`); `paper` never does."""
    position: bool = True
    """Positional encoding: `pixel` and `context` heads know where in the image a pixel lies, which texts that name
    sides need. Leave it out (`--no-position`) where images have no upright position, as in histology: few of them are
    learnt by heart otherwise."""
    text: TextSetting = "auto"
    """Each sample's own text (`true`), no text at all (`none`), or another sample's text (`shuffled`, a control).
    `auto`: `true` if the samples that choose the epoch show that it helps, which takes 6 groups at least, else `none`;
    the summary and the report say why."""
    n_labelled: Count | None = None
    """Number of labelled groups to train on, drawn with the seed; `None`: all. One of each stratum comes first; strata
    are those of the manifest's column `stratum`, else the groups' sets of classes, or quarters by foreground share."""
    val_fraction: Annotated[float, between(0.01, 0.9)] = 0.2
    """Share of the training groups, and of each stratum, held out to choose the epoch, where the cache has no
    validation split."""
    hold_out: bool = False
    """Choose the epoch on held-out training groups even where a validation split exists, so that it stays unseen."""
    seed: int = 0
    """Seed of initial weights, sampled pixels, text dropout and every draw of samples."""
    epochs: Count | None = None
    """Passes over the training images; an epoch of `pixel` and `context` makes several where the images are few.
    `None`: 40, and 50 for `paper`."""
    images_per_step: Count | None = None
    """Images in one optimiser step. `None`: 8, and 1 for `paper`."""
    pixels_per_image: Count = 512
    """Pixels that `pixel` samples from each image in one step; `context` takes a crop of a quarter of the image's side,
    64 pixels at least, and `paper` all of it."""
    learning_rate: Annotated[float, between(1e-8, 1.0)] | None = None
    """Peak learning rate of AdamW, which rises to it and falls to zero along a cosine; `paper` keeps it.
    `None`: 0.002, and 0.0001 for `paper`."""
    weight_decay: Annotated[float, between(0.0, 100.0)] | None = None
    """AdamW's decoupled weight decay. `None`: 2 for `pixel`, 0.05 for `context`, 0 for `paper`."""
    width: Count | None = None
    """Channels of the head. `None`: 128 for `pixel`, 48 for `context`, 768 for `paper`."""
    n_attention_heads: int = 8
    """Attention heads of the cross-attention to the text."""
    text_dropout: Annotated[float, between(0.0, 1.0)] | None = None
    """Probability of training on an image without its text, so that prediction without text works.
    `None`: 0.1, and 0 for `paper`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    precision: TrainingPrecision = "auto"
    """Arithmetic of the head in training; `auto`: that of the run which is resumed; of a new one bfloat16 where the
    device computes it natively, float32 elsewhere."""
    resume: bool = False
    """Continue a training that did not finish."""
    log: LogKind | None = None
    """Log of epochs beside `metrics.jsonl`, each an extra of that name: `tensorboard`, in RUN/tensorboard; `mlflow`, a
    run of MLflow with the settings, the result and the report, where MLFLOW_TRACKING_URI says, else in files here."""

    @property
    def uses_filters(self) -> bool | None:
        """Whether the head uses the filter bank; `None`: where the cache has it."""
        return None if self.filters and self.head != "paper" else False

    @property
    def settings(self) -> HeadSettings:
        """The given settings, over the defaults of the head; `auto` has none."""
        return self._settings_of(self.head)

    def _settings_of(self, head: HeadKind) -> HeadSettings:
        defaults = asdict(HEAD_DEFAULTS[head])
        given = {name: getattr(self, name) for name in defaults}
        return HeadSettings(**defaults | {name: value for name, value in given.items() if value is not None})

    def contradictions(self) -> Iterator[str | None]:
        """An ensemble of heads that are trained alone, and a width that attention heads cannot share."""
        if self.head != "auto" and self.minutes is not None:
            yield f"--minutes got {self.minutes} and --head {self.head}; give --minutes with --head auto alone"
        if self.sources is not None:
            yield from self._sources_amiss(self.sources)
        if self.head == "paper" and self.ensemble > 1:
            yield (
                f"--ensemble got {self.ensemble}; --head paper is trained alone: leave --ensemble out, or take another "
                "head"
            )
        for head in AUTO_HEADS if self.head == "auto" else {self.head} & HEAD_DEFAULTS.keys():
            width = self._settings_of(head).width
            yield multiple_of(self.n_attention_heads, "--n-attention-heads").problem("width", width)

    def _sources_amiss(self, sources: tuple[str, ...]) -> Iterator[str]:
        """Sources that are empty or named twice, and settings of those that are left out."""
        if not sources or not all(sources) or len(set(sources)) < len(sources):
            yield f"--sources got {','.join(sources) or 'nothing'}; expected names, each once"
        if FILTERS_SOURCE in sources and self.uses_filters is False:
            yield f"--sources names {FILTERS_SOURCE}, which --no-filters and --head paper leave out; give one of them"
        for name in ("blocks", "timesteps"):
            if UNET not in sources and getattr(self, name) is not None:
                yield f"--{name} was given, and --sources leaves the UNet out; add {UNET} to it, or leave --{name} out"
