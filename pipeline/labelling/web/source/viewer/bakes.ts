/** Coloured tiles, kept while they are used; a frame colours as many as its time allows, the next one goes on. */
import type { Tile } from "./layer_tiles";

const FRAME_MS = 6;
const MOST_PIXELS = 32e6;

interface Bake {
  readonly picture: OffscreenCanvas;
  readonly signature: string;
  lastUsed: number;
}

export class Bakes {
  readonly #bakes = new Map<string, Bake>();
  #clock = 0;
  #deadline = 0;
  /** Whether the frame left something for the next one. */
  unfinished = false;

  beginFrame(): void {
    this.#clock += 1;
    this.#deadline = performance.now() + FRAME_MS;
    this.unfinished = false;
  }

  /**
   * The picture of a tile for that purpose. `signature` says everything that it depends on; where it has changed and the
   * frame's time is over, the picture of before is given once more.
   */
  get(tile: Tile, purpose: string, signature: string, colour: () => OffscreenCanvas): OffscreenCanvas | null {
    const { image, variant, layer, level, column, row } = tile.address;
    const name = `${purpose} ${image} ${layer} ${variant} ${level} ${column} ${row}`;
    const known = this.#bakes.get(name);
    if (known !== undefined) known.lastUsed = this.#clock;
    if (known?.signature === signature) return known.picture;
    if (performance.now() > this.#deadline) {
      this.unfinished = true;
      return known?.picture ?? null;
    }
    const picture = colour();
    this.#bakes.set(name, { picture, signature, lastUsed: this.#clock });
    return picture;
  }

  /** Forget what this frame did not use, where it is too much. */
  endFrame(): void {
    let nPixels = 0;
    for (const { picture } of this.#bakes.values()) nPixels += picture.width * picture.height;
    if (nPixels <= MOST_PIXELS) return;
    for (const [name, bake] of [...this.#bakes].sort(([, a], [, b]) => a.lastUsed - b.lastUsed)) {
      if (nPixels <= MOST_PIXELS / 2 || bake.lastUsed === this.#clock) return;
      nPixels -= bake.picture.width * bake.picture.height;
      this.#bakes.delete(name);
    }
  }
}
