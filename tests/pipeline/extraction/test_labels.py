"""Labels in a cache: how they are made, and what it costs when that changes."""

import numpy as np
import pytest

from textdiff.cache.building import derived, writer
from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.maintenance.verify import verify_cache


@pytest.fixture
def older_cache(extraction, monkeypatch):
    """A cache whose labels were made in another way."""
    with monkeypatch.context() as patch:
        for module in (derived, writer):
            patch.setattr(module, "LABELS_ARE", "nearest pixel")
        patch.setattr(
            "textdiff.pipeline.data.masks.lost_classes.resize_labels", lambda _, size: np.zeros(size, np.uint8)
        )
        extract_features(extraction)
    return extraction.cache


def test_another_way_of_making_labels_writes_them_anew_without_the_unet(extraction, older_cache):
    before = FeatureReader(older_cache)
    assert not before.labels(0).any()
    summary = extract_features(extraction)
    after = FeatureReader(older_cache)
    assert summary.n_forwards == 0
    assert after.labels(0).any()
    assert after.manifest.labels_are == derived.LABELS_ARE
    assert dict(before.manifest.digests.items() - after.manifest.digests.items()).keys() == {"labels"}
    assert verify_cache(older_cache).problems == ()
