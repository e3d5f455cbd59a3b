"""Learning: a mask after Enter, after each stroke with L, with other texts; suggestions and exports."""

import re

import numpy as np
import pytest
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def draw_both_classes(desk):
    desk.wait_ready()
    desk.page.keyboard.press("1")
    desk.stroke((30, 40), (50, 40))
    desk.page.keyboard.press("0")
    desk.stroke((80, 90), (110, 90))
    desk.wait_saved()


def set_continuous(desk, wanted):
    shown = f"#continuous[aria-pressed={str(wanted).lower()}]"
    if desk.page.locator(shown).count() == 0:
        desk.page.keyboard.press("l")
    desk.page.wait_for_selector(shown)


def wait_mask(desk, timeout=20_000):
    """Wait until a mask knows the newest labels, and something of it is shown."""
    desk.page.wait_for_function(
        """() => {
            const canvas = document.getElementById("under");
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            return document.getElementById("stale").hidden && pixels.some((value) => value > 0);
        }""",
        timeout=timeout,
    )


def test_enter_trains_once_and_later_strokes_make_the_mask_stale(open_desk):
    desk = open_desk(6)
    set_continuous(desk, False)
    draw_both_classes(desk)
    desk.page.keyboard.press("Enter")
    desk.wait_text("learner-line", r"\d pixels of \d+ images?.* in [\d.]+ s", timeout_s=30)
    wait_mask(desk)
    desk.stroke((90, 110), (110, 110))
    desk.page.wait_for_selector("#stale:visible")
    desk.page.keyboard.press("Enter")
    wait_mask(desk)
    desk.page.keyboard.press("m")
    desk.page.wait_for_function(
        """() => {
            const canvas = document.getElementById("under");
            return !canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one > 0);
        }"""
    )
    desk.page.keyboard.press("m")


def test_continuous_learning_follows_each_stroke(open_desk):
    desk = open_desk(6)
    set_continuous(desk, True)
    draw_both_classes(desk)
    wait_mask(desk)
    line = desk.page.locator("#learner-line").text_content()
    desk.stroke((20, 110), (40, 110))
    desk.page.wait_for_function("(line) => document.getElementById('learner-line').textContent !== line", arg=line)
    wait_mask(desk)
    set_continuous(desk, False)


def test_masks_of_other_texts_and_the_effect_of_words(open_desk):
    desk = open_desk(6)
    draw_both_classes(desk)
    desk.page.keyboard.press("Enter")
    wait_mask(desk)
    with desk.page.expect_response(re.compile(r"/mask/none/")):
        desk.page.keyboard.press("v")
    assert desk.page.is_checked("#variant-none")
    desk.page.keyboard.press("v")
    with desk.page.expect_response("**/api/preview") as preview:
        desk.page.fill("#other-text", "Round nuclei are meant.")
    assert preview.value.ok
    desk.page.check("#variant-own", force=True)
    desk.page.click("#words-ask")
    desk.page.wait_for_selector("#words .word", timeout=30_000)
    words = re.findall(r"\w+", desk.page.input_value("#image-text"))
    marked = desk.page.locator("#words .word").evaluate_all("(all) => all.map((one) => one.firstChild.data)")
    assert [word for one in marked for word in re.findall(r"\w+", one)] == words


def test_the_bucket_takes_an_object_of_the_mask(open_desk):
    desk = open_desk(6)
    draw_both_classes(desk)
    desk.page.keyboard.press("Enter")
    wait_mask(desk)
    before = desk.facts()["n_strokes"]
    desk.page.keyboard.press("g")
    desk.click(100, 60)
    desk.wait_saved()
    desk.wait_shown("over", 100, 60)
    assert desk.facts()["n_strokes"] == before + 1


def test_the_next_image_is_suggested_with_a_reason(open_desk):
    desk = open_desk(6)
    draw_both_classes(desk)
    desk.page.keyboard.press("Enter")
    wait_mask(desk)
    desk.page.keyboard.press("n")
    desk.wait_text("notices", r"^Next: \S+: .{10}")
    assert desk.page.evaluate("location.hash") != "#image-6"


def test_export_says_what_is_missing_and_how_far_it_is(open_desk):
    draw_both_classes(open_desk(6))
    desk = open_desk(7)
    draw_both_classes(desk)
    desk.page.click("#export")
    desk.page.click("#export-masks")
    desk.wait_text("export-line", "no trained run to predict masks with; export a run first", timeout_s=30)
    desk.page.click("#export-run")
    # The training itself takes minutes; it begins with the data set as it is drawn.
    desk.wait_text("export-line", "^textdiff (cache export|extract-features)", timeout_s=30)
    assert desk.page.locator("#export-bar").is_visible()
    assert desk.page.locator("#export-run").is_disabled()
    (mask,) = (desk.labelling.out / "masks").glob(f"*{desk.facts()['id']}*.png")
    assert {*np.unique(Image.open(mask))} == {0, 1, 255}
