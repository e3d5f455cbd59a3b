/** The page is put together here: the session is fetched, the parts are made, events are passed on. */
import { Live } from "./api/live";
import { type Answer, type Message, Outbox } from "./api/outbox";
import { getJson, postJson } from "./api/requests";
import type { LiveEvent, SessionInfo } from "./api/wire";
import { afterPause, byId } from "./base/dom";
import { watchAll } from "./base/signal";
import { Cursor } from "./drawing/cursor";
import { Pen } from "./drawing/pen";
import { PendingStrokes } from "./drawing/pending";
import { Polygon } from "./drawing/polygon";
import { Strokes } from "./drawing/strokes";
import { Help } from "./keys/help";
import { setUpKeyboard } from "./keys/keyboard";
import { keyTable } from "./keys/table";
import { ClassList } from "./panels/class_list";
import { Export } from "./panels/export";
import { ImageList } from "./panels/image_list";
import { ImageText } from "./panels/image_text";
import { setUpLayerPanel } from "./panels/layer_panel";
import { Learning } from "./panels/learning";
import { setUpLock } from "./panels/lock";
import { Notices } from "./panels/notices";
import { setUpFoot, setUpStatus } from "./panels/status";
import { setUpToolBar } from "./panels/tool_bar";
import { setUpWordEffects } from "./panels/word_effects";
import { Desk } from "./state/desk";
import { Masks } from "./state/masks";
import { keepPreferences } from "./state/preferences";
import { Overlay } from "./viewer/overlay";
import { Viewer } from "./viewer/viewer";

const LOOK_PAUSE_MS = 150;

class Page {
  readonly #notices = new Notices();
  readonly #masks = new Masks();
  readonly #desk: Desk;
  readonly #viewer = new Viewer(byId("viewer", HTMLElement));
  readonly #strokes: Strokes;
  readonly #overlay: Overlay;
  readonly #outbox: Outbox;
  readonly #export: Export;

  constructor(session: SessionInfo) {
    const desk = (this.#desk = new Desk(session));
    keepPreferences(desk);
    const pending = new PendingStrokes();
    this.#strokes = new Strokes(desk, pending);
    const canvases = { under: byId("under", HTMLCanvasElement), over: byId("over", HTMLCanvasElement) };
    this.#overlay = new Overlay(desk, pending, canvases, () => this.#viewer.redraw());
    this.#outbox = new Outbox(`${desk.out} ${desk.annotator}`, (message, answer) => this.#answered(message, answer));
    this.#strokes.connect(this.#overlay, this.#outbox);
    this.#export = new Export(desk, this.#notices);
    this.#setUpPanels();
    this.#followImage();
    new Live(this.#listener());
  }

  #setUpPanels(): void {
    const [desk, viewer, outbox, notices] = [this.#desk, this.#viewer, this.#outbox, this.#notices];
    const polygon = new Polygon(viewer, this.#overlay, this.#strokes);
    const learning = new Learning(desk, this.#masks, outbox, notices);
    const text = new ImageText(desk, outbox, notices);
    const list = new ImageList(desk);
    const help = new Help();
    new Pen(desk, viewer, this.#strokes, polygon);
    const cursor = new Cursor(desk, viewer, byId("cursor", HTMLElement));
    new ClassList(desk, outbox);
    setUpToolBar(desk, this.#strokes, viewer);
    setUpLayerPanel(desk, viewer);
    setUpWordEffects(desk, notices);
    setUpStatus(desk, outbox.saving);
    setUpFoot(desk, viewer);
    setUpLock(desk, outbox);
    const bindings = keyTable({ desk, viewer, strokes: this.#strokes, polygon, list, learning, text, help });
    help.list(bindings);
    setUpKeyboard(desk, bindings);
    watchAll([desk.image, desk.tool], () => polygon.drop());
    viewer.onFrame((frame) => {
      this.#overlay.draw(frame);
      cursor.show();
    });
  }

  /** Show the image that is open, and tell the server what of it is in view. */
  #followImage(): void {
    const [desk, viewer] = [this.#desk, this.#viewer];
    const look = afterPause(LOOK_PAUSE_MS, () => {
      const frame = viewer.frame;
      if (frame?.box == null || frame.image.locked || !viewer.osd.isOpen()) return;
      const body = { image: frame.image.image, box: frame.box, variant: desk.variant.value };
      // A hint and no more: a head that does not know where one looks learns all the same.
      postJson("/api/look", body).catch(() => undefined);
    });
    viewer.osd.addHandler("animation-finish", look);
    viewer.osd.addHandler("open", look);
    desk.variant.changed(look);
    desk.image.watch((image) => {
      history.replaceState(null, "", `#image-${image}`);
      viewer.open(desk.open);
    });
    desk.images.changed(() => viewer.renew(desk.open));
  }

  #answered(message: Message, answer: Answer): void {
    if ("refused" in answer) this.#notices.problem(answer.refused.message);
    this.#strokes.answered(message, answer);
    if (message.path === "/api/unlock") void this.#refresh();
  }

  async #refresh(): Promise<void> {
    this.#desk.refresh(await getJson<SessionInfo>("/api/session"));
    this.#overlay.tiles.changedEverywhere();
    this.#viewer.redraw();
  }

  #listener(): ConstructorParameters<typeof Live>[0] {
    let isFirst = true;
    return {
      heard: (event) => this.#heard(event),
      connected: () => {
        this.#desk.online.set(true);
        this.#outbox.sendNow();
        if (!isFirst) void this.#notices.attempt(() => this.#refresh());
        isFirst = false;
      },
      disconnected: () => this.#desk.online.set(false),
    };
  }

  #heard(event: LiveEvent): void {
    const desk = this.#desk;
    switch (event.type) {
      case "labels":
        return this.#strokes.changed(event.image, event.version, event.box);
      case "mask":
        this.#masks.take(event);
        if (event.variant === "own" && event.uncertainty != null) {
          desk.changeImage(event.image, { uncertainty: event.uncertainty });
        }
        this.#overlay.tiles.changed(event.image, ["mask", "uncertainty"], event.variant, event.version, event.box);
        return this.#viewer.redraw();
      case "picture":
        return this.#viewer.reload(event.image);
      case "image":
        return desk.changeImage(event.image, event);
      case "classes":
        return desk.classes.set(event.classes);
      case "cache":
        return desk.cache.set(event);
      case "history":
        return desk.history.set(event);
      case "learner":
        return desk.learner.set(event);
      case "learnt":
        return desk.learner.update((learner) => ({ ...learner, line: event.line }));
      case "export":
        return this.#export.show(event);
      case "problem":
        return this.#notices.problem(event.text);
    }
  }
}

async function begin(): Promise<void> {
  try {
    new Page(await getJson<SessionInfo>("/api/session"));
    document.body.dataset["ready"] = "yes";
  } catch (error) {
    const problem = byId("start-problem", HTMLElement);
    problem.hidden = false;
    problem.textContent = error instanceof Error ? error.message : String(error);
    throw error;
  }
}

void begin();
