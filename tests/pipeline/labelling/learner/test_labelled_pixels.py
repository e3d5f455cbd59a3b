"""Held pixels: what comes, goes or changes its class, without reading anything twice; sums and ranks."""

import pytest
import torch

from textdiff.components import FeatureReader, open_head_data
from textdiff.pipeline.labelling.learner import labelled_pixels
from textdiff.pipeline.labelling.learner.labelled_pixels import LabelledPixels


@pytest.fixture
def data(tiny_cache):
    return open_head_data(FeatureReader(tiny_cache), blocks=None, timesteps=None, text="true", seed=0, device="cpu")


def empty(data):
    spec = data.head_spec(16, 2, position=False)
    return LabelledPixels(sum(spec.channels.values()), 2, 255, seed=0)


def labels_of(**where):
    labels = torch.full((16, 16), 255, dtype=torch.uint8)
    for name, part in where.items():
        labels[part] = int(name[1:])
    return labels


FIRST = {"c0": slice(0, 3), "c1": slice(8, 10)}
SECOND = {"c0": slice(0, 2), "c1": slice(2, 10)}


def test_pixels_are_those_of_labels_and_only_new_ones_are_read(data, monkeypatch):
    held, row, read = empty(data), data.reader.samples[0], []
    gather = type(data).gather
    monkeypatch.setattr(type(data), "gather", lambda self, *of: read.append(len(of[1])) or gather(self, *of))
    assert held.update(data, row, labels_of(**FIRST))
    assert not held.update(data, row, labels_of(**FIRST))
    assert held.update(data, row, labels_of(**SECOND))
    assert read == [5 * 16, 0, 5 * 16]  # rows 3 to 7 are new; row 2 changed its class
    found = held.rows[row.id]
    assert found.pixels.tolist() == list(range(160))
    assert found.labels.tolist() == [0] * 32 + [1] * 128
    expected = torch.cat([*gather(data, row, found.pixels).values()], -1)
    assert torch.equal(found.features, expected)


def test_sums_after_changes_are_those_of_the_last_labels(data):
    changed, fresh, row = empty(data), empty(data), data.reader.samples[0]
    for labels in (labels_of(**FIRST), None, labels_of(c1=slice(3, 5)), labels_of(**SECOND)):
        changed.update(data, row, labels)
    fresh.update(data, row, labels_of(**SECOND))
    for ours, theirs in zip(changed.moments.solve(10.0), fresh.moments.solve(10.0), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)
    changed.update(data, row, None)
    assert (changed.n_pixels, changed.n_images, changed.moments.n_classes_seen) == (0, 0, 0)


def test_of_many_pixels_the_same_are_held_whatever_the_order_of_strokes(data, monkeypatch):
    monkeypatch.setattr(labelled_pixels, "MOST_PIXELS", 20)
    monkeypatch.setattr(labelled_pixels, "FEWEST_PIXELS", 20)
    row, one, other = data.reader.samples[0], empty(data), empty(data)
    one.update(data, row, labels_of(**FIRST))
    one.update(data, row, labels_of(**SECOND))
    other.update(data, row, labels_of(**SECOND))
    assert torch.equal(one.rows[row.id].pixels, other.rows[row.id].pixels)
    assert one.rows[row.id].labels.bincount().tolist() == [20, 20]


def test_drawn_pixels_are_even_over_classes(data):
    held, row = empty(data), data.reader.samples[0]
    held.update(data, row, labels_of(c0=slice(0, 12), c1=slice(15, 16)))
    pixels = held.rows[row.id]
    drawn = pixels.labels[pixels.draw(2000, torch.Generator().manual_seed(0))]
    assert 0.45 < drawn.float().mean() < 0.55
