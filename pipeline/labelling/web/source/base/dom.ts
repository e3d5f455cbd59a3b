/** The element with that id; an error where index.html has none of that kind. */
export function byId<T extends Element>(id: string, kind: abstract new (...a: never[]) => T): T {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`index.html: #${id} is ${element ?? "missing"}, expected ${kind.name}`);
  return element;
}

type Child = Node | string;

/** A new element with properties, attributes (names with a dash, and `role`) and children. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  settings: Readonly<Record<string, unknown>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(settings)) {
    if (name.includes("-") || name === "role") element.setAttribute(name, String(value));
    else Object.assign(element, { [name]: value });
  }
  element.append(...children);
  return element;
}

/** A picture of the page's icon set (index.html holds the symbols). */
export function icon(name: string): SVGSVGElement {
  const picture = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  picture.setAttribute("aria-hidden", "true");
  picture.classList.add("icon");
  picture.append(use);
  return picture;
}

/** Whether letters typed now belong to a field and not to the page's keys. */
export function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement) return true;
  if (target instanceof HTMLInputElement) return !["checkbox", "radio", "range", "button"].includes(target.type);
  return false;
}

/** Pressed state of a toggle button, for eyes and for screen readers. */
export function setPressed(button: Element, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}

/** Call `call` once, `delayMs` after the last of several calls. */
export function afterPause(delayMs: number, call: () => void): () => void {
  let timer = 0;
  return () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(call, delayMs);
  };
}
