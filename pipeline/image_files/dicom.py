"""One frame of a DICOM file, in the units that a radiologist reads: Hounsfield for CT, whatever the file defines else.

The modality's rescaling is applied, its recommended window only passed on: which intensities become black and white is
the user's decision. Rows and columns are shown as they are stored, which is how the standard means them to be seen.
Only tags that describe pixels are read, so that nothing about the patient can reach a message.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Real

from .dicom_codecs import register
from .raster import NO_MEMORY, Raster, UnusableImageError, check_size

_GREY = {"MONOCHROME1", "MONOCHROME2"}
_COLOUR = {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_TAGS = (
    "Rows",
    "Columns",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "BitsStored",
    "PixelRepresentation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


def read_dicom(path: Path, index: int | None) -> Raster:
    """The frame `index` (from 0) of a DICOM file; `None` for the only one.

    Raises:
        UnusableImageError: There is no such frame, it is of a kind or compression that is not supported, the file is
            broken, or the extra that reads DICOM is not installed.
    """
    header = read_header(path, _TAGS)
    with silent_about_patients():
        frame = _frame_of(path.name, header, index)
        kind = _kind_of(header)
        pixels = _decode(path, frame)
        if kind in _COLOUR:
            return Raster(_as_8_bits(pixels), 8)
        scaled = _rescale(pixels, settings_of(header, frame, "PixelValueTransformationSequence"), header)
        window = _window(settings_of(header, frame, "FrameVOILUTSequence"))
    return Raster(scaled, int(header.BitsStored), white_is_zero=kind == "MONOCHROME1", suggested=window)


def read_header(path: Path, tags: Sequence[str] | None = None) -> Any:  # noqa: ANN401
    """The data set of a DICOM file without its pixels.

    Args:
        path: the file.
        tags: to be read; `None`: all.

    Raises:
        UnusableImageError: It is compressed in a way that is not supported, is broken, or the extra that reads DICOM is
            not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UnusableImageError("is a DICOM file; install textdiff[medical] to read it") from error
    with silent_about_patients():
        _refuse_unknown_compression(path)
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(tags) if tags else None)


@contextmanager
def silent_about_patients() -> Iterator[None]:
    """Only the kind of an unexpected error is named: its text may quote the file."""
    try:
        yield
    except UnusableImageError:
        raise
    except MemoryError:
        raise UnusableImageError(NO_MEMORY) from None
    except Exception as error:
        raise UnusableImageError(f"is truncated or broken ({type(error).__name__} while reading DICOM)") from None


def _frame_of(name: str, header: Any, index: int | None) -> int:  # noqa: ANN401
    if "Rows" not in header or "Columns" not in header:
        raise UnusableImageError("is a DICOM file without an image")
    check_size(header.Rows, header.Columns)
    n_frames = int(header.get("NumberOfFrames") or 1)
    if index is None and n_frames == 1:
        return 0
    if index is None or index >= n_frames:
        last = f" to {name}#{n_frames - 1}" if n_frames > 1 else ""
        raise UnusableImageError(f"holds {n_frames} frame{'s' * (n_frames > 1)}; name one of them: {name}#0{last}")
    return index


def _kind_of(header: Any) -> str:  # noqa: ANN401
    kind = str(header.get("PhotometricInterpretation", "no kind of"))
    if kind not in _GREY | _COLOUR:
        raise UnusableImageError(f"holds {kind} values; save it as MONOCHROME2 or RGB")
    return kind


def _decode(path: Path, frame: int) -> np.ndarray:
    """The frame's stored values, YBR turned into RGB; of a file of many frames only this one is read."""
    from pydicom.pixels import pixel_array

    return pixel_array(path, index=frame)


def _refuse_unknown_compression(path: Path) -> None:
    """From the first few tags alone: pydicom inflates a deflated file whole, to whatever size, to read any other."""
    from pydicom.filereader import read_file_meta_info
    from pydicom.pixels import get_decoder

    register()
    syntax = read_file_meta_info(path).TransferSyntaxUID
    try:
        known = not syntax.is_deflated and get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise UnusableImageError(
            f"is compressed as {syntax.name}, for which pydicom has no plugin here; install one "
            "(such as pylibjpeg-openjpeg for HTJ2K), or save it uncompressed"
        )


def _as_8_bits(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype != np.uint8:
        raise UnusableImageError(f"holds colours of {8 * pixels.dtype.itemsize} bits; save it with 8 bits a channel")
    return pixels


def settings_of(header: Any, frame: int, name: str) -> Any:  # noqa: ANN401
    """Data set of a frame's settings: in enhanced multi-frame files a group of the frame or of all, else the file."""
    per_frame, shared = header.get("PerFrameFunctionalGroupsSequence"), header.get("SharedFunctionalGroupsSequence")
    groups = [*([per_frame[frame]] if per_frame else []), *([shared[0]] if shared else [])]
    return next((group[name][0] for group in groups if name in group), header)


def _rescale(pixels: np.ndarray, group: Any, header: Any) -> Real[np.ndarray, "y x"]:  # noqa: ANN401
    """Stored values → physical ones; values stay integers where the file changes nothing."""
    from pydicom.pixels import apply_modality_lut

    if header.get("ModalityLUTSequence"):
        return apply_modality_lut(pixels, header).astype(np.int32)
    slope, intercept = _number(group.get("RescaleSlope"), 1), _number(group.get("RescaleIntercept"), 0)
    if slope == 0:
        raise UnusableImageError("scales all its values to one (RescaleSlope 0); correct its RescaleSlope")
    return pixels if (slope, intercept) == (1, 0) else pixels * slope + intercept


def _number(value: Any, absent: float) -> float:  # noqa: ANN401
    return absent if value in (None, "") else float(value)


def _window(group: Any) -> tuple[int, int] | None:  # noqa: ANN401
    """The file's own window; the first, where it offers several."""
    centre, width = (_first(group.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or width < 1:
        return None
    return round(centre - width / 2), round(centre + width / 2)


def _first(value: Any) -> float | None:  # noqa: ANN401
    if isinstance(value, Sequence):
        value = value[0] if len(value) else None
    return None if value is None else float(value)
