/** What the server sends and takes, as JSON. An image is its place in the list; a box is [top, left, height, width]. */

export type Box = readonly [top: number, left: number, height: number, width: number];
export type Point = readonly [x: number, y: number];
export type ImageState = "unlabelled" | "scribbled" | "full" | "reviewed";
export type Variant = "own" | "none" | "other";
export type StrokeTool = "brush" | "eraser" | "polygon" | "bucket";

/** Value of a pixel that is not labelled, or not predicted. */
export const IGNORE = 255;
export const TILE = 256;

export interface LabelClass {
  readonly index: number;
  readonly name: string;
  readonly colour: string;
}

export interface ImageInfo {
  readonly image: number;
  readonly id: string;
  readonly split: string;
  readonly group: string;
  readonly size: readonly [height: number, width: number];
  readonly n_levels: number;
  readonly state: ImageState;
  readonly n_strokes: number;
  readonly version: number;
  readonly text: string;
  /** Mean entropy in nats. */
  readonly uncertainty: number | null;
  /** Its features are in the cache. */
  readonly ready: boolean;
  /** It belongs to the test split, which is locked. */
  readonly locked: boolean;
}

export interface CacheInfo {
  readonly ready: number;
  readonly total: number;
  readonly line: string;
  readonly running: boolean;
  readonly problem: string | null;
  readonly sources: readonly string[];
  readonly better: string;
}

export interface LearnerInfo {
  readonly continuous: boolean;
  readonly busy: boolean;
  readonly line: string;
  readonly text_used: boolean;
  readonly has_text_encoder: boolean;
}

export interface HistoryInfo {
  readonly undo: boolean;
  readonly redo: boolean;
}

export interface SessionInfo {
  readonly annotator: string;
  readonly title: string;
  readonly out: string;
  readonly classes: readonly LabelClass[];
  readonly tests_locked: boolean;
  readonly images: readonly ImageInfo[];
  readonly cache: CacheInfo;
  readonly learner: LearnerInfo;
  readonly history: HistoryInfo;
}

export interface StrokeBody {
  readonly key: string;
  readonly image: number;
  readonly tool: StrokeTool;
  readonly class: number | null;
  /** Diameter in pixels of the image; brush and eraser. */
  readonly size: number;
  readonly points: readonly Point[];
  /** Bucket: of which mask. */
  readonly variant: Variant;
}

export interface Saved {
  readonly sequence: number;
  readonly version: number;
  readonly box: Box;
}

export interface Undone extends Saved {
  readonly undone: string;
  readonly image: number;
}

export interface WordEffect {
  readonly start: number;
  readonly end: number;
  readonly word: string;
  /** In [-1, 1]. */
  readonly effect: number;
}

export interface ExportProgress {
  readonly line: string;
  readonly done: boolean;
  readonly problem: string | null;
  readonly result: string | null;
}

export interface MaskNews {
  readonly image: number;
  readonly variant: Variant;
  readonly version: number;
  readonly labels_version: number;
  readonly stage: "coarse" | "fine";
  readonly box: Box;
  /** Mean entropy of the image in nats, where it is known. */
  readonly uncertainty?: number | null;
}

export type LiveEvent =
  | { readonly type: "labels"; readonly image: number; readonly version: number; readonly box: Box; readonly by: string }
  | ({ readonly type: "mask" } & MaskNews)
  | { readonly type: "picture"; readonly image: number }
  | { readonly type: "learnt"; readonly line: string }
  | ({ readonly type: "image" } & ImageInfo)
  | { readonly type: "classes"; readonly classes: readonly LabelClass[] }
  | ({ readonly type: "cache" } & CacheInfo)
  | ({ readonly type: "history" } & HistoryInfo)
  | ({ readonly type: "learner" } & LearnerInfo)
  | ({ readonly type: "export" } & ExportProgress)
  | { readonly type: "problem"; readonly text: string };
