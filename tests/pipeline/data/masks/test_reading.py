"""Masks as what they show: the situations of CASES.md, kind 2."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.checking.check import check_data
from textdiff.pipeline.data.classes import Classes
from textdiff.pipeline.data.dataset import read_dataset, scan_dataset
from textdiff.pipeline.image_files.reading import open_mask, read_mask

SIZE = 16, 20
VOC = np.zeros((256, 3), np.uint8)
"""PASCAL VOC's palette: colour bits of an index, from the highest down."""
for index in range(256):
    for bit in range(8):
        VOC[index] |= np.array([(index >> (3 * bit + i) & 1) << (7 - bit) for i in range(3)], np.uint8)


def disc(value=255, dtype=np.uint8):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return ((y - 7) ** 2 + (x - 8) ** 2 < 20).astype(dtype) * value


@pytest.fixture
def data(tmp_path, write_image):
    """Gives `data(masks, classes=None, suffix="png")`: a manifest of masks (Pillow images, arrays or writers)."""

    def write(masks, classes=None, suffix="png"):
        rows = ["id,image,mask,text,split"]
        for i, mask in enumerate(masks):
            write_image(tmp_path / f"{i}.png", seed=i, size=SIZE)
            path = tmp_path / f"{i}_mask.{suffix}"
            if callable(mask):
                mask(path)
            else:
                (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(path)
            rows.append(f"{i},{i}.png,{path.name},,{('train', 'val', 'test')[i % 3]}")
        (tmp_path / "manifest.csv").write_text("\n".join(rows) + "\n")
        if classes is not None:
            (tmp_path / "classes.json").write_text(json.dumps(classes))
        return tmp_path / "manifest.csv"

    return write


def labels_of(manifest):
    """Labels of all masks, as training reads them."""
    dataset = read_dataset(manifest)
    return [
        dataset.classes.labels(open_mask(one.mask, dataset.classes.content).read_whole()) for one in dataset.samples
    ]


def indexed(indices, colours):
    image = Image.fromarray(indices.astype(np.uint8), "L")
    image = image.convert("L")
    image.putpalette(np.asarray(colours, np.uint8).reshape(-1).tolist())
    return image


def names(manifest):
    return [str(one).rpartition("[")[2].rstrip("]") for one in scan_dataset(manifest)[0].warnings]


# Palettes of greys (case 2)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_a_palette_with_white_first_is_not_inverted(data, suffix):
    mask = indexed(disc(1) == 0, [[255, 255, 255], [0, 0, 0]])
    for labels in labels_of(data([mask] * 3, suffix=suffix)):
        np.testing.assert_array_equal(labels, disc(1))


def test_masks_that_pillow_quantises_are_what_they_show(data):
    quantised = Image.fromarray(disc()).convert("RGB").quantize(2)
    assert quantised.getpalette()[:3] == [255, 255, 255]
    for labels in labels_of(data([quantised, Image.fromarray(disc()).convert("RGB").quantize(4), disc()])):
        np.testing.assert_array_equal(labels, disc(1))


def test_black_and_white_of_a_palette_with_other_colours_are_black_and_white(data):
    web = Image.fromarray(disc()).convert("RGB").convert("P")  # Pillow's web palette: white is 225
    assert np.asarray(web).max() != 255
    for labels in labels_of(data([web, web, disc()])):
        np.testing.assert_array_equal(labels, disc(1))


def test_grey_palettes_are_grey_levels_of_declared_classes(data):
    mask = indexed(disc(1) + 0, [[2, 2, 2], [0, 0, 0], [1, 1, 1]])
    classes = {"classes": {"0": "background", "1": "a", "2": "b"}}
    np.testing.assert_array_equal(labels_of(data([mask] * 3, classes))[0], np.where(disc(1), 0, 2))


# Palettes of colours (case 83)


def test_indices_count_where_all_files_share_a_palette(data):
    one, other = disc(7), np.where(disc(1), 2, 0)  # VOC's 7 is a grey
    classes = {"classes": {"0": "background", "2": "bicycle", "7": "car"}, "ignore": 255}
    labels = labels_of(data([indexed(one, VOC), indexed(other, VOC), indexed(one * 0, VOC[:1])], classes))
    np.testing.assert_array_equal(labels[0], disc(2))
    np.testing.assert_array_equal(labels[1], disc(1))
    assert not labels[2].any()


def adaptive(colours):
    """Three classes, quantised file by file."""
    image = np.zeros((*SIZE, 3), np.uint8)
    image[:4], image[4:9] = colours
    return Image.fromarray(image).quantize(3)


RED, GREEN = (255, 0, 0), (0, 255, 0)
NAMED = {"classes": {"#000000": "background", "#ff0000": "tumour", "#00ff00": "stroma"}}


def test_palettes_that_differ_are_refused_with_what_to_declare(data):
    masks = [indexed(disc(1), [[0, 0, 0], RED]), indexed(disc(1), [RED, [0, 0, 0]]), indexed(disc(1), [[0, 0, 0], RED])]
    _, problems = scan_dataset(data(masks))
    assert len(problems) == 1
    assert (
        "index 0 is #000000 in 0_mask.png and #ff0000 in 1_mask.png; name its colours (#000000, #ff0000)" in problems[0]
    )
    assert '{"classes": {"#000000": "background"' in problems[0]


def test_colours_are_read_from_palettes_in_any_order_and_from_rgb(data):
    masks = [adaptive((RED, GREEN)), adaptive((GREEN, RED)), adaptive((RED, GREEN)).convert("RGB")]
    first, second, third = labels_of(data(masks, NAMED))
    # Colours ascend after the background: green is 1 and red 2.
    assert first[0, 0] == second[5, 0] == third[0, 0] == 2
    assert first[5, 0] == second[0, 0] == third[5, 0] == 1
    assert not first[12].any()
    assert read_dataset(data(masks, NAMED)).classes.names == ("background", "stroma", "tumour")


def test_some_masks_with_a_palette_and_some_without_are_refused(data):
    _, problems = scan_dataset(data([indexed(disc(1), [[0, 0, 0], RED]), disc(1), disc(1)]))
    assert "2 of 3 masks have no palette (1_mask.png, ...), and others have one of colours; name its" in problems[0]


def test_without_a_declaration_index_0_has_to_be_black(data):
    inverted = indexed(disc(1) == 0, [RED, [0, 0, 0]])
    _, problems = scan_dataset(data([inverted] * 3))
    assert "index 0 of the masks' palette is not black" in problems[0]
    assert labels_of(data([indexed(disc(1), [[0, 0, 0], RED])] * 3))[0].sum() == disc(1).sum()


def test_colours_that_are_not_declared_are_named(data):
    _, problems = scan_dataset(data([np.dstack([disc()] * 3)] * 3, NAMED))
    assert "undeclared colours #ffffff (known: #000000, #00ff00, #ff0000)" in problems[0]
    ignored = NAMED | {"ignore": "#ffffff"}
    assert set(np.unique(labels_of(data([np.dstack([disc()] * 3)] * 3, ignored))[0])) == {0, 255}


def test_an_rgb_mask_says_how_to_declare_its_colours(data):
    _, problems = scan_dataset(data([np.dstack([disc(), disc(0), disc(0)])] * 3))
    assert (
        "is in colour; save the mask as grey, one value a class, or name its colours (#000000, #ff0000) in"
        in problems[0]
    )


# Alpha (case 4)


def in_alpha(mode, colour=255):
    grey = np.full(SIZE, colour, np.uint8)
    return Image.fromarray(np.dstack([grey] * (3 if mode == "RGBA" else 1) + [disc()]), mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("colour", [0, 255])
def test_a_shape_in_alpha_is_refused_by_name_and_read_where_it_is_declared(data, mode, colour):
    masks = [in_alpha(mode, colour)] * 3
    _, problems = scan_dataset(data(masks))
    assert "shows one colour, its shape stands in the alpha channel (transparency); save" in problems[0]
    assert '{"masks": "alpha"} in classes.json' in problems[0]
    for labels in labels_of(data(masks, {"masks": "alpha"})):
        np.testing.assert_array_equal(labels, disc(1))


def test_one_such_mask_among_good_ones_is_found(data):
    assert len(scan_dataset(data([disc(), in_alpha("RGBA"), disc()]))[1]) == 1


def test_transparent_indices_of_one_colour_are_a_shape_in_alpha(data):
    def write(path):
        indexed(disc(1), [[255, 255, 255], [255, 255, 255]]).save(path, transparency=0)

    assert "stands in the alpha channel" in scan_dataset(data([write] * 3))[1][0]
    np.testing.assert_array_equal(labels_of(data([write] * 3, {"masks": "alpha"}))[0], disc(1))


def test_an_alpha_beside_a_shape_in_colours_is_dropped(data):
    opaque = Image.fromarray(np.dstack([disc()] * 3 + [disc() * 0 + 255]))
    see_through = Image.fromarray(np.dstack([disc()] * 3 + [disc()]))
    for labels in labels_of(data([opaque, see_through, disc()])):
        np.testing.assert_array_equal(labels, disc(1))


def test_masks_without_alpha_are_a_problem_where_alpha_is_declared(data):
    _, problems = scan_dataset(data([in_alpha("LA"), disc(), in_alpha("LA")], {"masks": "alpha"}))
    assert "has no alpha channel" in problems[0]


# Full and odd masks (case 5)


def test_masks_that_are_wholly_foreground_are_named(data):
    full = np.full(SIZE, 255, np.uint8)
    report = check_data(data([disc(), full, disc()]))
    assert "1 of 3 masks have no pixel of background; do they show what they should?: 1 [full-mask]" in report.warnings
    assert "full-mask" in names(data([full] * 3))
    assert "full-mask" not in names(data([disc()] * 3))


def test_a_mask_unlike_the_others_is_named(data):
    masks = [np.roll(disc(), i) for i in range(6)]
    assert "odd-share" not in names(data(masks))
    odd = check_data(data([*masks, 255 - disc()])).warnings
    assert any(
        "1 of 7 masks have a share of foreground (80.9%) far from the others' (median 19.1%)" in one for one in odd
    )
    assert any(one.endswith(": 6 [odd-share]") for one in odd)
    assert "odd-share" not in names(data([disc(), disc(), 255 - disc()]))  # too few to tell which is odd


# Soft edges (case 24) and instances (case 25)


def soft(path):
    Image.fromarray(disc()).save(path, quality=60)


def test_jpeg_masks_are_refused_with_the_threshold_and_read_with_it(data):
    _, problems = scan_dataset(data([soft] * 3, suffix="jpg"))
    assert 'JPEG invents values: say {"masks": {"threshold": 128}} in classes.json' in problems[0]
    labels = labels_of(data([soft] * 3, {"masks": {"threshold": 128}}, suffix="jpg"))
    assert (labels[0] != disc(1)).mean() < 0.02


def test_soft_edges_of_a_png_are_refused_with_the_threshold(data):
    small = Image.fromarray(np.kron(disc(), np.ones((4, 4), np.uint8)))
    edges = small.resize(SIZE[::-1], Image.Resampling.BICUBIC)
    masks = [edges.rotate(20, Image.Resampling.BILINEAR)] * 3
    assert '; soft edges?: say {"masks": {"threshold": 128}}' in scan_dataset(data(masks))[1][0]
    assert (
        labels_of(data(masks, {"masks": {"threshold": 1}}))[0].sum()
        > labels_of(data(masks, {"masks": {"threshold": 250}}))[0].sum()
    )


def test_colour_jpegs_of_grey_masks_are_grey(data):
    def write(path):
        Image.fromarray(np.dstack([disc()] * 3)).save(path, quality=60)

    labels = labels_of(data([write] * 3, {"masks": {"threshold": 128}}, suffix="jpg"))
    assert (labels[0] != disc(1)).mean() < 0.02


def cells(n, dtype):
    mask = np.zeros(SIZE, dtype)
    for i in range(n):
        mask[2 * (i // 9), 2 * (i % 9)] = i + 1
    return mask


@pytest.mark.parametrize(("n", "dtype"), [(30, np.uint8), (40, np.uint16)])
def test_instance_masks_are_refused_by_name_and_read_where_they_are_declared(data, n, dtype):
    masks = [cells(n, dtype) * (20 if dtype == np.uint16 else 1)] * 3
    _, problems = scan_dataset(data(masks))
    assert 'an instance mask? Say {"masks": "instances"} in classes.json' in problems[0]
    labels = labels_of(data(masks, {"masks": "instances"}))
    np.testing.assert_array_equal(labels[0], masks[0] > 0)
    assert read_mask(data(masks).parent / "0_mask.png").max() == masks[0].max()  # identities are kept


def test_instances_in_colours_are_told_from_black(data):
    palette = indexed(disc(3), VOC)
    colours = np.dstack([disc(), disc(9), disc(0)])
    for labels in labels_of(data([palette, colours, disc(1)], {"masks": "instances"})):
        np.testing.assert_array_equal(labels, disc(1))


# Declarations


@pytest.mark.parametrize(
    "declared",
    [
        {"classes": {"0": "background", "1": "a"}, "ignore": 255},
        {"classes": {"0": "background", "1": "a"}, "ignore": None, "masks": "indices"},
        {"classes": {"#000000": "b", "#ff0000": "a"}, "ignore": "#ffffff"},
        {"classes": {"#ffffff": "background", "#000000": "a"}, "ignore": None},
        {"masks": {"threshold": 100}},
        {"masks": "instances"},
        {"masks": "alpha", "classes": {"0": "skin", "1": "lesion"}},
    ],
)
def test_a_declaration_comes_back_from_a_cache(declared):
    classes = Classes.from_dict(declared)
    stored = json.loads(json.dumps(classes.to_dict(), sort_keys=True))
    assert Classes.from_dict(stored) == classes
    assert {*declared} <= {*stored}
    assert len(stored["classes"]) == len(classes.mask_values)


def test_the_background_of_colours_is_the_one_that_is_called_so():
    classes = Classes.from_dict({"classes": {"#000000": "lesion", "#ffffff": "Background"}})
    assert classes.names == ("Background", "lesion")
    assert classes.mask_values == (0, 1)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"classes": {"#ff0000": "a", "#00ff00": "b"}}, "which colour is the background"),
        ({"classes": {"#ff0000": "a", "1": "b"}}, "'1' is a value and '#ff0000' a colour; declare either"),
        ({"classes": {"#ff00": "a", "#000000": "b"}}, "'#ff00' is not a colour"),
        ({"classes": {"#FF0000": "a", "#ff0000": "b"}}, "a colour is declared twice"),
        ({"classes": {"#000000": "a", "#ff0000": "b"}, "ignore": 255}, '"ignore" is 255, not a colour'),
        ({"classes": {"#000000": "a", "#ff0000": "b"}, "ignore": "#FF0000"}, "which is a class too"),
        ({"classes": {"#000000": "a", "#ff0000": "b"}, "masks": "indices"}, '"classes" names colours'),
        ({"masks": "threshold"}, "\"masks\" is 'threshold', not"),
        ({"masks": {"threshold": 0}}, '"threshold" is 0, not a grey level'),
        ({"masks": {"threshold": "128"}}, "\"threshold\" is '128', not a grey level"),
        ({"masks": "instances", "ignore": 255}, '"ignore" is 255'),
        ({"masks": "alpha", "classes": {"1": "a", "2": "b"}}, 'have two classes, "0" and another'),
        ({"masks": "alpha", "classes": {"0": "a", "#ff0000": "b"}}, "declare either"),
    ],
)
def test_malformed_declarations_say_why(declared, said):
    with pytest.raises(DataError) as caught:
        Classes.from_dict(declared)
    assert said in str(caught.value)
    assert 'expected {"classes"' in str(caught.value)


# Float masks (case 27)


def test_float_masks_of_whole_numbers_are_read_from_tiff(data):
    labels = labels_of(data([disc(1, np.float32)] * 3, suffix="tif"))
    np.testing.assert_array_equal(labels[0], disc(1))
    _, problems = scan_dataset(data([disc(1, np.float32) * 0.5] * 3, suffix="tif"))
    assert "holds values that are not whole numbers" in problems[0]
    assert "(of probabilities, mask >= 0.5)" in problems[0]


# Numbers against what viewers show


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
def test_masks_whose_0_is_white_are_read_by_their_numbers_and_named(data, photometric):
    masks = [lambda path: tifffile.imwrite(path, disc(1, bool), photometric=photometric)] * 3
    manifest = data(masks, suffix="tif")
    np.testing.assert_array_equal(labels_of(manifest)[0], disc(1))
    assert names(manifest) == ["white-is-zero"] * (photometric == "miniswhite")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0, 254), '{"classes": {"0": "background", "254": "class 1"}} in classes.json'),
        ((1, 2), '{"classes": {"1": "background", "2": "class 1"}} in classes.json'),
        ((0, 128, 255), '"255": "class 2"}} (with "ignore": 255 in place of its name, if it means not labelled)'),
        ((0, 65535), '"65535": "class 1"'),
        ((-1, 1), "; values below 0 cannot be named"),
    ],
)
def test_few_undeclared_values_are_told_how_to_declare_them_and_nothing_else(data, values, says):
    mask = np.resize(np.array(values, np.int32), SIZE)
    dataset, problems = scan_dataset(data([lambda path: tifffile.imwrite(path, mask)] * 3, suffix="tif"))
    assert says in problems[0]
    assert dataset.warnings == ()


def test_a_background_that_is_not_the_least_value_is_refused(data):
    trimap = {"classes": {"1": "pet", "2": "background"}, "ignore": 3}
    _, problems = scan_dataset(data([disc(1) + 1] * 3, trimap))
    assert "the background is the class of the least value, and that is 'pet'" in problems[0]
