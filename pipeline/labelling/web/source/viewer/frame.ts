/** Where the image lies on the screen in one frame, and which tiles are in view. */
import { type Box, type ImageInfo, type Point, TILE } from "../api/wire";

export class Frame {
  /**
   * @param image the image.
   * @param scale device pixels a pixel of the image.
   * @param left device pixels from the canvas's left edge to the image's; negative where it lies beyond it.
   * @param top likewise from the upper edge.
   * @param width of the canvas, in device pixels.
   * @param height of the canvas.
   */
  constructor(
    readonly image: ImageInfo,
    readonly scale: number,
    readonly left: number,
    readonly top: number,
    readonly width: number,
    readonly height: number,
  ) {}

  /** Level whose pixels are about as large as the screen's; 0: those of the image. */
  get level(): number {
    return Math.min(this.image.n_levels - 1, Math.max(0, Math.floor(Math.log2(1 / this.scale) + 0.3)));
  }

  /** Pixels of a coloured tile a pixel of the tile: 1, 2 or 4. */
  get zoom(): number {
    const pixel = this.scale * 2 ** this.level;
    return pixel >= 4 ? 4 : pixel >= 2 ? 2 : 1;
  }

  /** What is in view, in pixels of the image; null: nothing. */
  get box(): Box | null {
    const [height, width] = this.image.size;
    const left = Math.max(0, Math.floor(-this.left / this.scale));
    const top = Math.max(0, Math.floor(-this.top / this.scale));
    const right = Math.min(width, Math.ceil((this.width - this.left) / this.scale));
    const bottom = Math.min(height, Math.ceil((this.height - this.top) / this.scale));
    return right > left && bottom > top ? [top, left, bottom - top, right - left] : null;
  }

  /** A point of the image, in device pixels of the canvas. */
  place([x, y]: Point): Point {
    return [this.left + x * this.scale, this.top + y * this.scale];
  }

  /** The tiles in view at the frame's level, with the rectangle of the canvas where each belongs. */
  *tiles(): Generator<{ column: number; row: number; rectangle: readonly [number, number, number, number] }> {
    const box = this.box;
    if (box === null) return;
    const [top, left, height, width] = box;
    const side = TILE * 2 ** this.level;
    for (let row = Math.floor(top / side); row * side < top + height; row++) {
      for (let column = Math.floor(left / side); column * side < left + width; column++) {
        yield { column, row, rectangle: this.#rectangle(column * side, row * side, side) };
      }
    }
  }

  #rectangle(x: number, y: number, side: number): readonly [number, number, number, number] {
    const [left, top] = this.place([x, y]);
    const [right, bottom] = this.place([x + side, y + side]);
    const [x0, y0] = [Math.round(left), Math.round(top)];
    return [x0, y0, Math.round(right) - x0, Math.round(bottom) - y0];
  }
}
