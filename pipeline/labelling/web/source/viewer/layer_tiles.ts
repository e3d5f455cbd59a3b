/**
 * Tiles of classes and of uncertainty, as octets, fetched as they come into view.
 *
 * A tile that has changed on the server stays on show until its successor is there. The order of fetching is that of the
 * last frame: what went out of view is not asked for.
 */
import { getOctets } from "../api/requests";
import { type Box, TILE, type Variant } from "../api/wire";

export type TileLayer = "labels" | "mask" | "uncertainty";

export interface Address {
  readonly image: number;
  readonly layer: TileLayer;
  readonly variant: Variant;
  readonly level: number;
  readonly column: number;
  readonly row: number;
}

export interface Tile {
  readonly address: Address;
  octets: Uint8Array | null;
  /** Of the octets; -1: none. */
  version: number;
  /** That the server is known to have. */
  wanted: number;
  loading: boolean;
  /** Number of the octets, different for each that came. */
  arrival: number;
  /** Time (ms) before which a failed tile is not asked for again. */
  notBefore: number;
  lastUsed: number;
}

const N_AT_ONCE = 4;
const N_KEPT = 512;
const RETRY_MS = 2_000;

export class LayerTiles {
  readonly #tiles = new Map<string, Tile>();
  readonly #arrived: () => void;
  #wanted: Tile[] = [];
  #nLoading = 0;
  #clock = 0;
  #nArrived = 0;

  /** `arrived` is called after each tile that came. */
  constructor(arrived: () => void) {
    this.#arrived = arrived;
  }

  /** Begin a frame: the tiles that it uses are the ones to fetch. */
  beginFrame(): void {
    this.#wanted = [];
    this.#clock += 1;
  }

  /** End a frame: fetch what it lacked, forget what was not used for long. */
  endFrame(): void {
    this.#pump();
    if (this.#tiles.size <= N_KEPT) return;
    const oldest = [...this.#tiles].sort(([, a], [, b]) => a.lastUsed - b.lastUsed);
    for (const [name] of oldest.slice(0, this.#tiles.size - N_KEPT)) this.#tiles.delete(name);
  }

  /** The tile as it is known, to be fetched where it is missing or old. */
  use(address: Address, version: number): Tile {
    const name = nameOf(address);
    let tile = this.#tiles.get(name);
    if (tile === undefined) {
      tile = { address, octets: null, version: -1, wanted: version, loading: false, arrival: 0, notBefore: 0, lastUsed: 0 };
      this.#tiles.set(name, tile);
    }
    tile.lastUsed = this.#clock;
    if (tile.version < tile.wanted || tile.octets === null) this.#wanted.push(tile);
    return tile;
  }

  /** The tile if it has been used before; it is not fetched. */
  peek(address: Address): Tile | undefined {
    return this.#tiles.get(nameOf(address));
  }

  /** Say that the server has a newer version of what lies in the box. */
  changed(image: number, layers: readonly TileLayer[], variant: Variant | null, version: number, box: Box): void {
    for (const tile of this.#tiles.values()) {
      const { address } = tile;
      if (address.image !== image || !layers.includes(address.layer)) continue;
      if (variant !== null && address.variant !== variant) continue;
      if (meets(address, box)) tile.wanted = Math.max(tile.wanted, version);
    }
  }

  /** Say that anything may have changed: the connection was lost for a while. */
  changedEverywhere(): void {
    for (const tile of this.#tiles.values()) tile.version = -1;
  }

  /** Whether each tile of the box at that level that is known has the version. */
  isFresh(image: number, layer: TileLayer, level: number, version: number, box: Box): boolean {
    for (const { address, version: got, octets } of this.#tiles.values()) {
      if (address.image !== image || address.layer !== layer || address.level !== level) continue;
      if (meets(address, box) && (octets === null || got < version)) return false;
    }
    return true;
  }

  #pump(): void {
    const now = performance.now();
    for (const tile of this.#wanted) {
      if (this.#nLoading >= N_AT_ONCE) return;
      if (!tile.loading && tile.notBefore <= now) void this.#load(tile);
    }
  }

  async #load(tile: Tile): Promise<void> {
    const version = tile.wanted;
    tile.loading = true;
    this.#nLoading += 1;
    try {
      tile.octets = await getOctets(pathOf(tile.address, version), AbortSignal.timeout(30_000));
      tile.version = version;
      tile.arrival = ++this.#nArrived;
    } catch {
      tile.notBefore = performance.now() + RETRY_MS;
      window.setTimeout(this.#arrived, RETRY_MS);
    } finally {
      tile.loading = false;
      this.#nLoading -= 1;
    }
    this.#pump();
    this.#arrived();
  }
}

function nameOf({ image, layer, variant, level, column, row }: Address): string {
  return `${image} ${layer} ${layer === "labels" ? "" : variant} ${level} ${column} ${row}`;
}

function pathOf({ image, layer, variant, level, column, row }: Address, version: number): string {
  const between = layer === "labels" ? "" : `/${variant}`;
  return `/api/images/${image}/${layer}${between}/${level}/${column}_${row}?v=${version}`;
}

function meets({ level, column, row }: Address, [top, left, height, width]: Box): boolean {
  const side = TILE * 2 ** level;
  return column * side < left + width && left < (column + 1) * side && row * side < top + height && top < (row + 1) * side;
}
