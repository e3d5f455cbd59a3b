/** Which images the list shows, and in which order. */
import type { ImageInfo } from "../api/wire";

export type Order = "place" | "uncertain" | "name" | "strokes";
export type Kind = "all" | "unlabelled" | "scribbled" | "full" | "reviewed" | "train" | "val" | "test";

const ORDERS: Readonly<Record<Order, (a: ImageInfo, b: ImageInfo) => number>> = {
  place: (a, b) => a.image - b.image,
  uncertain: (a, b) => (b.uncertainty ?? -1) - (a.uncertainty ?? -1) || a.image - b.image,
  name: (a, b) => a.id.localeCompare(b.id, "en", { numeric: true }),
  strokes: (a, b) => b.n_strokes - a.n_strokes || a.image - b.image,
};

/** The images of a kind whose id, group or text holds the words, in order. */
export function arranged(images: readonly ImageInfo[], kind: Kind, words: string, order: Order): readonly ImageInfo[] {
  const wanted = words.trim().toLowerCase();
  return images
    .filter((image) => kind === "all" || image.state === kind || image.split === kind)
    .filter((image) => wanted === "" || `${image.id}\n${image.group}\n${image.text}`.toLowerCase().includes(wanted))
    .sort(ORDERS[order]);
}
