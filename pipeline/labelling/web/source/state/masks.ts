/** Which masks there are, and whether they know the newest labels. */
import { Signal } from "../base/signal";
import type { MaskNews, Variant } from "../api/wire";
import type { Desk } from "./desk";

export class Masks {
  readonly #newest = new Map<string, MaskNews>();
  /** Grows with each mask. */
  readonly changes = new Signal(0);

  take(news: MaskNews): void {
    const name = nameOf(news.image, news.variant);
    const known = this.#newest.get(name);
    if (known !== undefined && known.version > news.version) return;
    this.#newest.set(name, news);
    this.changes.update((n) => n + 1);
  }

  newest(image: number, variant: Variant): MaskNews | null {
    return this.#newest.get(nameOf(image, variant)) ?? null;
  }

  /** Whether the image that is open has labels that its mask was not learnt from. */
  isStale(desk: Desk): boolean {
    const mask = this.newest(desk.image.value, desk.variant.value);
    return mask !== null && mask.labels_version < desk.open.version;
  }
}

function nameOf(image: number, variant: Variant): string {
  return `${image} ${variant}`;
}
