"""What `explain` can be told: as `config.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .validation import refuse


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
    """Also write `effects.npz` there: effects float32 [word, y, x], attention float32 [reading, word, y, x], and
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
