"""Views: what the numbers mean, that they are a group, and that turned rows, texts and predictions fit together."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from textdiff.cache.format.samples import SampleRow
from textdiff.cache.format.spec import FeatureSpec
from textdiff.cache.reader import FeatureReader
from textdiff.errors import ConfigError, DataError
from textdiff.pipeline.config.evaluation import EvaluateConfig
from textdiff.pipeline.config.training import TrainConfig
from textdiff.pipeline.data.dataset import read_dataset
from textdiff.pipeline.demo.phantom import write_phantom
from textdiff.pipeline.extraction.dataset_rows import Augmentation, RowReader, dataset_rows
from textdiff.pipeline.extraction.extract import extract_features
from textdiff.pipeline.head_inputs.splits import choose_split, group_views, originals
from textdiff.pipeline.views.symmetries import is_reflection, side_in
from textdiff.pipeline.views.text_rewriting import index_in_view
from textdiff.pipeline.views.transforms import mean_over_views, turn, turn_back

SPEC = FeatureSpec("diffusers:u", "d", "epsilon", "shared", 1, 40, 16, None, "float16", 2)
EDGES = {"up": np.s_[0, 1], "down": np.s_[-1, 1], "left": np.s_[1, 0], "right": np.s_[1, -1]}


@pytest.fixture
def picture():
    return np.arange(5 * 5 * 3, dtype=np.uint8).reshape(5, 5, 3)


@pytest.fixture
def turned(extraction):
    """All eight views of 4 training images of which 3 have a text; one of the texts names a side."""
    return replace(extraction, views=8)


def test_the_numbers_mean_what_the_documents_say(picture):
    expected = [
        picture,
        np.fliplr(picture),
        np.flipud(picture),
        np.rot90(picture, 2),
        picture.swapaxes(0, 1),
        np.rot90(picture),
        np.rot90(picture, -1),
        np.fliplr(np.rot90(picture)),
    ]
    for view, wanted in enumerate(expected):
        np.testing.assert_array_equal(turn(picture, view), wanted)
        assert turn(picture, view).flags.c_contiguous
    assert [view for view in range(8) if is_reflection(view)] == [1, 2, 4, 7]


def test_views_make_groups_of_one_two_four_and_eight(picture):
    for n in (1, 2, 4, 8):
        turned = {turn(turn(picture, one), other).tobytes() for one in range(n) for other in range(n)}
        assert turned == {turn(picture, view).tobytes() for view in range(n)}


@pytest.mark.parametrize("side", EDGES)
def test_a_side_goes_where_its_pixels_go(side):
    marked = np.zeros((3, 3), np.uint8)
    marked[EDGES[side]] = 1
    for view in range(8):
        assert turn(marked, view)[EDGES[side_in(view, side)]] == 1


def test_maps_are_turned_back_to_the_picture(picture):
    for view in range(8):
        maps = torch.from_numpy(turn(picture, view)).permute(2, 0, 1)
        assert torch.equal(turn_back(maps, view), torch.from_numpy(picture).permute(2, 0, 1))


def test_the_mean_is_of_probabilities_in_the_pictures_own_place():
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    expected = (logits[0].softmax(0) + logits[1].softmax(0).flip(2)) / 2
    torch.testing.assert_close(mean_over_views(iter(logits), (0, 1)).softmax(0), expected)
    assert torch.equal(mean_over_views(iter(logits[:1]), (0,)), logits[0])
    certain = torch.tensor([200.0, -200.0]).reshape(2, 1, 1)
    torch.testing.assert_close(mean_over_views([certain, -certain], (0, 1)).softmax(0), torch.full((2, 1, 1), 0.5))


def test_a_view_is_a_row_with_the_turned_image_labels_and_text(turned):
    summary = extract_features(turned)
    reader = FeatureReader(turned.cache)
    assert (summary.n_samples, summary.n_rows, summary.n_turned, summary.n_forwards) == (7, 7 + 4 * 7, 28, 35)
    assert "7 samples and 28 flips and rotations of them" in summary.lines()[0]
    texts = {}
    for sample in reader.samples:
        upright = next(one for one in reader.samples if one.id == sample.parent)
        assert sample.id == (f"{sample.parent}~{sample.view}" if sample.view else sample.parent)
        assert replace(sample, id="", row=0, text=None, view=0) == replace(upright, id="", row=0, text=None)
        np.testing.assert_array_equal(reader.image(sample.row), turn(reader.image(upright.row), sample.view))
        np.testing.assert_array_equal(reader.labels(sample.row), turn(reader.labels(upright.row), sample.view))
        texts[sample.id] = None if sample.text is None else reader.table.texts[sample.text]
    halves = [texts[f"train2{suffix}"].split()[-2] for suffix in ("", *(f"~{view}" for view in range(1, 8)))]
    assert halves == ["upper", "upper", "lower", "lower", "left", "left", "right", "right"]
    assert {texts[f"train0~{view}"] for view in range(1, 8)} == {"the nuclei are round"}
    assert {texts[f"train3~{view}"] for view in range(1, 8)} == {None}


def test_the_activations_are_those_of_the_turned_image_under_the_same_noise(turned):
    from textdiff.pipeline.extraction.feature_extractor import Batch
    from textdiff.pipeline.extraction.loading import load_stage_one

    extract_features(turned)
    reader = FeatureReader(turned.cache)
    sample = next(sample for sample in reader.samples if sample.id == "train1~5")
    images = turn(reader.image(1), 5)[None]
    stage_one = load_stage_one(turned)
    recorded = stage_one.record(Batch(images, ["whatever"], [""]), (50,), (3,))
    live = stage_one.store(recorded)()[3, 50].row(0).activations
    np.testing.assert_allclose(reader.features(3, 50, sample.row), live, rtol=2e-3, atol=2e-3)


def test_the_phantoms_targets_lie_in_the_half_that_the_views_text_names(tmp_path):
    data = write_phantom(tmp_path / "phantom", n_train=16, n_val=2, n_test=2, image_size=64)
    dataset = read_dataset(data)
    spec = replace(SPEC, image_size=64)
    reader = RowReader(spec, dataset.classes)
    halves = {"upper": np.s_[:32], "lower": np.s_[32:], "left": np.s_[:, :32], "right": np.s_[:, 32:]}
    named = []
    for row in dataset_rows(dataset.samples, spec, Augmentation(8)):
        side = re.search(r"nuclei .*in the (upper|lower|left|right) half|in the (\w+) half: ", row.text)
        if side:
            labels, (half,) = reader.labels(row) == 1, filter(None, side.groups())
            assert labels[halves[half]].sum() > 0.9 * labels.sum() > 0, row.id
            named.append(half)
    assert {half: named.count(half) for half in halves} == dict.fromkeys(halves, len(named) // 4)
    assert len(named) >= 32


@pytest.mark.slow
def test_more_views_run_the_new_rows_alone_and_fewer_run_nothing(extraction, folder_bytes):
    extract_features(extraction)
    before = folder_bytes(extraction.cache)
    assert extract_features(replace(extraction, views=2)).n_forwards == 4
    after = folder_bytes(extraction.cache)
    kept = [name for name in before if name.startswith("features/") and "/c/" in name]
    assert len(kept) == 16
    assert all(after[name] == before[name] for name in kept)
    assert extract_features(replace(extraction, views=8)).n_forwards == 6 * 4
    assert extract_features(replace(extraction, views=4, views_of="all")).n_forwards == 3 * 3
    assert extract_features(extraction).n_forwards == 0
    assert {sample.view for sample in FeatureReader(extraction.cache).samples} == {0}
    assert extract_features(replace(extraction, views=8)).n_forwards == 0


@pytest.mark.slow
def test_views_begin_with_the_rows_of_a_cache_without(turned, extraction, tmp_path):
    extract_features(replace(extraction, cache=tmp_path / "plain"))
    extract_features(turned)
    plain, reader = FeatureReader(tmp_path / "plain"), FeatureReader(turned.cache)
    assert [(s.id, s.row) for s in reader.samples[:7]] == [(s.id, s.row) for s in plain.samples]
    assert reader.manifest.rows[:7] == plain.manifest.rows[:7]


def test_projections_are_those_of_a_cache_without_views(extraction, tmp_path):
    plain, turned = (replace(extraction, pca=4, views=n, cache=tmp_path / str(n)) for n in (1, 4))
    extract_features(plain)
    extract_features(turned)
    digests = [[r.digest for r in FeatureReader(config.cache).manifest.projections] for config in (plain, turned)]
    assert digests[0] == digests[1] != []


@pytest.mark.slow
def test_tiles_have_views_of_their_own(extraction):
    tiled = replace(extraction, tile=16, tile_overlap=4, image_size=None, views=8, views_of="all", batch_size=8)
    summary = extract_features(tiled)
    reader = FeatureReader(tiled.cache)
    assert (summary.n_rows, summary.n_turned) == (7 * 4 * 8, 7 * 4 * 7)
    assert "7 samples in 28 tiles and 196 flips and rotations of them" in summary.lines()[0]
    by_id = {sample.id: sample for sample in reader.samples}
    one, upright = by_id["val1@4,8~6"], by_id["val1@4,8"]
    assert (one.parent, one.tile, one.view) == ("val1", (4, 8), 6)
    np.testing.assert_array_equal(reader.image(one.row), np.rot90(reader.image(upright.row), -1))


def test_views_whose_text_cannot_be_rewritten_are_left_out_and_named(turned, caplog):
    table = turned.data.read_text(encoding="utf-8").replace("the nuclei are round", "both lungs are round on the left")
    turned.data.write_text(table, encoding="utf-8")
    assert extract_features(turned).n_rows == 35 - 6
    rows = [sample for sample in FeatureReader(turned.cache).samples if sample.parent == "train0"]
    assert [sample.view for sample in rows] == [0, 1]
    (warning,) = [line for line in caplog.messages if line.startswith("left out")]
    assert warning.endswith(": views 2,3,4,5,6,7 of 'both lungs are round on the left' ('left')")


def test_ids_that_a_view_of_another_sample_has_are_refused(extraction):
    samples = read_dataset(extraction.data).samples
    twin = replace(samples[1], id="train0~3")  # as an image file in LViT's layout may be called
    assert len(dataset_rows([samples[0], samples[1]], SPEC, Augmentation(8))) == 16
    with pytest.raises(DataError, match=r"other samples' views \(ID~VIEW\); rename the samples:\n  - train0~3$"):
        dataset_rows([samples[0], twin], SPEC, Augmentation(8))


def test_training_takes_all_views_and_scores_take_none(turned):
    extract_features(replace(turned, views=4, views_of="all"))
    reader = FeatureReader(turned.cache)
    config = TrainConfig(turned.cache, turned.cache.parent / "run", head="pixel")
    split = choose_split(reader, config)
    assert [len(rows) for rows in (split.train, split.val, split.test)] == [16, 2, 1]
    held = choose_split(reader, replace(config, hold_out=True, n_labelled=2))
    assert [len(rows) for rows in (held.train, held.val)] == [8, 1]
    assert {row.view for row in (*split.val, *split.test, *held.val)} == {0}
    assert not {row.parent for row in held.train} & {row.parent for row in held.val}


def rows_of(*views, parent="a", tile=(0, 0)):
    unused = {"group": "g", "split": "test", "row": 0, "text": None, "size": (1, 1)}
    files = {"image": "a.png", "image_digest": "", "mask": None, "mask_digest": None}
    return [SampleRow(f"{parent}{tile}~{v}", parent, **unused, **files, view=v, tile=tile) for v in views]


def test_rows_are_grouped_by_what_they_show():
    rows = [*rows_of(0, 2, 1, 3), *rows_of(0, 1, tile=(0, 8)), *rows_of(0, parent="b")]
    assert len(originals(rows)) == 3
    grouped = {name: [row.view for row in views] for name, views in group_views(rows, 4).items()}
    assert grouped == {"a(0, 0)~0": [0, 1, 2, 3], "a(0, 8)~0": [0, 1], "b(0, 0)~0": [0]}
    assert {len(views) for views in group_views(rows, 1).values()} == {1}
    with pytest.raises(DataError, match=r"--tta 8: the cache does not have so many .* --views 8 --views-of all"):
        group_views(rows, 8)


def test_another_samples_text_is_found_as_it_is_rewritten_for_a_view():
    texts = ("in the left half", "in the right half", "left ventricle", "round")
    assert [index_in_view(texts, 0, view) for view in (0, 1, 2, 3)] == [0, 1, 0, 1]
    assert [index_in_view(texts, index, 1) for index in (None, 2, 3)] == [None, None, 3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"views": 3}, "--views got 3; expected 1, 2, 4 or 8"),
        ({"views_of": "test", "views": 2}, "--views-of got 'test'; expected one of train, all"),
        ({"views_of": "all"}, "--views-of got all without --views; give --views 2, 4 or 8 too"),
    ],
)
def test_views_that_are_no_group_are_refused(extraction, change, message):
    with pytest.raises(ConfigError, match=message):
        replace(extraction, **change)
    with pytest.raises(ConfigError, match=re.escape("--tta got 5; expected 1, 2, 4 or 8")):
        EvaluateConfig(extraction.cache, extraction.cache, tta=5)
