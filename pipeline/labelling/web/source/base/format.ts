/** Numbers and states in words. */

/** "1,240" */
export function count(value: number): string {
  return value.toLocaleString("en");
}

/** "3 images", "1 image" */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

/** Entropy in nats with two decimals, or a dash. */
export function nats(value: number | null): string {
  return value === null ? "–" : value.toFixed(2);
}

export const STATE_NAMES = {
  unlabelled: "Unlabelled",
  scribbled: "Scribbled",
  full: "Full",
  reviewed: "Reviewed",
} as const;
