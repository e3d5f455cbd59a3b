"""Features of new images: held to those of the cache."""

from feature_source import FeatureSourceTests

from textdiff.pipeline.config.prediction import ModelOverrides
from textdiff.pipeline.prediction.request import PredictionRequest
from textdiff.pipeline.prediction.segmenter import BandSegmenter


class TestLiveFeatures(FeatureSourceTests):
    def open(self, run):
        return BandSegmenter.load(run.folder, ModelOverrides(device="cpu")).live

    def rows_of(self, run, source, rows):
        live, table = {}, run.reader.table
        for row in rows:
            if row.id not in live:
                upright = next(one for one in table.samples if (one.parent, one.view) == (row.parent, 0))
                text = table.texts[upright.text] if upright.text is not None and run.config.texts else None
                text = None if run.config.train["text"] == "none" else text
                image = BandSegmenter.load(run.folder, ModelOverrides()).open(run.folder.parent / row.image)
                own = source.rows(PredictionRequest(image, text, row.parent), 4)
                live |= {one.id: (one, pixels) for one, pixels in own}
        return [live[row.id] for row in rows]
