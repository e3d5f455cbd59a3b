"""Digests of what a cache is made from: features, labels and texts apart. FORMAT.md says the same in Python."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .blocks import Pair, encoder_of, pair_order, pairs_in_order
from .manifest import Manifest
from .samples import SampleRow
from .spec import LOCATION_FIELDS, TextSpec, digest


def features_digest(manifest: Manifest, samples: Sequence[SampleRow], only: Collection[Pair] | None = None) -> str:
    """Digest of what the features are: everything but where the models were found.

    Args:
        manifest: of the cache.
        samples: whose features.
        only: these (block, timestep) pairs alone; `None`: all that are there for every one of the samples.
    """
    spec = {name: value for name, value in vars(manifest.features).items() if name not in LOCATION_FIELDS}
    rows = {sample.row for sample in samples}
    covering = (pair for pair, covered in manifest.coverage().items() if rows <= covered)
    pairs = pairs_in_order(pair for pair in covering if only is None or pair in only)
    of_pairs = sorted((one for one in manifest.projections if one.pair in pairs), key=lambda one: pair_order(one.pair))
    projections = [[*record.pair, record.digest] for record in of_pairs]
    used = {encoder_of(block) for block, _ in pairs}
    encoders = {name: [one.digest, one.input_side] for name, one in manifest.encoders.items() if name in used}
    return digest([spec, pairs, encoders, projections, sorted((sample.id, sample.image_digest) for sample in samples)])


def labels_digest(manifest: Manifest, samples: Sequence[SampleRow]) -> str:
    """Digest of what the labels are."""
    masks = sorted((sample.id, sample.mask_digest or "") for sample in samples)
    return digest([manifest.labels_are, dict(manifest.classes), masks])


def texts_digest(spec: TextSpec | None, texts: Sequence[str]) -> str:
    """Digest of what the tokens are: encoder and texts."""
    return digest([spec and [spec.encoder_digest, spec.truncated], list(texts)])
