"""Exports: a run of the same bytes as the same labels give in files, and masks."""

import time

import pytest
from label_server import new_key

from textdiff.pipeline.config import ExtractConfig, LabelConfig, TrainConfig
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.image_files.reading import read_mask
from textdiff.pipeline.labelling.data_set.export import Exporter
from textdiff.pipeline.labelling.data_set.features import Features
from textdiff.pipeline.labelling.data_set.images import list_images
from textdiff.pipeline.labelling.data_set.writing import DataSetWriter
from textdiff.pipeline.labelling.session.history import LabelClass
from textdiff.pipeline.labelling.session.session import Session
from textdiff.pipeline.labelling.strokes.events import Stroke
from textdiff.pipeline.runtime.progress import Progress
from textdiff.pipeline.training.train import train_head


class Exporting:
    """A session on a data set or cache, and its exporter."""

    def __init__(self, data, out, **settings):
        self.config = LabelConfig(data, out, device="cpu", **settings)
        listing = list_images(self.config, Progress())
        names = [LabelClass(name, "#123456") for name in listing.classes.names]
        log = out / "strokes" / "me.log"
        self.session = Session(listing.images, names, log, mask_classes=listing.classes)
        self.events = []
        self.features = Features(listing, self.config, lambda event: None)
        self.writer = DataSetWriter(self.session, out)
        self.exporter = Exporter(self.writer, self.features, self.events.append)

    def draw(self, image, label, points):
        name = self.session.images[image].id
        self.session.apply(Stroke(key=new_key(), image=name, tool="brush", label=label, size=3.0, points=tuple(points)))

    def export(self, kind, formats=None):
        self.exporter.start(kind, formats)
        while not (self.events and self.events[-1]["done"]):
            time.sleep(0.1)
        return self.events.pop()


@pytest.fixture
def exporting(tiny_cache, tmp_path):
    one = Exporting(tiny_cache, tmp_path / "out")
    for image in range(4):
        one.draw(image, 1, [(3.0, 3.0), (9.0, 3.0)])
        one.draw(image, 0, [(15.0, 15.0), (20.0, 15.0)])
    yield one
    one.session.close()


@pytest.mark.soak
@pytest.mark.slow
def test_an_exported_run_is_that_of_the_same_labels_in_files_and_predicts_masks(
    exporting, extraction, tmp_path, folder_bytes
):
    before = folder_bytes(extraction.cache)
    assert "export a run first" in exporting.export("masks")["problem"]
    assert exporting.export("run")["problem"] is None
    assert folder_bytes(extraction.cache) == before  # the cache that was given is not touched
    out = tmp_path / "out"
    settings = {name: getattr(extraction, name) for name in ("unet", "text_encoder", "timesteps", "blocks")}
    extract_features(ExtractConfig(out, tmp_path / "other", image_size=16, batch_size=2, device="cpu", **settings))
    train_head(TrainConfig(tmp_path / "other", tmp_path / "run", device="cpu"))
    exported = out / "runs" / "run-1"
    for name in ("head.safetensors", "summary.json", "metrics.jsonl"):
        assert (exported / name).read_bytes() == (tmp_path / "run" / name).read_bytes()
    assert (exported / "report.html").exists()
    assert exporting.export("masks", ("png", "geojson"))["problem"] is None
    masks = out / "predictions" / "masks-1"
    for one in exporting.session.images:
        assert read_mask(masks / f"{one.id}.png").shape == one.size
        assert (masks / f"{one.id}.geojson").exists()
    assert not (masks / "images").exists()
