/** The round cursor of brush and eraser, as large as their mark. */
import type { Desk } from "../state/desk";
import type { Viewer } from "../viewer/viewer";

const SMALLEST_PX = 5;

export class Cursor {
  readonly #ring: HTMLElement;
  #at: { x: number; y: number } | null = null;

  constructor(
    readonly desk: Desk,
    readonly viewer: Viewer,
    ring: HTMLElement,
  ) {
    this.#ring = ring;
    const { element } = viewer;
    element.addEventListener("pointermove", (event) => this.#move(event.pointerType === "touch" ? null : event));
    element.addEventListener("pointerleave", () => this.#move(null));
    desk.brushSize.changed(() => this.show());
    desk.tool.watch((tool) => {
      element.dataset["tool"] = tool;
      this.show();
    });
  }

  /** Place the ring anew: the pointer, the zoom, the size or the tool has changed. */
  show(): void {
    const tool = this.desk.tool.value;
    const frame = this.viewer.frame;
    const isRound = (tool === "brush" || tool === "eraser") && !this.desk.open.locked;
    this.#ring.hidden = !isRound || this.#at === null || frame === null;
    if (this.#ring.hidden || this.#at === null || frame === null) return;
    const side = Math.max(SMALLEST_PX, (this.desk.brushSize.value * frame.scale) / window.devicePixelRatio);
    const { style } = this.#ring;
    style.width = style.height = `${side}px`;
    style.transform = `translate(${this.#at.x - side / 2}px, ${this.#at.y - side / 2}px)`;
  }

  #move(event: PointerEvent | null): void {
    const { left, top } = this.viewer.element.getBoundingClientRect();
    this.#at = event === null ? null : { x: event.clientX - left, y: event.clientY - top };
    this.show();
  }
}
