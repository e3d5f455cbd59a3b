/**
 * Octets to pixels: a tile of classes or of uncertainty as a picture with transparency.
 *
 * `zoom` pixels of the picture stand for one of the tile in each direction, so that patterns and outlines keep their size
 * on the screen when one looks closely.
 */
import { IGNORE, type LabelClass, TILE } from "../api/wire";
import { opacity, PERIOD, rgb, type Strength } from "./patterns";

const ERROR_COLOUR = [255, 59, 48] as const;
const UNCERTAIN_COLOUR = [190, 255, 0] as const;

/** RGBA of each class at each pixel of a pattern's period: [class, y, x], as the memory of an ImageData wants it. */
function colourTable(classes: readonly LabelClass[], strength: Strength): Uint32Array {
  const table = new Uint32Array(256 * PERIOD * PERIOD);
  for (const { index, colour } of classes) {
    const [red, green, blue] = rgb(colour);
    for (let i = 0; i < PERIOD * PERIOD; i++) {
      const alpha = opacity(index, i % PERIOD, Math.floor(i / PERIOD), strength);
      table[index * PERIOD * PERIOD + i] = packed(red, green, blue, alpha);
    }
  }
  return table;
}

function edgeTable(classes: readonly LabelClass[], strength: Strength): Uint32Array {
  const table = new Uint32Array(256);
  for (const { index, colour } of classes) {
    const [red, green, blue] = rgb(colour);
    table[index] = packed(red, green, blue, strength.edge);
  }
  return table;
}

/** Little-endian RGBA; every browser's machine is little-endian. */
function packed(red: number, green: number, blue: number, alpha: number): number {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

function picture(zoom: number, paint: (pixels: Uint32Array, side: number) => void): OffscreenCanvas {
  const side = TILE * zoom;
  const canvas = new OffscreenCanvas(side, side);
  const context = canvas.getContext("2d") as OffscreenCanvasRenderingContext2D;
  const data = context.createImageData(side, side);
  paint(new Uint32Array(data.data.buffer), side);
  context.putImageData(data, 0, 0);
  return canvas;
}

/** Whether the pixel at (x, y) of the picture touches a pixel of another class (within the tile). */
function isEdge(octets: Uint8Array, x: number, y: number, zoom: number, value: number): boolean {
  const column = Math.floor(x / zoom);
  const row = Math.floor(y / zoom);
  const at = row * TILE + column;
  return (
    (x % zoom === 0 && column > 0 && octets[at - 1] !== value) ||
    (x % zoom === zoom - 1 && column < TILE - 1 && octets[at + 1] !== value) ||
    (y % zoom === 0 && row > 0 && octets[at - TILE] !== value) ||
    (y % zoom === zoom - 1 && row < TILE - 1 && octets[at + TILE] !== value)
  );
}

/** Classes by colour and pattern, each region with its outline; the class `hidden` is left out. */
export function colourClasses(
  octets: Uint8Array,
  classes: readonly LabelClass[],
  strength: Strength,
  zoom: number,
  hidden: number,
): OffscreenCanvas {
  const table = colourTable(classes, strength);
  const edges = edgeTable(classes, strength);
  return picture(zoom, (pixels, side) => {
    for (let y = 0, i = 0; y < side; y++) {
      const row = Math.floor(y / zoom) * TILE;
      const line = (y % PERIOD) * PERIOD;
      for (let x = 0; x < side; x++, i++) {
        const value = octets[row + Math.floor(x / zoom)] as number;
        if (value === IGNORE || value === hidden) continue;
        pixels[i] = isEdge(octets, x, y, zoom, value)
          ? (edges[value] as number)
          : (table[value * PERIOD * PERIOD + line + (x % PERIOD)] as number);
      }
    }
  });
}

/** Uncertainty (0 to 255), squared, as the opacity of one colour: what is rather sure stays clear. */
export function colourUncertainty(octets: Uint8Array): OffscreenCanvas {
  const [red, green, blue] = UNCERTAIN_COLOUR;
  return picture(1, (pixels) => {
    for (let i = 0; i < pixels.length; i++) {
      const value = octets[i] as number;
      pixels[i] = packed(red, green, blue, (value * value) >> 8);
    }
  });
}

/** Labelled pixels whose mask says another class, in checks of one colour. */
export function colourErrors(labels: Uint8Array, mask: Uint8Array): OffscreenCanvas {
  const [red, green, blue] = ERROR_COLOUR;
  return picture(1, (pixels) => {
    for (let i = 0; i < pixels.length; i++) {
      const label = labels[i] as number;
      const guess = mask[i] as number;
      if (label === IGNORE || guess === IGNORE || label === guess) continue;
      const checked = (i % 4 < 2) === (Math.floor(i / TILE) % 4 < 2);
      pixels[i] = packed(red, green, blue, checked ? 255 : 120);
    }
  });
}
