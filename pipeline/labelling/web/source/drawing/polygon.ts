/** A polygon in progress: corners by clicks, closed by a double click, Enter or a click on the first corner. */
import type { Point } from "../api/wire";
import type { Overlay } from "../viewer/overlay";
import type { Viewer } from "../viewer/viewer";
import type { Strokes } from "./strokes";

/** Distance from the first corner, in pixels of the screen, at which a click closes the polygon. */
const REACH = 10;

export class Polygon {
  #points: readonly Point[] = [];

  constructor(
    readonly viewer: Viewer,
    readonly overlay: Overlay,
    readonly strokes: Strokes,
  ) {}

  get isOpen(): boolean {
    return this.#points.length > 0;
  }

  add(point: Point): void {
    const first = this.#points[0];
    const reach = (REACH * window.devicePixelRatio) / (this.viewer.frame?.scale ?? 1);
    if (first !== undefined && Math.hypot(first[0] - point[0], first[1] - point[1]) <= reach) {
      if (this.#points.length > 2) this.close();
      return;
    }
    this.#show([...this.#points, point]);
  }

  removeLast(): void {
    this.#show(this.#points.slice(0, -1));
  }

  drop(): void {
    this.#show([]);
  }

  /** Send it; fewer than three corners are none. */
  close(): void {
    const points = this.#points;
    this.#show([]);
    if (points.length > 2) this.strokes.finish(this.strokes.begin("polygon", points));
  }

  #show(points: readonly Point[]): void {
    this.#points = points;
    this.overlay.outline = points;
    this.overlay.redraw();
  }
}
