/** The way of a stroke: shown at once, sent in order, shown from the server's tiles in the end. */
import type { Answer, Message, Outbox } from "../api/outbox";
import type { Saved, StrokeBody, Undone } from "../api/wire";
import type { Desk } from "../state/desk";
import type { Overlay } from "../viewer/overlay";
import { type PendingStroke, PendingStrokes } from "./pending";

export class Strokes {
  readonly pending: PendingStrokes;
  readonly #desk: Desk;
  #overlay!: Overlay;
  #outbox!: Outbox;

  constructor(desk: Desk, pending: PendingStrokes) {
    this.#desk = desk;
    this.pending = pending;
  }

  /** Say where strokes are shown and how they are sent; what was not sent before a reload is shown again. */
  connect(overlay: Overlay, outbox: Outbox): void {
    this.#overlay = overlay;
    this.#outbox = outbox;
    for (const { path, body } of outbox.waiting) {
      if (path === "/api/strokes") this.pending.add({ ...(body as unknown as StrokeBody), version: null, undone: false });
    }
  }

  /** Begin a stroke with the tool in hand: it is shown as it grows, and sent by `finish`. */
  begin(tool: StrokeBody["tool"], points: PendingStroke["points"]): PendingStroke {
    const desk = this.#desk;
    const stroke: PendingStroke = {
      key: null,
      image: desk.image.value,
      tool,
      class: tool === "eraser" ? null : desk.labelClass.value,
      size: desk.brushSize.value,
      points,
      variant: desk.variant.value,
      version: null,
      undone: false,
    };
    this.pending.add(stroke);
    this.#overlay.redraw();
    return stroke;
  }

  finish(stroke: PendingStroke): void {
    const { image, tool, class: labelClass, size, points, variant } = stroke;
    stroke.key = this.#outbox.post("/api/strokes", { image, tool, class: labelClass, size, points, variant });
    this.#overlay.redraw();
  }

  cancel(stroke: PendingStroke): void {
    stroke.undone = true;
    this.#overlay.redraw();
  }

  undo(): void {
    const image = this.#desk.image.value;
    this.pending.undo(image);
    this.#outbox.post("/api/undo", { image });
    this.#overlay.redraw();
  }

  redo(): void {
    this.#outbox.post("/api/redo", { image: this.#desk.image.value });
  }

  /** Take the server's answer to a stroke, an undo or a redo. */
  answered({ path, body }: Message, answer: Answer): void {
    if ("refused" in answer) {
      this.pending.drop(body.key);
    } else if (path === "/api/strokes") {
      const { version, box } = answer.saved as Saved;
      this.pending.saved(body.key, version);
      this.changed(body["image"] as number, version, box);
    } else if (path === "/api/undo" || path === "/api/redo") {
      const { undone, image, version, box } = answer.saved as Undone;
      this.pending.drop(undone);
      this.changed(image, version, box);
    }
    this.#overlay.redraw();
  }

  /** The server's labels changed, by this tab or by another. */
  changed(image: number, version: number, box: Saved["box"]): void {
    this.#desk.labelsChanged(image, version);
    this.#overlay.tiles.changed(image, ["labels"], null, version, box);
    this.#overlay.redraw();
  }
}
