/** The canvases above the image: one for what the head says, one for what was drawn. */
import { IGNORE, type Point } from "../api/wire";
import { Bakes } from "./bakes";
import { colourClasses, colourErrors, colourUncertainty } from "./colouring";
import type { Desk } from "../state/desk";
import type { Frame } from "./frame";
import { type Address, LayerTiles, type Tile } from "./layer_tiles";
import { LABEL_STRENGTH, MASK_STRENGTH } from "./patterns";
import { boxOf, type PendingStrokes } from "../drawing/pending";

import { drawOutline, drawStroke } from "./strokes";

const NOTHING = -1;

export class Overlay {
  readonly tiles: LayerTiles;
  /** Corners of the polygon in progress. */
  outline: readonly Point[] = [];
  readonly #bakes = new Bakes();
  readonly #desk: Desk;
  readonly #pending: PendingStrokes;
  readonly #under: HTMLCanvasElement;
  readonly #over: HTMLCanvasElement;

  /** `redraw` is called when a further frame is due. */
  constructor(
    desk: Desk,
    pending: PendingStrokes,
    canvases: { readonly under: HTMLCanvasElement; readonly over: HTMLCanvasElement },
    readonly redraw: () => void,
  ) {
    this.#desk = desk;
    this.#pending = pending;
    this.#under = canvases.under;
    this.#over = canvases.over;
    this.tiles = new LayerTiles(redraw);
  }

  draw(frame: Frame): void {
    const under = cleared(this.#under, frame);
    const over = cleared(this.#over, frame);
    this.#under.style.opacity = String(this.#desk.maskOpacity.value);
    this.#over.style.opacity = String(this.#desk.labelOpacity.value);
    this.tiles.beginFrame();
    this.#bakes.beginFrame();
    if (!this.#desk.bare.value && !frame.image.locked) {
      this.#drawUnder(under, frame);
      this.#drawOver(over, frame);
    }
    this.#bakes.endFrame();
    this.tiles.endFrame();
    if (this.#bakes.unfinished) this.redraw();
  }

  #drawUnder(context: CanvasRenderingContext2D, frame: Frame): void {
    const { mask, uncertainty } = this.#desk.layers.value;
    const classes = this.#desk.classes.value;
    const zoom = frame.zoom;
    for (const { column, row, rectangle } of frame.tiles()) {
      const use = (layer: Address["layer"]): Tile => this.#use(frame, layer, column, row);
      const draw = (picture: OffscreenCanvas | null): void => {
        if (picture !== null) context.drawImage(picture, ...rectangle);
      };
      if (mask) {
        draw(this.#classesOf(use("mask"), zoom, (octets) => colourClasses(octets, classes, MASK_STRENGTH, zoom, 0)));
      }
      if (uncertainty) draw(this.#baked(use("uncertainty"), "uncertainty", "", colourUncertainty));
    }
  }

  #drawOver(context: CanvasRenderingContext2D, frame: Frame): void {
    const { image } = frame.image;
    const { labels, errors } = this.#desk.layers.value;
    if (labels) {
      const classes = this.#desk.classes.value;
      const zoom = frame.zoom;
      for (const { column, row, rectangle } of frame.tiles()) {
        const tile = this.#use(frame, "labels", column, row);
        const colour = (octets: Uint8Array): OffscreenCanvas =>
          colourClasses(octets, classes, LABEL_STRENGTH, zoom, NOTHING);
        const picture = this.#classesOf(tile, zoom, colour);
        if (picture !== null) context.drawImage(picture, ...rectangle);
      }
      this.#pending.settle(
        (stroke, version) =>
          stroke.image === image && this.tiles.isFresh(image, "labels", frame.level, version, boxOf(stroke)),
      );
      for (const stroke of this.#pending.of(image)) drawStroke(context, frame, stroke, classes);
    }
    if (errors) this.#drawErrors(context, frame);
    drawOutline(context, frame, this.outline);
  }

  /** Above the labels, which would hide them. */
  #drawErrors(context: CanvasRenderingContext2D, frame: Frame): void {
    for (const { column, row, rectangle } of frame.tiles()) {
      const picture = this.#errors(this.#use(frame, "labels", column, row), this.#use(frame, "mask", column, row));
      if (picture !== null) context.drawImage(picture, ...rectangle);
    }
  }

  #use(frame: Frame, layer: Address["layer"], column: number, row: number): Tile {
    const { image, version } = frame.image;
    const address = { image, layer, variant: this.#desk.variant.value, level: frame.level, column, row };
    return this.tiles.use(address, layer === "labels" ? version : 0);
  }

  #classesOf(tile: Tile, zoom: number, colour: (octets: Uint8Array) => OffscreenCanvas): OffscreenCanvas | null {
    const colours = this.#desk.classes.value.map((one) => one.colour).join();
    return this.#baked(tile, "classes", `${zoom} ${colours}`, colour);
  }

  #baked(
    tile: Tile,
    purpose: string,
    signature: string,
    colour: (octets: Uint8Array) => OffscreenCanvas,
  ): OffscreenCanvas | null {
    const { octets, arrival } = tile;
    if (octets === null || (purpose === "classes" && isEmpty(octets))) return null;
    return this.#bakes.get(tile, purpose, `${arrival} ${signature}`, () => colour(octets));
  }

  #errors(labels: Tile, mask: Tile): OffscreenCanvas | null {
    const [drawn, guessed] = [labels.octets, mask.octets];
    if (drawn === null || guessed === null) return null;
    return this.#bakes.get(labels, `errors ${mask.address.variant}`, `${labels.arrival} ${mask.arrival}`, () =>
      colourErrors(drawn, guessed),
    );
  }
}

/** The canvas, as large as the frame, with nothing on it; pixels stay sharp. */
function cleared(canvas: HTMLCanvasElement, { width, height }: Frame): CanvasRenderingContext2D {
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  else context.clearRect(0, 0, width, height);
  context.imageSmoothingEnabled = false;
  return context;
}

const empty = new WeakMap<Uint8Array, boolean>();

function isEmpty(octets: Uint8Array): boolean {
  let known = empty.get(octets);
  if (known === undefined) {
    known = octets.every((value) => value === IGNORE);
    empty.set(octets, known);
  }
  return known;
}
