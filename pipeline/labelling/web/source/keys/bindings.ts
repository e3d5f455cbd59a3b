/** Every key of the page, once: the keyboard acts by this table, and the help lists it. */

export interface Binding {
  /** Values of KeyboardEvent.key, letters in lower case. */
  readonly keys: readonly string[];
  /** As the help shows them. */
  readonly shown: string;
  readonly group: "Draw" | "Learn" | "Look" | "Images" | "Text";
  readonly does: string;
  readonly ctrl?: boolean;
  /** Left out: with or without. */
  readonly shift?: boolean;
  readonly act: () => void;
}

/** The binding that a key press asks for. */
export function bindingOf(bindings: readonly Binding[], event: KeyboardEvent): Binding | undefined {
  if (event.altKey) return undefined;
  const ctrl = event.ctrlKey || event.metaKey;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return bindings.find(
    (one) => one.keys.includes(key) && (one.ctrl ?? false) === ctrl && (one.shift === undefined || one.shift === event.shiftKey),
  );
}
