"""What `predict` can be told: as `config.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..views.symmetries import bad_view_count
from .validation import refuse


@dataclass(frozen=True)
class PredictConfig:
    """Settings of `predict`."""

    run: Path
    """A finished run."""
    images: Path
    """An image, or a folder of images."""
    out: Path
    """The folder for the masks, one NAME.png for each image, at the images' own size."""
    text: str | None = None
    """One text for all images."""
    texts: Path | None = None
    """A table (CSV or XLSX) with the columns Image and Description: a text for each image."""
    probabilities: bool = False
    """Also write NAME.npy: float16 [class, y, x]."""
    uncertainty: bool = False
    """Also write NAME_uncertainty.png, 16 bits a pixel: from black, certain, to white, as uncertain as can be. Of an
    ensemble it is the mutual information of prediction and head, of a single head the predictive entropy; in nats
    ln(classes) × (grey / 65535)²."""
    tta: int = 1
    """Average over this many flips and rotations of each image, texts rewritten: 1, 2, 4 or 8; as many as the cache
    was made with serve best."""
    unet: str | None = None
    """Where the same UNet is to be found, if not where the run says; checked by its digest."""
    unet_config: Path | None = None
    """JSON with guided-diffusion's flags, if that UNet is a `guided-diffusion:` checkpoint that needs them."""
    text_encoder: str | None = None
    """Where the same text encoder is to be found, if not where the run says; checked by its digest."""
    offline: bool = False
    """Load models from this machine alone: hub ids stand for what was fetched before."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: if texts are given in two ways, or `tta` is no number of views.
        """
        both = self.text is not None and self.texts is not None
        refuse(
            "--text and --texts were both given; give one of them" if both else None,
            bad_view_count("--tta", self.tta),
        )


@dataclass(frozen=True)
class ExplainConfig:
    """Settings of `explain`."""

    run: Path
    """A finished run, trained with texts."""
    image: Path
    """The image: whatever `predict` takes for one."""
    text: str
    """The text whose words are to be explained."""
    versus: str | None = None
    """Another text: what would the mask be then?"""
    target: str | None = None
    """The class that is asked about, by its name; `None`: all but the background together."""
    mask: Path | None = None
    """The image's true mask, to compare the predicted ones with."""
    out: Path | None = None
    """A folder for the picture (`explanation.png`) and the figures (`explanation.json`); `None`: neither."""
    arrays: bool = False
    """Also write `effects.npz` there: effects float32 [word, y, x], attention float32 [name, word, y, x], and
    more."""
    unet: str | None = None
    """Where the same UNet is to be found, if not where the run says; checked by its digest."""
    unet_config: Path | None = None
    """JSON with guided-diffusion's flags, if that UNet is a `guided-diffusion:` checkpoint that needs them."""
    text_encoder: str | None = None
    """Where the same text encoder is to be found, if not where the run says; checked by its digest."""
    offline: bool = False
    """Load models from this machine alone: hub ids stand for what was fetched before."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            ConfigError: with a line for each problem.
        """
        refuse(
            None if self.text.strip() else "--text got an empty text; give the one whose words are to be explained",
            "--versus got an empty text; give another one, or leave it out"
            if self.versus is not None and not self.versus.strip()
            else None,
            "--arrays was given without --out; give a folder too" if self.arrays and self.out is None else None,
        )
