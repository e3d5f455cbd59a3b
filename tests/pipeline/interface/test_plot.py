"""Plots: what is painted where, of images and masks of every kind; files; refusals."""

import os
import sys
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image

import textdiff as td
from textdiff.pipeline.reports.figures import FALSE_NEGATIVE_COLOUR, FALSE_POSITIVE_COLOUR, PREDICTED_COLOUR, outline
from textdiff.pipeline.reports.overlays import principal_colours
from textdiff.pipeline.reports.plots import Plot

TEXT = "the nuclei are round"
GREY = np.full((10, 12, 3), 90, np.uint8)
SQUARE = np.zeros((10, 12), bool)
SQUARE[2:6, 3:9] = True
NAMES = {0: "nothing", 7: "left", 9: "right"}


def panels(plot):
    """What is drawn of each picture, without the legend."""
    arrays = [np.asarray(axes.images[0].get_array()) for axes in plot.figure.axes if axes.images]
    return [array for array in arrays if array.shape[:2] != (15, 15)]


def words(plot):
    return [text.get_text() for text in plot.figure.texts]


def small(pixels, like=GREY):
    """A picture that was enlarged, at its own size again."""
    times = pixels.shape[0] // like.shape[0]
    assert pixels.shape[:2] == (times * like.shape[0], times * like.shape[1])
    return pixels[times // 2 :: times, times // 2 :: times]


@pytest.fixture
def cache(tiny_cache):
    return td.open_cache(tiny_cache)


@pytest.fixture
def run(cache, tmp_path):
    sizes = {"width": 16, "n_attention_heads": 2, "pixels_per_image": 64}
    return td.train_head(cache, tmp_path / "run", head="pixel", text="true", epochs=3, device="cpu", **sizes)


def test_a_mask_is_painted_where_it_is_whatever_it_comes_as(tmp_path):
    plain = td.plot.overlay(GREY, SQUARE)
    (painted,) = panels(plain)
    tinted = small(painted)
    assert (tinted[0, 0] == 90).all()
    assert tuple(tinted[3, 5]) == tuple(outline(GREY, SQUARE, PREDICTED_COLOUR)[3, 5]) != (90, 90, 90)
    times = len(painted) // 10
    assert tuple(painted[2 * times, 3 * times]) == PREDICTED_COLOUR  # of the outline
    assert words(plain) == ["", "foreground"]
    Image.fromarray(GREY).save(tmp_path / "image.png")
    Image.fromarray(SQUARE.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    of_kinds = [
        td.plot.overlay(tmp_path / "image.png", str(tmp_path / "mask.png")),
        td.plot.overlay(Image.fromarray(GREY), Image.fromarray(SQUARE)),
        td.plot.overlay(GREY[..., 0], SQUARE.astype(np.int64)),
    ]
    assert {plot.to_png() for plot in of_kinds} == {plain.to_png()}


def test_classes_are_named_in_the_legend_and_large_images_shrunk():
    mask = np.zeros((2000, 1000), np.uint8)
    mask[:1000], mask[1000:] = 7, 9
    plot = td.plot.overlay(np.full((2000, 1000, 3), 90, np.uint8), mask, classes=NAMES, title="a title")
    assert words(plot) == ["a title", "left", "right"]
    (painted,) = panels(plot)
    assert painted.shape == (640, 320, 3)
    assert not (painted[100, 100] == painted[500, 100]).all()
    assert words(td.plot.overlay(GREY, SQUARE + 2 * ~SQUARE)) == ["", "class 1", "class 2"]


def test_errors_are_in_the_colours_of_reports_with_the_dice():
    found = np.roll(SQUARE, 2, axis=1)
    plot = td.plot.errors(GREY, found, SQUARE)
    dice = 2 * (found & SQUARE).sum() / (found.sum() + SQUARE.sum())
    assert words(plot)[:3] == ["truth", "prediction", f"errors; Dice {dice:.3f}"]
    errors = small(panels(plot)[2])
    assert (errors[3, 3:5] == FALSE_NEGATIVE_COLOUR).all()
    assert tuple(FALSE_POSITIVE_COLOUR) in {tuple(pixel) for pixel in panels(plot)[2].reshape(-1, 3)}
    several = td.plot.errors(GREY, 7 * SQUARE, 9 * SQUARE, classes=NAMES)
    assert words(several)[2:] == [
        "errors; mean Dice 0.000",
        "left",
        "right",
        "false negative (plain)",
        "false positive (striped)",
        "of another class (dotted)",
    ]


@pytest.mark.slow
def test_samples_and_predictions_bring_image_and_mask(cache, run, tiny_data):
    sample = cache["test0"]
    (painted,) = panels(td.plot.overlay(sample))
    inside = sample.labels > 0
    assert (small(painted, sample.image)[~inside] == sample.image[~inside]).all()
    assert (small(painted, sample.image)[inside] != sample.image[inside]).any(-1).all()
    segmenter = run.segmenter(device="cpu")
    found = segmenter.predict(tiny_data.parent / "test0.png", TEXT)
    assert td.plot.overlay(found, title=TEXT).to_png() == found.show().to_png()
    scored = td.plot.errors(found, found, tiny_data.parent / "test0_mask.png")
    assert words(scored)[2].startswith("errors; Dice 0.")
    same = td.plot.errors(sample, sample.labels)
    assert words(same)[2] == "errors; Dice 1.000"
    with pytest.raises(td.errors.DataError, match="sizes differ: image 16×16, mask 20×24, truth 16×16 pixels"):
        td.plot.errors(sample, found)


@pytest.fixture
def half(cache):
    """A sample whose upper half is not labelled, though it has foreground there and below."""
    sample = cache["train0"]
    labels = sample.labels.copy()
    assert (labels[:8] == 1).any()
    assert (labels[8:] == 1).any()
    labels[:8] = 255

    class Half(type(sample)):
        labels = property(lambda self: labels)

    return Half(sample.reader, sample.row)


def test_pixels_without_labels_are_pale(half):
    plot = td.plot.overlay(half)
    assert words(plot)[-1] == "not labelled"
    assert (small(panels(plot)[0], half.image)[:8] >= 190).all()
    as_array = td.plot.overlay(half, half.labels)
    np.testing.assert_array_equal(small(panels(as_array)[0], half.image)[:8], small(panels(plot)[0], half.image)[:8])
    assert words(as_array) == words(plot)


def test_pixels_without_labels_are_no_errors_in_either_mask(half):
    nothing, everything = np.zeros((16, 16), np.uint8), np.ones((16, 16), np.uint8)
    known = half.labels[8:] == 1
    dice = 2 * known.sum() / (known.sum() + known.size)
    for mask, truth in ((everything, None), (everything, half.labels), (half, everything), (half.labels, everything)):
        plot = td.plot.errors(half, mask, truth)
        assert words(plot)[2] == f"errors; Dice {dice:.3f}"
        assert words(plot)[-1] == "not labelled"
        errors = small(panels(plot)[2], half.image)
        assert (errors[:8] >= 190).all()
        assert not (errors[:8] == FALSE_NEGATIVE_COLOUR).all(-1).any()
    missed = small(panels(td.plot.errors(half, nothing, half.labels))[2], half.image)
    assert ((missed == FALSE_NEGATIVE_COLOUR).all(-1) == (half.labels == 1)).all()


def test_where_nothing_is_labelled_there_is_no_dice(cache):
    sample = cache["train0"]
    unlabelled = type("Unlabelled", (type(sample),), {"labels": np.full((16, 16), 255, np.uint8)})
    plot = td.plot.errors(unlabelled(sample.reader, sample.row), sample.labels)
    assert words(plot)[2] == "errors; no pixel is labelled"


def test_features_are_shown_beside_the_image(cache):
    plot = td.plot.features(cache, "test0", 1)
    assert words(plot) == ["test0", "block 1, t = 50", "block 1, t = 150"]
    image, first, _ = panels(plot)
    np.testing.assert_array_equal(small(image, cache["test0"].image), cache["test0"].image)
    expected = principal_colours(cache["test0"].features(1, 50))
    assert {tuple(pixel) for pixel in first.reshape(-1, 3)} == {tuple(pixel) for pixel in expected.reshape(-1, 3)}
    everything = td.plot.features(cache.path, cache[0])
    assert len(panels(everything)) == 1 + len(cache.blocks) * len(cache.timesteps)
    with pytest.raises(td.errors.CacheMismatchError, match="lacks blocks 2 at timesteps 50"):
        td.plot.features(cache, "test0", [2], [50])


def test_features_take_numbers_of_numpy_and_refuse_what_is_not_cached(cache):
    plain = td.plot.features(cache, 0, [1, 3], 50).to_png()
    assert td.plot.features(cache, np.int64(0), np.array([1, 3]), np.int64(50)).to_png() == plain
    assert td.plot.features(os.fspath(cache), 0, (np.int64(1), 3), np.array([50])).to_png() == plain
    assert words(td.plot.features(cache, 0, np.int64(1), 50)) == ["train0", "block 1, t = 50"]
    with pytest.raises(td.errors.CacheMismatchError, match="has no sample 99"):
        td.plot.features(cache, 99)


def test_colours_follow_the_first_components():
    rng = np.random.default_rng(0)
    ramp = np.linspace(-1, 1, 40)[:, None, None] * np.array([3.0, -1.0, 0, 0, 2.0])
    colours = principal_colours((ramp + 1e-3 * rng.normal(size=(40, 40, 5))).astype(np.float16))
    red = colours[..., 0].astype(int).mean(1)
    assert (np.diff(red) > 0).all() or (np.diff(red) < 0).all()
    assert np.ptp(red) > 240
    assert (principal_colours(np.zeros((1, 1, 2), np.float32)) == 128).all()


@pytest.mark.slow
def test_attention_is_the_explanations_figure_or_that_of_a_word(run, tiny_data):
    explanation = run.segmenter(device="cpu").explain(tiny_data.parent / "test0.png", TEXT)
    assert td.plot.attention(explanation).to_png() == explanation.plot().to_png()
    plot = td.plot.attention(explanation, "round")
    assert words(plot)[:3] == ["“round”", "head 1", "head 2"]
    assert plot.to_png() == td.plot.attention(explanation, 3).to_png()
    with pytest.raises(td.errors.ConfigError, match="word got 'flat'; the text has the, nuclei, are, round"):
        td.plot.attention(explanation, "flat")


@pytest.mark.slow
def test_the_curve_has_every_epoch_and_the_chosen_one(run):
    plot = td.plot.curve(run)
    loss, dice = plot.figure.axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [row["loss"] for row in run.history])
    np.testing.assert_array_equal(dice.lines[0].get_ydata(), [row["val_dice_sampled"] for row in run.history])
    assert dice.lines[1].get_xdata()[0] == run.summary.best_epoch
    assert td.plot.curve(run.path).to_png() == plot.to_png()


def test_plots_are_written_and_shown_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.delattr(matplotlib, "pyplot", raising=False)
    plot = td.plot.overlay(GREY, SQUARE)
    for name in ("a/plot.png", "plot.svg", "plot.PDF"):
        plot.save(tmp_path / name)
    assert (tmp_path / "a/plot.png").read_bytes()[:4] == b"\x89PNG"
    assert b"<svg" in (tmp_path / "plot.svg").read_bytes()
    assert (tmp_path / "plot.PDF").read_bytes()[:4] == b"%PDF"
    assert plot._repr_png_() == plot.to_png()
    assert isinstance(plot, Plot)
    with pytest.raises(td.errors.ConfigError, match=r"plot\.bmp: a plot is written as \.png, \.svg, \.pdf"):
        plot.save(tmp_path / "plot.bmp")


@pytest.mark.parametrize(
    ("plot", "message"),
    [
        (lambda: td.plot.overlay(GREY), "there is no mask"),
        (lambda: td.plot.errors(GREY, SQUARE), "there is no true mask"),
        (lambda: td.plot.overlay(GREY / 255, SQUARE), "image holds 64 bit values .*; expected 8 bits: convert it"),
        (lambda: td.plot.overlay(GREY, SQUARE / 2), r"mask is float64 \(10, 12\); expected bool or integers"),
        (lambda: td.plot.overlay(GREY, SQUARE[1:]), "sizes differ: image 10×12, mask 9×12"),
        (lambda: td.plot.overlay(GREY, 3 * SQUARE, classes=NAMES), "has the values 3; expected .* 0 nothing, 7 left"),
        (lambda: td.plot.overlay(GREY, np.arange(120).reshape(10, 12)), "a mask has 119 values; .* at most 64"),
    ],
)
def test_what_is_no_image_or_mask_is_refused(plot, message):
    with pytest.raises(td.errors.DataError, match=message):
        plot()


def test_a_sample_without_a_mask_is_refused(cache):
    sample = cache["train0"]
    unlabelled = type(sample)(sample.reader, replace(sample.row, mask=None))
    with pytest.raises(td.errors.DataError, match="train0 has no mask"):
        td.plot.overlay(unlabelled)
