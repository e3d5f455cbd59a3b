"""Drawing: shown at once, saved in order, and kept through reloads, lost connections and other tabs."""

import re

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_stroke_is_shown_at_once_and_saved_behind_the_pen(open_desk):
    desk, held = open_desk(0), []

    def hold(route):
        held.append(route)

    desk.page.route("**/api/strokes", hold)
    desk.stroke((40, 40), (80, 60))
    desk.stroke((40, 90), (80, 100))  # the pen waits for nobody
    assert desk.shown("over", 60, 50)[3] > 0
    assert desk.shown("over", 60, 95)[3] > 0
    desk.wait_text("saving", "^Saving…$")
    desk.page.wait_for_timeout(300)
    assert len(held) == 1  # in order: the second goes when the first is answered
    assert desk.facts()["n_strokes"] == 0
    with desk.page.expect_request("**/api/strokes"):
        held[0].continue_()
    desk.page.wait_for_timeout(50)
    held[1].continue_()
    desk.wait_saved()
    assert desk.facts()["n_strokes"] == 2
    desk.page.wait_for_timeout(400)
    red, green, blue, opacity = desk.shown("over", 60, 50)
    assert opacity > 0
    colour = desk.labelling.session()["classes"][1]["colour"]
    assert max(abs(int(colour[1 + 2 * i :][:2], 16) - one) for i, one in enumerate((red, green, blue))) < 8
    assert desk.shown("over", 60, 110)[3] == 0


def test_undo_and_redo_go_on_after_a_reload(open_desk):
    desk = open_desk(1)
    for row in (30, 60, 90):
        desk.stroke((30, row), (90, row))
    desk.page.keyboard.press("Control+z")
    desk.wait_shown("over", 60, 90, False)
    desk.wait_saved()
    desk.reload()
    desk.wait_shown("over", 60, 60)
    desk.page.keyboard.press("Control+z")
    desk.wait_shown("over", 60, 60, False)
    desk.page.keyboard.press("Control+Shift+z")
    desk.page.keyboard.press("Control+Shift+z")
    desk.wait_shown("over", 60, 60)
    desk.wait_shown("over", 60, 90)
    desk.page.click("#undo")
    desk.wait_shown("over", 60, 90, False)
    desk.wait_saved()
    assert desk.facts()["n_strokes"] == 2


def test_what_cannot_be_sent_is_kept_and_sent_once_when_the_server_is_back(open_desk):
    desk, warned = open_desk(2), []
    desk.page.on("dialog", lambda dialog: (warned.append(dialog.type), dialog.accept()))
    desk.page.route("**/api/strokes", lambda route: route.abort())
    desk.stroke((30, 30), (90, 30))
    desk.stroke((30, 70), (90, 70))
    desk.wait_text("saving", "^Offline: kept here")
    desk.reload()
    assert warned == ["beforeunload"]
    assert desk.shown("over", 60, 70)[3] > 0
    assert desk.facts()["n_strokes"] == 0
    desk.page.unroute("**/api/strokes")
    desk.wait_saved()
    desk.reload()
    assert warned == ["beforeunload"]
    assert desk.facts()["n_strokes"] == 2
    desk.wait_shown("over", 60, 70)


def test_an_answer_that_is_lost_does_not_double_a_stroke(open_desk):
    desk, lost = open_desk(2), []

    def lose(route):
        lost.append(route.fetch().status)
        route.abort()

    before = desk.facts()["n_strokes"]
    desk.page.route("**/api/strokes", lose, times=1)
    desk.stroke((30, 110), (90, 110))
    desk.wait_text("saving", "^Offline")
    desk.wait_saved()
    assert lost == [200]
    assert desk.facts()["n_strokes"] == before + 1


def test_tabs_are_kept_in_step(open_desk):
    first, second = open_desk(3), open_desk(3)
    first.stroke((40, 40), (80, 40))
    second.wait_shown("over", 60, 40)
    second.page.fill("#image-text", "Round nuclei are meant.")
    second.page.keyboard.press("Control+Enter")
    first.page.wait_for_function("() => document.getElementById('image-text').value === 'Round nuclei are meant.'")
    second.page.keyboard.press("Escape")
    second.page.keyboard.press("Control+z")
    first.wait_shown("over", 60, 40, False)


def test_eraser_polygon_and_sizes(open_desk):
    desk = open_desk(4)
    desk.page.keyboard.press("p")
    for corner in ((30, 30), (100, 30), (100, 100), (30, 100)):
        desk.click(*corner)
    desk.page.keyboard.press("Enter")
    desk.wait_shown("over", 64, 64)
    desk.wait_saved()
    desk.page.keyboard.press("e")
    before = int(re.match(r"\d+", desk.page.locator("#brush-size-shown").text_content())[0])
    desk.page.keyboard.press("]")
    after = int(re.match(r"\d+", desk.page.locator("#brush-size-shown").text_content())[0])
    assert after > before
    ring = desk.page.locator("#cursor")
    desk.stroke((60, 64), (70, 64))
    scale = desk.place(1, 0)[0] - desk.place(0, 0)[0]
    assert ring.bounding_box()["width"] == pytest.approx(after * scale, abs=1)
    desk.wait_shown("over", 64, 64, False)
    assert desk.shown("over", 40, 40)[3] > 0
    desk.wait_saved()
    assert desk.facts()["n_strokes"] == 2


def test_the_space_bar_bares_the_image_while_it_is_held(open_desk):
    desk = open_desk(4)
    desk.stroke((20, 115), (50, 115))
    desk.page.keyboard.down(" ")
    desk.wait_shown("over", 35, 115, False)
    desk.page.keyboard.up(" ")
    desk.wait_shown("over", 35, 115)
    desk.wait_saved()


def test_a_second_finger_makes_no_stroke(open_desk):
    desk = open_desk(5)
    before = desk.facts()["n_strokes"]
    (x, y), session = desk.place(64, 64), desk.page.context.new_cdp_session(desk.page)

    def touch(kind, *points):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})

    zoom = desk.page.locator("#zoom-shown").text_content()
    touch("touchStart", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for step in range(1, 8):
        touch("touchMove", (x - 30 - 12 * step, y), (x + 30 + 12 * step, y))
    touch("touchEnd")
    desk.page.wait_for_function("(zoom) => document.getElementById('zoom-shown').textContent !== zoom", arg=zoom)
    desk.page.wait_for_timeout(200)
    assert desk.facts()["n_strokes"] == before
    desk.page.keyboard.press("f")
    desk.page.wait_for_timeout(200)
    touch("touchStart", (x, y))
    for step in range(1, 8):
        touch("touchMove", (x + 6 * step, y))
    touch("touchEnd")
    desk.wait_shown("over", 66, 64)
    desk.wait_saved()
    assert desk.facts()["n_strokes"] == before + 1
