"""Labels of a row from strokes are those that extraction makes of the same labels in a mask file."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from textdiff.cache.reader import FeatureReader
from textdiff.pipeline.labelling.learner.row_labels import row_labels
from textdiff.pipeline.labelling.strokes.events import Stroke
from textdiff.pipeline.labelling.strokes.raster import LabelRaster
from textdiff.pipeline.labelling.strokes.shapes import Mark


@pytest.mark.parametrize("options", [{}, {"tile": 12, "tile_overlap": 4}], ids=["whole", "tiles"])
@pytest.mark.parametrize("filled", [False, True])
def test_strokes_and_a_mask_file_give_the_same_labels(extraction, tmp_path, options, filled):
    from textdiff.pipeline.extraction.extract import extract_features

    raster = LabelRaster((20, 24))
    for label, points in ((1, ((4, 4), (12, 5))), (0, ((4, 14), (7, 15)))):
        stroke = Stroke(key="a", image="a", tool="brush", label=label, size=5.0, points=points, runs=())
        raster.push(Mark.of(stroke))
    raster.filled = filled
    folder = extraction.data.parent
    Image.fromarray(raster.read(0, 0, 20, 24)).save(folder / "train0_mask.png")
    (folder / "classes.json").write_text('{"classes": {"0": "background", "1": "foreground"}, "ignore": 255}')
    extraction.data.write_text("id,image,mask,text,split\ntrain0,train0.png,train0_mask.png,,train\n")
    extract_features(replace(extraction, text_encoder=None, **options))
    reader = FeatureReader(extraction.cache)
    assert len(reader.samples) == (6 if options else 1)
    for row in reader.samples:
        made = row_labels(raster, row, reader.manifest.features)
        expected = reader.labels(row.row)
        assert (expected == 255).all() if made is None else np.array_equal(made.numpy(), expected)
