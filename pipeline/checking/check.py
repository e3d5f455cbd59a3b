"""`check-data`: everything that a data set holds, and everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DataError
from ..config.data import IMAGE_SIZE, CheckConfig
from ..data.dataset import Sample, Scan, scan_files
from ..data.entries import own_group
from ..data.masks.lost_classes import LabelSize
from ..data.warnings import divide, read_silenced
from ..image_files.paths import format_of, split_place
from ..views.languages import language_of
from .result import DataReport

if TYPE_CHECKING:
    from .encoder import EncoderReport


def check(config: CheckConfig) -> DataReport:
    """Check data, and write the page on request; as `check_data`.

    Raises:
        SourceError: The text encoder cannot be loaded.
    """
    scan = scan_files(config.data, config.window, LabelSize(config.image_size))
    encoder = None
    if config.text_encoder:
        from .encoder import read_with_encoder  # with torch, which nothing else here needs

        text_of = {sample.id: sample.text for sample in scan.dataset.samples if sample.text}
        encoder = read_with_encoder(config.text_encoder, text_of)
        scan = _with_encoder(scan, encoder)
    report = _report(scan, encoder)
    if config.out:
        from .report import write_check_report

        report = replace(report, page=str(config.out))
        write_check_report(config, scan, report)
    return report


def check_data(
    data: Path,
    window: tuple[int, int] | None = None,
    image_size: int = IMAGE_SIZE,
    text_encoder: str | None = None,
) -> DataReport:
    """Look at everything in a data folder or manifest and report what is there and what is wrong.

    Args:
        data: a folder in LViT's layout, a manifest, or a folder that holds one.
        window: intensity window of images that need one (see `open_image`).
        image_size: side in pixels at which masks are to be learnt, for warnings of classes that are lost there.
        text_encoder: `kind:where` of the encoder that is to read the texts; `None`: texts are not tried on one.

    Raises:
        DataError: There is no data of a known layout at the path.
        SourceError: The text encoder cannot be loaded.
    """
    return check(CheckConfig(data, window, image_size, text_encoder))


def _with_encoder(scan: Scan, encoder: EncoderReport) -> Scan:
    """The scan with the encoder's warnings and problems."""
    try:
        silenced = read_silenced(scan.dataset.root)
    except DataError:  # a problem of the scan already
        silenced = {}
    shown, hidden = divide(encoder.warnings, silenced)
    dataset = replace(scan.dataset, warnings=(*scan.dataset.warnings, *shown))
    return replace(
        scan, dataset=dataset, problems=(*scan.problems, *encoder.problems), silenced=(*scan.silenced, *hidden)
    )


def _report(scan: Scan, encoder: EncoderReport | None) -> DataReport:
    samples, classes = scan.dataset.samples, scan.dataset.classes
    of_classes = [sum(counts) for counts in zip(*(one.n_pixels for one in samples if one.n_pixels), strict=True)]
    total = max(sum(height * width for height, width in (mask.size for mask in scan.masks)), 1)
    texts = {sample.text for sample in samples if sample.text}
    return DataReport(
        root=scan.dataset.root,
        splits=dict(Counter(sample.split for sample in samples)),
        n_groups=len({sample.group for sample in samples}),
        group_origins=_origins(samples),
        classes=classes,
        shares=tuple(n / total for n in of_classes) or (0.0,) * len(classes.ids),
        not_labelled=1 - sum(of_classes) / total if of_classes else 0.0,
        formats={
            "images": _formats(sample.image for sample in samples),
            "masks": _formats(sample.mask for sample in samples if sample.mask),
        },
        sizes=dict(sorted(Counter(sample.size for sample in samples).items())),
        n_texts=len(texts),
        languages=dict(Counter(language_of(text).name for text in sorted(texts)).most_common()),
        n_without_text=sum(not sample.text for sample in samples),
        n_without_mask=sum(sample.mask is None for sample in samples),
        strata=_strata(samples),
        weights=_range([sample.weight for sample in samples]),
        encoder=encoder,
        problems=scan.problems,
        warnings=tuple(map(str, scan.dataset.warnings)),
        silenced=scan.silenced,
    )


def _origins(samples: Sequence[Sample]) -> dict[str, int]:
    """How groups came about → how many came so."""
    of_group = {sample.group: _origin(sample) for sample in samples}
    return dict(Counter(of_group.values()).most_common())


def _origin(sample: Sample) -> str:
    file, place = split_place(sample.image)
    if sample.group == sample.id:
        return "of single samples, without a group"
    if place and Path(sample.group).name == file.name:
        return "of the slices of a file"
    is_own = sample.group == own_group(sample.image, file.parent, sample.id)
    return "of DICOM examinations" if is_own else "named by the data"


def _formats(paths: Iterable[Path]) -> dict[str, int]:
    return dict(Counter(format_of(path) or "unknown" for path in paths).most_common())


def _strata(samples: Sequence[Sample]) -> dict[str, int]:
    n_samples = Counter(sample.stratum for sample in samples)
    return dict(sorted(n_samples.items())) if any(n_samples) else {}


def _range(weights: Sequence[float]) -> tuple[float, float]:
    return min(weights, default=1.0), max(weights, default=1.0)
