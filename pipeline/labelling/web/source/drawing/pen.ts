/**
 * Mouse, pen and finger on the image. With a drawing tool the first button draws and the others move the image; two
 * fingers move and zoom it. With the hand everything moves it.
 */
import type OpenSeadragon from "openseadragon";
import type { Point } from "../api/wire";
import type { Desk } from "../state/desk";
import type { Viewer } from "../viewer/viewer";
import { isFar, type PendingStroke } from "./pending";
import type { Polygon } from "./polygon";
import type { Strokes } from "./strokes";

const LONGEST_STROKE = 2_000;
/** Distance of a stroke's points, in pixels of the screen: nearer ones say nothing new. */
const STEP = 1.2;

export class Pen {
  readonly #desk: Desk;
  readonly #viewer: Viewer;
  readonly #strokes: Strokes;
  readonly #polygon: Polygon;
  #stroke: (PendingStroke & { points: Point[] }) | null = null;
  #panning: { x: number; y: number } | null = null;

  constructor(desk: Desk, viewer: Viewer, strokes: Strokes, polygon: Polygon) {
    this.#desk = desk;
    this.#viewer = viewer;
    this.#strokes = strokes;
    this.#polygon = polygon;
    const { osd } = viewer;
    osd.addHandler("canvas-press", (event) => this.#press(event));
    osd.addHandler("canvas-drag", (event) => this.#drag(event));
    osd.addHandler("canvas-drag-end", (event) => {
      if (this.#mayDraw) event.preventDefaultAction = true; // A stroke must not throw the image.
    });
    osd.addHandler("canvas-release", () => this.#release());
    osd.addHandler("canvas-pinch", () => this.#cancel());
    osd.addHandler("canvas-click", (event) => this.#click(event));
    osd.addHandler("canvas-double-click", () => this.#polygon.close());
    osd.canvas.addEventListener("pointerdown", (event) => this.#beginPan(event));
    osd.canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    window.addEventListener("pointermove", (event) => this.#pan(event));
    window.addEventListener("pointerup", () => (this.#panning = null));
  }

  /** Whether the image that is open can be drawn on. */
  get #mayDraw(): boolean {
    return this.#desk.tool.value !== "move" && !this.#desk.open.locked && this.#viewer.osd.isOpen();
  }

  #pointOf(event: { originalEvent: Event }): Point | null {
    const { clientX, clientY } = event.originalEvent as PointerEvent;
    return this.#viewer.imagePoint(clientX, clientY);
  }

  #press(event: OpenSeadragon.CanvasPressEvent): void {
    const tool = this.#desk.tool.value;
    if (!this.#mayDraw || (tool !== "brush" && tool !== "eraser")) return;
    const pointer = event.originalEvent as PointerEvent;
    if (pointer.button > 0 || !pointer.isPrimary) return;
    const point = this.#pointOf(event);
    if (point === null) return;
    const points: Point[] = [point];
    this.#stroke = Object.assign(this.#strokes.begin(tool, points), { points });
  }

  #drag(event: OpenSeadragon.CanvasDragEvent): void {
    if (this.#mayDraw) event.preventDefaultAction = true;
    if (this.#stroke === null) return;
    const pointer = event.originalEvent as PointerEvent;
    const moves = pointer.getCoalescedEvents?.() ?? [];
    for (const move of moves.length > 0 ? moves : [pointer]) this.#extend(move);
    this.#viewer.redraw();
  }

  #extend({ clientX, clientY }: PointerEvent): void {
    const stroke = this.#stroke;
    const point = this.#viewer.imagePoint(clientX, clientY);
    if (stroke === null || point === null) return;
    const pixel = (STEP * window.devicePixelRatio) / (this.#viewer.frame?.scale ?? 1);
    if (!isFar(stroke.points, point, pixel)) return;
    stroke.points.push(point);
    if (stroke.points.length < LONGEST_STROKE) return;
    // A very long stroke goes in pieces, each of which begins where the last one ended.
    this.#strokes.finish(stroke);
    const points = [point];
    this.#stroke = Object.assign(this.#strokes.begin(stroke.tool, points), { points });
  }

  #release(): void {
    if (this.#stroke !== null) this.#strokes.finish(this.#stroke);
    this.#stroke = null;
  }

  /** A second finger came: the stroke was none. */
  #cancel(): void {
    if (this.#stroke !== null) this.#strokes.cancel(this.#stroke);
    this.#stroke = null;
  }

  #click(event: OpenSeadragon.CanvasClickEvent): void {
    const point = this.#pointOf(event);
    if (!this.#mayDraw || !event.quick || point === null) return;
    const tool = this.#desk.tool.value;
    if (tool === "polygon") this.#polygon.add(point);
    if (tool === "bucket") this.#strokes.finish(this.#strokes.begin("bucket", [point]));
  }

  #beginPan(event: PointerEvent): void {
    if (event.button === 1 || event.button === 2) this.#panning = { x: event.clientX, y: event.clientY };
  }

  #pan(event: PointerEvent): void {
    if (this.#panning === null) return;
    this.#viewer.pan(this.#panning.x - event.clientX, this.#panning.y - event.clientY);
    this.#panning = { x: event.clientX, y: event.clientY };
  }
}
