"""Settings of `predict` and `explain`, which load the frozen models of a run, and of `export-head`, which does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from .validation import CommandConfig, Rule, SomeText, ViewCount, repeated

MaskFormat = Literal["png", "nifti", "dicom-seg", "ome-zarr", "geojson", "coco"]
_DIFFERENT = Rule("different formats, at least one", lambda names: 0 < len({*names}) == len(names))


@dataclass(frozen=True, kw_only=True)
class ModelOverrides(CommandConfig):
    """Where the frozen models of a run are, and where they run."""

    unet: str | None = None
    """The run's UNet at another place than the run says; checked by its digest."""
    unet_config: Path | None = None
    """JSON with guided-diffusion's flags, if that UNet is a `guided-diffusion:` checkpoint that needs them."""
    encoder: tuple[str, ...] = repeated()
    """An image encoder of the run at another place than the run says; known by its digest."""
    text_encoder: str | None = None
    """The run's text encoder at another place than the run says; checked by its digest."""
    offline: bool = False
    """Load models from this machine alone; hub ids name models that were fetched before."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""


@dataclass(frozen=True)
class PredictConfig(ModelOverrides):
    """Settings of `predict`."""

    run: Path
    """A finished run."""
    images: Path
    """An image, a volume (NIfTI, DICOM of several frames, OME-Zarr with z), or a folder of these; the DICOM files of a
    series in a folder are one volume. One level or plane by name: FILE#level=1,z=12,c=0 (docs/data.md)."""
    out: Path
    """The folder for the masks, named after the images and at their own size."""
    formats: Annotated[tuple[MaskFormat, ...], _DIFFERENT] | None = None
    """`png` (NAME.png), `nifti` (NAME.nii.gz, with the image's affine), `dicom-seg` (NAME_seg.dcm), `ome-zarr`
    (NAME.ome.zarr, as labels), `geojson` (NAME.geojson for QuPath), `coco` (NAME_coco.json, run lengths of each
    object), or several of them; by default NIfTI of NIfTI files and of DICOM volumes that say where they lie, OME-Zarr
    of OME-Zarr images with z, and PNG of everything else."""
    objects: bool = False
    """Also split the masks into objects: NAME_objects.tif, a label image, and NAME_objects.csv, with class, area,
    centroid and mean probability of each; GeoJSON then has objects in place of connected areas."""
    text: str | None = None
    """One text for all images and all slices of volumes."""
    texts: Path | None = None
    """A table (CSV or XLSX) with the columns Image and Description: a text for each image
    or volume, which holds for all its slices."""
    probabilities: bool = False
    """Also write NAME.npy: float16 [class, y, x]; of a volume one for each slice, as of --uncertainty."""
    uncertainty: bool = False
    """Also write NAME_uncertainty.png, 16 bits a pixel, from black (certain) to white (most uncertain). Of an
    ensemble it is the mutual information of prediction and head, of a single head the predictive entropy; in nats
    ln(classes) × (grey / 65535)²."""
    tta: ViewCount = 1
    """Number of flips and rotations of each image to average over, texts rewritten (test-time augmentation): 1, 2, 4 or
    8; the number that the cache was made with is the best."""

    def contradictions(self) -> Iterator[str]:
        """Texts that are given in two ways."""
        if self.text is not None and self.texts is not None:
            yield "--text and --texts were both given; give one of them"


@dataclass(frozen=True)
class ExplainConfig(ModelOverrides):
    """Settings of `explain`."""

    run: Path
    """A finished run, trained with texts."""
    image: Path
    """The image, of any kind that `predict` reads."""
    text: SomeText
    """The text whose words are to be explained."""
    versus: SomeText | None = None
    """Another text, whose mask is compared with the first's (counterfactual)."""
    target: str | None = None
    """Name of the class to explain; `None`: all but the background together."""
    mask: Path | None = None
    """The image's true mask, to compare the predicted ones with."""
    out: Path | None = None
    """A folder for the plot (`explanation.png`) and the figures (`explanation.json`); `None`: neither."""
    arrays: bool = False
    """Also write `effects.npz` there: effects float32 [word, y, x], attention float32 [name, word, y, x], and
    more."""

    def contradictions(self) -> Iterator[str]:
        """Arrays without a folder for them."""
        if self.arrays and self.out is None:
            yield "--arrays was given without --out; give a folder too"


@dataclass(frozen=True)
class ExportHeadConfig(CommandConfig):
    """Settings of `export-head`."""

    run: Path
    """A finished run with a `pixel` or `context` head."""
    out: Annotated[Path, Rule("a name that ends in .onnx", lambda path: path.suffix.lower() == ".onnx")]
    """The file; nothing may be there."""
    to: Literal["onnx"] = "onnx"
    """The format: one ONNX file for onnxruntime and other programs; its inputs are named as the arrays of a cache
    (docs/predictions.md)."""

    unfinished: ClassVar[str] = "nothing was written: repeat the command"
