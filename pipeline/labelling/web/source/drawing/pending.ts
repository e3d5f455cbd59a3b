/** Strokes that were drawn here and are not in the server's tiles yet: the page shows them at once. */
import type { Box, Point, StrokeBody } from "../api/wire";

export interface PendingStroke extends Omit<StrokeBody, "key"> {
  /** Null while it is being drawn. */
  key: string | null;
  /** Of the labels that hold it; null until the server has answered. */
  version: number | null;
  /** Undone before the server had it. */
  undone: boolean;
}

/** What a stroke may change. */
export function boxOf({ points, size, tool }: Pick<StrokeBody, "points" | "size" | "tool">): Box {
  const margin = tool === "polygon" ? 1 : size / 2 + 1;
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  const left = Math.floor(min(xs) - margin);
  const top = Math.floor(min(ys) - margin);
  return [top, left, Math.ceil(max(ys) + margin) - top, Math.ceil(max(xs) + margin) - left];
}

// Math.min(...) of a long stroke would overflow the stack.
function min(values: readonly number[]): number {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function max(values: readonly number[]): number {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

export class PendingStrokes {
  #strokes: PendingStroke[] = [];

  add(stroke: PendingStroke): void {
    this.#strokes.push(stroke);
  }

  /** Those to be shown above the tiles of an image, oldest first. */
  of(image: number): readonly PendingStroke[] {
    return this.#strokes.filter((stroke) => stroke.image === image && !stroke.undone);
  }

  saved(key: string, version: number): void {
    for (const stroke of this.#strokes) if (stroke.key === key) stroke.version = version;
  }

  drop(key: string | null): void {
    this.#strokes = this.#strokes.filter((stroke) => stroke.key !== key);
  }

  /** Hide the newest stroke of the image that is still shown from here. */
  undo(image: number): void {
    const newest = this.of(image).at(-1);
    if (newest !== undefined) newest.undone = true;
  }

  /** Forget the strokes that the tiles show by now. */
  settle(isShown: (stroke: PendingStroke, version: number) => boolean): void {
    this.#strokes = this.#strokes.filter((stroke) => stroke.version === null || !isShown(stroke, stroke.version));
  }
}

/** Whether a new point is far enough (in pixels of the image) from the last one to matter. */
export function isFar(points: readonly Point[], [x, y]: Point, distance: number): boolean {
  const last = points.at(-1);
  return last === undefined || Math.hypot(x - last[0], y - last[1]) >= distance;
}
