/** The list of images: only the rows in view are in the page, however many images there are. */
import { byId, icon, make } from "../base/dom";
import { counted, nats, STATE_NAMES } from "../base/format";
import { watchAll } from "../base/signal";
import type { ImageInfo } from "../api/wire";
import type { Desk } from "../state/desk";
import { arranged, type Kind, type Order } from "./image_order";

const ROW_PX = 64;
const SPARE_ROWS = 4;
const N_THUMBNAILS = 200;

export class ImageList {
  readonly #desk: Desk;
  readonly #box = byId("images", HTMLElement);
  readonly #rows = byId("image-rows", HTMLElement);
  readonly #kind = byId("image-kind", HTMLSelectElement);
  readonly #order = byId("image-order", HTMLSelectElement);
  readonly #words = byId("image-words", HTMLInputElement);
  readonly #count = byId("image-count", HTMLElement);
  readonly #thumbnails = new Thumbnails();
  #shown: readonly ImageInfo[] = [];

  constructor(desk: Desk) {
    this.#desk = desk;
    for (const control of [this.#kind, this.#order, this.#words]) control.addEventListener("input", () => this.#arrange());
    this.#box.addEventListener("scroll", () => this.#fill(), { passive: true });
    this.#box.addEventListener("keydown", (event) => this.#onKey(event));
    new ResizeObserver(() => this.#fill()).observe(this.#box);
    watchAll([desk.images], () => this.#arrange());
    desk.image.changed(() => {
      this.#reveal();
      this.#fill();
    });
    this.#reveal();
  }

  /** Open the image that stands `steps` further in the list. */
  step(steps: number): void {
    const at = this.#shown.findIndex((image) => image.image === this.#desk.image.value);
    const next = this.#shown[Math.min(this.#shown.length - 1, Math.max(0, at + steps))];
    if (next !== undefined) this.#desk.image.set(next.image);
  }

  #onKey(event: KeyboardEvent): void {
    const target = { Home: -Infinity, End: Infinity }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    const image = target < 0 ? this.#shown[0] : this.#shown.at(-1);
    if (image !== undefined) this.#desk.image.set(image.image);
  }

  #arrange(): void {
    const all = this.#desk.images.value;
    this.#shown = arranged(all, this.#kind.value as Kind, this.#words.value, this.#order.value as Order);
    const n = this.#shown.length;
    this.#count.textContent = n === all.length ? counted(n, "image") : `${n} of ${counted(all.length, "image")}`;
    this.#rows.style.height = `${n * ROW_PX}px`;
    this.#fill();
  }

  /** Scroll to the image that is open. */
  #reveal(): void {
    const at = this.#shown.findIndex((image) => image.image === this.#desk.image.value);
    if (at < 0) return;
    const top = at * ROW_PX;
    const { scrollTop, clientHeight } = this.#box;
    if (top < scrollTop) this.#box.scrollTop = top;
    else if (top + ROW_PX > scrollTop + clientHeight) this.#box.scrollTop = top + ROW_PX - clientHeight;
  }

  #fill(): void {
    const { scrollTop, clientHeight } = this.#box;
    const first = Math.max(0, Math.floor(scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(this.#shown.length, Math.ceil((scrollTop + clientHeight) / ROW_PX) + SPARE_ROWS);
    const before = new Map([...this.#rows.children].map((row) => [(row as HTMLElement).dataset["facts"], row]));
    const rows: Element[] = [];
    for (let place = first; place < last; place++) {
      const image = this.#shown[place] as ImageInfo;
      const facts = JSON.stringify([place, this.#shown.length, image, image.image === this.#desk.image.value]);
      rows.push(before.get(facts) ?? this.#row(image, place, facts));
    }
    this.#rows.replaceChildren(...rows);
    const open = `image-row-${this.#desk.image.value}`;
    if (document.getElementById(open) !== null) this.#box.setAttribute("aria-activedescendant", open);
    else this.#box.removeAttribute("aria-activedescendant");
  }

  #row(image: ImageInfo, place: number, facts: string): HTMLElement {
    const isOpen = image.image === this.#desk.image.value;
    const row = make(
      "div",
      {
        id: `image-row-${image.image}`,
        className: "image-row",
        role: "option",
        "aria-selected": isOpen,
        "aria-posinset": place + 1,
        "aria-setsize": this.#shown.length,
        title: image.id,
      },
      this.#thumbnails.of(image),
      make("div", { className: "image-facts" }, make("div", { className: "image-id" }, image.id), details(image)),
    );
    row.dataset["facts"] = facts;
    row.style.top = `${place * ROW_PX}px`;
    row.addEventListener("click", () => this.#desk.image.set(image.image));
    return row;
  }
}

/** Thumbnails in the page, kept for the rows that come after: the browser stores none of them. */
class Thumbnails {
  readonly #boxes = new Map<string, HTMLElement>();

  of({ image, locked }: ImageInfo): HTMLElement {
    const name = `${image} ${locked}`;
    const box = this.#boxes.get(name) ?? thumbnail(image, locked);
    this.#boxes.delete(name);
    this.#boxes.set(name, box);
    const [oldest] = this.#boxes.keys();
    if (this.#boxes.size > N_THUMBNAILS && oldest !== undefined) this.#boxes.delete(oldest);
    return box;
  }
}

function thumbnail(image: number, locked: boolean): HTMLElement {
  const box = make("div", { className: "thumbnail" });
  if (locked) box.append(icon("lock"));
  else box.append(make("img", { src: `/api/images/${image}/thumbnail`, alt: "", draggable: false }));
  return box;
}

function details(image: ImageInfo): HTMLElement {
  const state = make("span", { className: "state" }, STATE_NAMES[image.state]);
  state.dataset["state"] = image.state;
  const line = make("div", { className: "image-details" }, state);
  if (image.locked) line.append(make("span", {}, "test, locked"));
  else if (!image.ready) line.append(make("span", { title: "Its features are not in the cache yet" }, "waiting"));
  else if (image.uncertainty !== null) {
    const words = `Uncertainty ${nats(image.uncertainty)} nats`;
    const meter = make("meter", { min: 0, max: 0.7, value: image.uncertainty, title: words, "aria-label": words });
    line.append(meter);
  }
  return line;
}
