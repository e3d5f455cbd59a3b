/** What is on the desk: the session as the server told it, and what this tab has chosen. */
import { Signal } from "../base/signal";
import type { CacheInfo, HistoryInfo, ImageInfo, LabelClass, LearnerInfo, SessionInfo, StrokeTool, Variant } from "../api/wire";

export type Tool = StrokeTool | "move";
export type LayerName = "labels" | "mask" | "uncertainty" | "errors";
export type LayersShown = Readonly<Record<LayerName, boolean>>;

export const SMALLEST_BRUSH = 1;
export const LARGEST_BRUSH = 512;

export class Desk {
  readonly annotator: string;
  readonly title: string;
  readonly out: string;
  readonly images: Signal<readonly ImageInfo[]>;
  readonly classes: Signal<readonly LabelClass[]>;
  readonly cache: Signal<CacheInfo>;
  readonly learner: Signal<LearnerInfo>;
  readonly history: Signal<HistoryInfo>;
  readonly testsLocked: Signal<boolean>;

  /** Place of the image that is open. */
  readonly image: Signal<number>;
  readonly tool = new Signal<Tool>("brush");
  readonly labelClass = new Signal(1);
  /** Diameter in pixels of the image. */
  readonly brushSize = new Signal(12);
  readonly variant = new Signal<Variant>("own");
  /** A text that is not the image's own, for the variant `other`. */
  readonly otherText = new Signal("");
  readonly layers = new Signal<LayersShown>({ labels: true, mask: true, uncertainty: false, errors: false });
  /** In [0, 1]. */
  readonly labelOpacity = new Signal(0.8);
  readonly maskOpacity = new Signal(0.6);
  /** Factors; 1 is the image as it is. */
  readonly brightness = new Signal(1);
  readonly contrast = new Signal(1);
  /** The space bar is held: nothing lies above the image. */
  readonly bare = new Signal(false);
  readonly online = new Signal(true);

  constructor(session: SessionInfo) {
    this.annotator = session.annotator;
    this.title = session.title;
    this.out = session.out;
    this.images = new Signal(session.images);
    this.classes = new Signal(session.classes);
    this.cache = new Signal(session.cache);
    this.learner = new Signal(session.learner);
    this.history = new Signal(session.history);
    this.testsLocked = new Signal(session.tests_locked);
    this.image = new Signal(firstImage(session.images));
    this.labelClass.set(Math.min(1, session.classes.length - 1));
  }

  /** Take over what the server says now. */
  refresh(session: SessionInfo): void {
    this.images.set(session.images);
    this.classes.set(session.classes);
    this.cache.set(session.cache);
    this.learner.set(session.learner);
    this.history.set(session.history);
    this.testsLocked.set(session.tests_locked);
  }

  /** The image that is open. */
  get open(): ImageInfo {
    const image = this.images.value[this.image.value];
    if (image === undefined) throw new Error(`image ${this.image.value}: expected one of ${this.images.value.length}`);
    return image;
  }

  /** Replace some facts of one image. */
  changeImage(image: number, facts: Partial<ImageInfo>): void {
    this.images.update((images) => images.map((one) => (one.image === image ? { ...one, ...facts } : one)));
  }

  /** A change of the labels of an image; versions only grow. */
  labelsChanged(image: number, version: number): void {
    const known = this.images.value[image];
    if (known !== undefined && known.version < version) this.changeImage(image, { version });
  }

  toggleLayer(name: LayerName): void {
    this.layers.update((layers) => ({ ...layers, [name]: !layers[name] }));
  }

  /** Make the brush larger or smaller by a sixth, by one pixel at least. */
  stepBrush(direction: 1 | -1): void {
    const size = this.brushSize.value;
    const step = Math.max(1, Math.round(size / 6));
    this.brushSize.set(Math.min(LARGEST_BRUSH, Math.max(SMALLEST_BRUSH, size + direction * step)));
  }
}

/** The image that the address names (after a reload), else the first that is not locked. */
function firstImage(images: readonly ImageInfo[]): number {
  const named = Number.parseInt(location.hash.replace("#image-", ""), 10);
  if (images[named] !== undefined) return named;
  return Math.max(0, images.findIndex((image) => !image.locked));
}
