/** How one likes to look at images, kept in the browser for the next time. */
import type { Signal } from "../base/signal";
import type { Desk } from "./desk";

const STORED = "textdiff-label:view";

/** Put back what was stored, and store what changes. */
export function keepPreferences(desk: Desk): void {
  const kept: Readonly<Record<string, Signal<any>>> = {
    brushSize: desk.brushSize,
    layers: desk.layers,
    labelOpacity: desk.labelOpacity,
    maskOpacity: desk.maskOpacity,
  };
  const stored = readStored();
  for (const [name, signal] of Object.entries(kept)) {
    if (typeof stored[name] === typeof signal.value) signal.set(stored[name]);
    signal.changed(() => {
      const values = Object.fromEntries(Object.entries(kept).map(([key, { value }]) => [key, value]));
      localStorage.setItem(STORED, JSON.stringify(values));
    });
  }
}

function readStored(): Record<string, unknown> {
  try {
    return (JSON.parse(localStorage.getItem(STORED) ?? "{}") ?? {}) as Record<string, unknown>;
  } catch {
    return {};
  }
}
