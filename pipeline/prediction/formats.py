"""Formats of masks: the table from a format's name to its writer, and which of them a volume gets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...errors import DataError
from ..config.prediction import MaskFormat, PredictConfig
from ..exchange import dicom_seg, nifti, ome_zarr
from ..exchange.object_files import GEOJSON, AreaOutlines, object_files
from ..exchange.outputs import OutputFormat, OutputTarget, OutputWriter
from ..image_files.volumes import Volume
from .arrays import PngMask, ProbabilityArray, UncertaintyMap

FORMATS: Mapping[MaskFormat, OutputFormat] = {
    "png": OutputFormat((".png",), PngMask),
    "nifti": OutputFormat((nifti.SUFFIX,), nifti.NiftiMask, per_slice=False, refusal=nifti.without_affine),
    "dicom-seg": OutputFormat(
        (dicom_seg.SUFFIX,), dicom_seg.DicomSegmentation, per_slice=False, refusal=dicom_seg.without_source
    ),
    "ome-zarr": OutputFormat(
        (ome_zarr.SUFFIX,), ome_zarr.NgffLabels, per_slice=False, refusal=ome_zarr.without_library
    ),
    "geojson": OutputFormat((GEOJSON,), AreaOutlines),
    "coco": object_files(coco=True),
}
"""`--formats` → how masks are written."""
_BESIDES = {
    "probabilities": OutputFormat((".npy",), ProbabilityArray),
    "uncertainty": OutputFormat(("_uncertainty.png",), UncertaintyMap),
}
"""Flag of its own → what is written besides masks."""


def formats_for(config: PredictConfig, volume: Volume) -> tuple[OutputFormat, ...]:
    """The formats that are asked for, or the volume's own: NIfTI for a scan that lies in a patient, else PNG."""
    chosen = config.formats or (_own_format(volume),)
    besides = (one for flag, one in _BESIDES.items() if getattr(config, flag))
    if not config.objects:
        return (*(FORMATS[name] for name in chosen), *besides)
    of_objects = object_files(table=True, geojson="geojson" in chosen, coco="coco" in chosen)
    return (*(FORMATS[name] for name in chosen if name not in ("geojson", "coco")), of_objects, *besides)


def _own_format(volume: Volume) -> MaskFormat:
    """NIfTI of whole NIfTI files and of DICOM slices that say where they lie, unevenly ones too, which it refuses.

    OME-Zarr of its own images with z.
    """
    if volume.kind == "OME-Zarr" and len(volume.slices) > 1:
        return "ome-zarr"
    lies_in_a_patient = volume.affine is not None or bool(volume.uneven)
    is_scan = volume.is_whole and (volume.kind == "NIfTI" or len(volume.slices) > 1)
    return "nifti" if lies_in_a_patient and is_scan else "png"


def refuse_unfit(config: PredictConfig, volumes: Sequence[Volume], sizes: Sequence[tuple[int, int]]) -> None:
    """Refuse formats that cannot hold masks of the images, of which each has a height and width.

    Raises:
        DataError: with a line for each of them.
    """
    problems = [
        problem
        for volume, size in zip(volumes, sizes, strict=True)
        for one in formats_for(config, volume)
        if (problem := one.refusal(volume) or one.size_refusal(volume, size)) is not None
    ]
    if problems:
        raise DataError("these masks cannot be written in that format:", problems)


def files_for(config: PredictConfig, volume: Volume) -> list[Path]:
    """Every file that may be written for a volume."""
    return [path for one in formats_for(config, volume) for path in _files(config.out, volume, one)]


def masks_for(config: PredictConfig, volume: Volume) -> list[Path]:
    """The volume's masks in the first of its formats."""
    return _files(config.out, volume, formats_for(config, volume)[0])


def _files(folder: Path, volume: Volume, written: OutputFormat) -> list[Path]:
    slices = [volume.slice(index) for index in range(len(volume.slices))]
    targets = slices if written.per_slice else [volume]
    return [folder / f"{target.name}{suffix}" for target in targets for suffix in written.suffixes]


@contextmanager
def opened(formats: Sequence[OutputFormat], target: OutputTarget) -> Iterator[list[OutputWriter]]:
    """Writers that are finished when the block ends, or all discarded if anything fails."""
    writers: list[OutputWriter] = []
    try:
        writers += (one.open_writer(target) for one in formats)
        yield writers
        for writer in writers:
            writer.finish()
    except BaseException:
        for writer in writers:
            writer.discard()
        raise
