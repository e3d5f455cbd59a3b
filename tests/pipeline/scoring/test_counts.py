"""What is counted of a sample does not depend on how it is cut into bands, and agrees with its parts."""

import numpy as np
import pytest
import torch

from textdiff.cache.format.samples import IGNORE, SampleRow
from textdiff.pipeline.scoring.counts import SHARES_ASIDE, count_sample, score_counts
from textdiff.pipeline.scoring.shapes import SurfaceSettings
from textdiff.stages.metrics.instances import aggregated_jaccard, match_objects, split_objects
from textdiff.stages.metrics.overlap import confusion, dice
from textdiff.stages.metrics.surfaces import surface_distances


@pytest.fixture
def sample():
    """A head's probabilities of 3 classes on 24×32 pixels, and labels that they often get right; a corner has none."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.zeros(24, 32, dtype=torch.uint8)
    labels[2:10, 3:14], labels[12:20, 5:25] = 1, 2
    logits = torch.nn.functional.one_hot(labels.long(), 3).movedim(-1, 0) + torch.randn(3, 24, 32, generator=generator)
    labels[:6, 20:] = IGNORE
    return logits.softmax(0)[None], labels


def row_of(name):
    return SampleRow(name, name, name, "test", 0, None, (24, 32), "", "", None, None)


def test_bands_add_up_to_the_whole(sample):
    probabilities, labels = sample
    cuts = (slice(0, 7), slice(7, 8), slice(8, 24))
    bands = [(probabilities[..., rows, :], labels[rows]) for rows in cuts]
    in_bands, whole = (
        count_sample(of, 3, surface=SurfaceSettings(tolerance=1), instances=True) for of in (bands, [sample])
    )
    assert torch.equal(in_bands.counts, whole.counts)
    assert torch.equal(in_bands.counts, confusion(probabilities[0].argmax(0), labels, 3, IGNORE))
    assert torch.allclose(in_bands.reliability, whole.reliability)
    assert torch.equal(in_bands.without_uncertain["predictive_entropy"], whole.without_uncertain["predictive_entropy"])
    for name, values in whole.shapes.figures.items():
        assert torch.equal(in_bands.shapes.figures[name].nan_to_num(-1), values.nan_to_num(-1)), name
    assert torch.equal(in_bands.shapes.matches, whole.shapes.matches)


def test_distances_and_objects_are_of_each_class_and_of_labelled_pixels(sample):
    probabilities, labels = sample
    surface = SurfaceSettings((0.5, 2.0), tolerance=1.5)
    shapes = count_sample([sample], 3, surface=surface, instances=True).shapes
    assert [*shapes.figures] == ["hd95", "nsd", "aji"]
    predicted = np.where(labels == IGNORE, 0, probabilities[0].argmax(0))
    for i, index in enumerate((1, 2)):
        one, other = labels.numpy() == index, predicted == index
        distances, objects = surface_distances(one, other, (0.5, 2.0)), (split_objects(one), split_objects(other))
        assert shapes.figures["hd95"][i] == distances.hausdorff_95
        assert shapes.figures["nsd"][i] == distances.dice(1.5)
        assert shapes.figures["aji"][i] == aggregated_jaccard(*objects)
        assert torch.equal(shapes.matches[i], match_objects(*objects))


def test_only_what_was_asked_for_is_measured(sample):
    nothing, surface, instances = (
        count_sample([sample], 3, surface=surface, instances=instances).shapes
        for surface, instances in ((None, False), (SurfaceSettings(), False), (None, True))
    )
    assert [[*of.figures] for of in (nothing, surface, instances)] == [[], ["hd95"], ["aji"]]
    assert nothing.matches is surface.matches is None
    scores = score_counts([count_sample([sample], 3, surface=None, instances=True)], [row_of("a")])
    assert {"pq", "dq", "sq", "micro_pq", "class_dq"} <= {*scores}
    assert "micro_pq" not in score_counts([count_sample([sample], 3, surface=None, instances=False)], [row_of("a")])


def test_dice_without_uncertain_pixels_is_the_mean_over_samples_and_starts_from_all_pixels(sample):
    probabilities, labels = sample
    counts = [
        count_sample([one], 3, surface=None, instances=False) for one in (sample, (probabilities.flip(-2), labels))
    ]
    figures = score_counts(counts, [row_of("a"), row_of("b")])
    assert [*figures["selective"]["predictive_entropy"]] == [f"{percent / 100:.2f}" for percent in range(100, 49, -5)]
    assert figures["selective"]["predictive_entropy"]["1.00"] == pytest.approx(figures["dice"])
    half = torch.stack([one.without_uncertain["predictive_entropy"][SHARES_ASIDE.index(0.5)] for one in counts])
    assert half.sum().item() == pytest.approx(0.5 * sum(int(one.counts.sum()) for one in counts))
    assert figures["selective"]["predictive_entropy"]["0.50"] == pytest.approx(float(dice(half).mean()))
    assert float(dice(half[0]).mean()) > float(dice(counts[0].counts).mean())  # here the uncertain are the wrong ones


def test_a_class_that_was_set_aside_has_no_dice_and_one_that_never_was_there_is_perfect():
    certain, foreground = torch.tensor([0.1, 0.1, 0.2, 0.6]), torch.tensor([0, 0, 0, 1], dtype=torch.uint8)
    probabilities = torch.stack([1 - certain, certain])[None, :, None]
    with_it, without_it = (
        count_sample([(probabilities[..., :n], foreground[None, :n])], 2, surface=None, instances=False) for n in (4, 3)
    )
    figures = score_counts([with_it], [row_of("a")])["selective"]["predictive_entropy"]
    assert (figures["1.00"], figures["0.75"], figures["0.50"]) == (1.0, None, None)
    assert score_counts([without_it], [row_of("a")])["selective"]["predictive_entropy"]["0.50"] == 1.0


def test_calibration_is_over_the_pixels_of_all_samples(sample):
    probabilities, labels = sample
    counts = [count_sample([sample], 3, surface=None, instances=False)] * 2
    figures = score_counts(counts, [row_of("a"), row_of("b")])["calibration"]
    counted = labels != IGNORE
    confidence, predicted = probabilities[0].max(0)
    right = (predicted == labels)[counted].double()
    edges = torch.linspace(0, 1, 16, dtype=torch.float64)
    bins = torch.bucketize(confidence[counted].double(), edges[1:])
    gaps = [(right - confidence[counted].double())[bins == one].sum().abs() for one in range(15)]
    assert figures["ece"] == pytest.approx(float(sum(gaps) / counted.sum()), abs=1e-6)
    assert sum(one["n"] for one in figures["bins"]) == 2 * int(counted.sum())
    assert figures["bins"][0] == {"n": 0, "accuracy": None, "confidence": None}
    assert all(0.6 < one["confidence"] <= 2 / 3 + 1e-6 for one in figures["bins"][9:10])
