/**
 * A pattern for each class, beside its colour: who does not see the colours tells classes apart by their hatching.
 *
 * A pattern is a function of the pixel (of the overlay, not of the image) with a period of 8 in both directions.
 */

export const PERIOD = 8;

type Pattern = (x: number, y: number) => boolean;

const PATTERNS: readonly Pattern[] = [
  (x, y) => x % 4 === 0 && y % 4 === 0, // 0 background: dots
  (x, y) => (x + y) % 8 < 2, // 1 rising lines
  (x, y) => (x - y + 8) % 8 < 2, // 2 falling lines
  (_, y) => y % 8 < 2, // 3 level lines
  (x) => x % 8 < 2, // 4 upright lines
  (x, y) => (x + y) % 8 < 1 || (x - y + 8) % 8 < 1, // 5 lattice
  (x, y) => x % 8 < 1 || y % 8 < 1, // 6 grid
  (x, y) => x % 8 < 4 === y % 8 < 4, // 7 checks
  (x, y) => x % 8 < 3 && y % 8 < 3, // 8 squares
  (x, y) => (x + y) % 8 < 5, // 9 broad rising lines
];

/** Whether the pattern of the class has a line at that pixel. */
function isLine(labelClass: number, x: number, y: number): boolean {
  const pattern = PATTERNS[labelClass < 10 ? labelClass : 1 + ((labelClass - 1) % 9)] as Pattern;
  return pattern(x % PERIOD, y % PERIOD);
}

/** How strongly (0 to 255) lines, the ground between them and the outline are drawn. */
export interface Strength {
  readonly line: number;
  readonly ground: number;
  readonly edge: number;
}

export const LABEL_STRENGTH: Strength = { line: 255, ground: 140, edge: 255 };
export const MASK_STRENGTH: Strength = { line: 190, ground: 70, edge: 255 };

/** Background is what most of an image is: it must not veil it. */
const BACKGROUND_GROUND = 70;

/** Opacity (0 to 255) of a class at a pixel of the pattern. */
export function opacity(labelClass: number, x: number, y: number, strength: Strength): number {
  if (isLine(labelClass, x, y)) return strength.line;
  return labelClass === 0 ? Math.min(BACKGROUND_GROUND, strength.ground) : strength.ground;
}

/** "#rrggbb" as three numbers. */
export function rgb(colour: string): readonly [number, number, number] {
  const value = Number.parseInt(colour.slice(1), 16);
  return [(value >> 16) & 255, (value >> 8) & 255, value & 255];
}

/** One period of a class's pattern, for strokes that are not in a tile yet and for the page's swatches. */
export function patternTile(labelClass: number, colour: string, strength: Strength): OffscreenCanvas {
  const canvas = new OffscreenCanvas(PERIOD, PERIOD);
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  const data = context.createImageData(PERIOD, PERIOD);
  const [red, green, blue] = rgb(colour);
  for (let i = 0; i < PERIOD * PERIOD; i++) {
    data.data.set([red, green, blue, opacity(labelClass, i % PERIOD, Math.floor(i / PERIOD), strength)], 4 * i);
  }
  context.putImageData(data, 0, 0);
  return canvas;
}
