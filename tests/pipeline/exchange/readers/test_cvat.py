"""CVAT's XML for images, and its folders of coloured masks."""

import numpy as np
import pytest
from PIL import Image

from textdiff.errors import DataError
from textdiff.pipeline.exchange.importing import is_export, read_annotations

SIZE = (8, 10)
LABELS = "<label><name>tumour</name><color>#ff0010</color></label><label><name>stroma</name></label>"
SQUARE = np.zeros(SIZE, bool)
SQUARE[1:5, 1:5] = True


def shape(tag, label="tumour", **attributes):
    return f'<{tag} label="{label}" ' + " ".join(f'{key}="{value}"' for key, value in attributes.items()) + "/>"


SHAPES = {
    "polygon": shape("polygon", points="1.00,1.00;5.00,1.00;5.00,5.00;1.00,5.00", z_order=0),
    "box": shape("box", xtl=1, ytl=1, xbr=5, ybr=5),
    "turned box": shape("box", xtl=1, ytl=1, xbr=5, ybr=5, rotation=90.0),
    "mask": shape("mask", rle="1, 4, 1, 4, 1, 4, 1, 4", left=0, top=1, width=5, height=4),
}


@pytest.fixture
def read(tmp_path):
    def read(*shapes, image='name="a.png" width="10" height="8"', labels=LABELS, sizes=None):
        meta = f"<version>1.1</version><meta><task><labels>{labels}</labels></task></meta>"
        text = (
            f'<?xml version="1.0"?>\n<annotations>{meta}<image id="0" {image}>{"".join(shapes)}</image></annotations>'
        )
        (tmp_path / "annotations.xml").write_text(text)
        return read_annotations(tmp_path, sizes or {"a.png": SIZE})

    return read


@pytest.mark.parametrize("kind", SHAPES)
def test_areas_of_each_kind_are_drawn(read, kind):
    found = read(SHAPES[kind])
    assert found.classes == {0: "background", 1: "tumour", 2: "stroma"}
    assert found.colours == {1: (255, 0, 16)}
    np.testing.assert_array_equal(found.draw("a.png").mask, SQUARE)


def test_an_ellipse_is_drawn(read):
    drawn = read(shape("ellipse", "stroma", cx=5, cy=4, rx=4, ry=2, rotation=0)).draw("a.png")
    assert (drawn.mask == 2).sum(1).tolist() == [0, 0, 6, 8, 8, 6, 0, 0]


def test_a_higher_layer_lies_on_top_though_it_is_larger(read):
    small = shape("box", "stroma", xtl=2, ytl=2, xbr=3, ybr=3, z_order=0)
    large = shape("box", "tumour", xtl=0, ytl=0, xbr=9, ybr=8, z_order=1)
    assert (read(large, small).draw("a.png").mask == 2).sum() == 0
    assert (read(large.replace('z_order="1"', ""), small).draw("a.png").mask == 2).sum() == 1


def test_points_and_lines_are_named(read):
    found = read(SHAPES["box"], shape("points", points="1,1"), shape("polyline", points="1,1;2,2"), shape("strange"))
    assert found.left_out == (
        "a.png: 1 annotations of the kind 'points' cover no area and are left out",
        "a.png: 1 annotations of the kind 'polyline' cover no area and are left out",
        "a.png: 1 annotations of the kind 'strange' are not known and are left out",
    )


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (shape("polygon", points="1,1;2,2"), "annotation 1, a polygon: corners have the shape"),
        (shape("polygon"), "annotation 1, a polygon: corners"),
        (shape("box", xtl="x"), "annotation 1, a box: xtl is 'x', not a number"),
        (shape("box", xtl="nan"), "annotation 1, a box: xtl is nan"),
        (shape("mask", rle="1, 4", left=0, top=0, width=5, height=4), "runs are of 5 pixels, 4 x 5 are 20"),
        (shape("mask", rle="-1", left=0, top=0, width=5, height=4), "lengths of runs are not whole numbers"),
        (shape("mask", rle="9", left=0, top=0, width=10**9, height=10**9), "at most"),
    ],
)
def test_a_broken_annotation_leaves_its_image_out_by_name(read, bad, reason):
    found = read(bad)
    assert found.images == {}
    assert reason in found.left_out[0]


def test_an_image_of_another_size_is_left_out(read):
    found = read(image='name="a.png" width="20" height="8"')
    assert found.left_out == ("a.png: drawn on 8 x 20 pixels; the image has 8 x 10",)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "declares entities"),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><annotations>&b;</annotations>', "declares entities"),
        ("<annotations>", "is not XML"),
        ("<svg/>", "is not CVAT's XML for images"),
        ("<annotations><track/></annotations>", "of a video"),
        ("<a>" * 100_000, "is not XML"),
        ('<?xml version="1.0" encoding="nonsense"?><a/>', "is not XML"),
        ("PK\x03\x04", "is an archive; unpack it"),
    ],
)
def test_what_is_not_cvats_is_refused(tmp_path, text, reason):
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_annotations(tmp_path / "annotations.xml", {})


@pytest.fixture
def coloured(tmp_path):
    """An export as segmentation masks: a class of each row, objects by columns."""
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\ntumour:250,50,83::\nstroma:51,221,255:arm,leg:\n"
    )
    classes, objects = np.zeros((*SIZE, 3), np.uint8), np.zeros((*SIZE, 3), np.uint8)
    classes[1], classes[2] = (250, 50, 83), (51, 221, 255)
    objects[1:3, :5], objects[1:3, 5:] = (0, 0, 128), (0, 128, 0)
    for folder, pixels in (("SegmentationClass", classes), ("SegmentationObject", objects)):
        (tmp_path / folder / "sub").mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / folder / "sub" / "a.png")
    return tmp_path


def test_colours_mean_what_the_table_says(coloured):
    found = read_annotations(coloured, {"sub/a.jpg": SIZE, "other/a.jpg": SIZE})
    assert found.classes == {0: "background", 1: "tumour", 2: "stroma"}
    assert found.colours == {0: (0, 0, 0), 1: (250, 50, 83), 2: (51, 221, 255)}
    mask = found.draw("sub/a.jpg").mask
    assert mask[:, 0].tolist() == [0, 1, 2, 0, 0, 0, 0, 0]
    assert found.draw_objects("sub/a.jpg").mask[1].tolist() == [1] * 5 + [2] * 5


def test_a_palette_is_its_colours(coloured):
    path = coloured / "SegmentationClass" / "sub" / "a.png"
    Image.open(path).quantize(3).save(path)
    assert read_annotations(coloured, {"a.jpg": SIZE}).draw("a.jpg").mask[:3, 0].tolist() == [0, 1, 2]


def test_a_colour_without_class_is_refused(coloured):
    text = (coloured / "labelmap.txt").read_text()
    (coloured / "labelmap.txt").write_text(text.replace("51,221,255", "51,221,254"))
    with pytest.raises(DataError, match=r"1 colours that labelmap.txt does not name: \(51, 221, 255\)"):
        read_annotations(coloured, {"a.png": SIZE}).draw("a.png")


@pytest.mark.parametrize("line", ["tumour", "tumour:1,2::", "tumour:1,2,300::", "x:0,0,0::", "background:1,2,3::"])
def test_a_malformed_table_of_colours_is_refused(coloured, line):
    (coloured / "labelmap.txt").write_text(f"background:0,0,0::\n{line}\n")
    with pytest.raises(DataError, match="no table of classes and colours"):
        read_annotations(coloured, {})


def test_exports_are_told_from_folders_of_masks(coloured, tmp_path_factory):
    plain = tmp_path_factory.mktemp("masks")
    Image.new("L", (3, 3)).save(plain / "a.png")
    assert is_export(coloured)
    assert not is_export(plain)
    (plain / "annotations").mkdir()
    (plain / "annotations" / "instances.json").write_text("{}")
    assert is_export(plain)
