/** The classes: chosen by a click or a digit, named, coloured and added in place. */
import { byId, icon, make } from "../base/dom";
import { watchAll } from "../base/signal";
import type { LabelClass } from "../api/wire";
import type { Outbox } from "../api/outbox";
import type { Desk } from "../state/desk";
import { LABEL_STRENGTH, patternTile } from "../viewer/patterns";

/** Colours for new classes: those of Okabe and Ito, told apart by colour-blind eyes too. */
const COLOURS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8f6bd1", "#2fb5a8"];
const N_MOST = 10;

export class ClassList {
  readonly #list = byId("classes", HTMLElement);
  readonly #dialog = byId("class-dialog", HTMLDialogElement);
  readonly #name = byId("class-name", HTMLInputElement);
  readonly #colour = byId("class-colour", HTMLInputElement);
  readonly #title = byId("class-title", HTMLElement);
  #edited: number | null = null;

  constructor(
    readonly desk: Desk,
    readonly outbox: Outbox,
  ) {
    byId("class-add", HTMLButtonElement).addEventListener("click", () => this.#edit(null));
    this.#dialog.addEventListener("close", () => this.#save());
    watchAll([desk.classes, desk.labelClass], () => this.#show());
  }

  #show(): void {
    const focused = (document.activeElement as HTMLElement | null)?.id ?? "";
    const { value: classes } = this.desk.classes;
    this.#list.replaceChildren(...classes.map((one) => this.#row(one)));
    byId("class-add", HTMLButtonElement).hidden = classes.length >= N_MOST;
    if (focused.startsWith("class-choice-")) document.getElementById(focused)?.focus();
  }

  #row({ index, name, colour }: LabelClass): HTMLElement {
    const isChosen = index === this.desk.labelClass.value;
    const choice = make("input", { type: "radio", name: "class", id: `class-choice-${index}`, checked: isChosen });
    choice.addEventListener("change", () => this.desk.labelClass.set(index));
    const label = make(
      "label",
      { className: "class-choice", htmlFor: choice.id },
      swatch(index, colour),
      make("span", { className: "class-name" }, name),
      make("kbd", {}, String(index)),
    );
    const edit = make("button", { type: "button", className: "plain", "aria-label": `Name and colour of ${name}` }, icon("edit"));
    edit.addEventListener("click", () => this.#edit(index));
    return make("div", { className: "class-row" }, choice, label, edit);
  }

  #edit(index: number | null): void {
    const { value: classes } = this.desk.classes;
    const known = index === null ? undefined : classes[index];
    this.#edited = index;
    this.#title.textContent = known === undefined ? "New class" : `Class ${index}`;
    this.#name.value = known?.name ?? "";
    this.#colour.value = known?.colour ?? (COLOURS[(classes.length - 1) % COLOURS.length] as string);
    this.#dialog.returnValue = "";
    this.#dialog.showModal();
    this.#name.select();
  }

  #save(): void {
    const name = this.#name.value.trim();
    if (this.#dialog.returnValue !== "save" || name === "") return;
    this.outbox.post("/api/classes", { index: this.#edited, name, colour: this.#colour.value });
  }
}

function swatch(index: number, colour: string): HTMLElement {
  const canvas = make("canvas", { className: "swatch", width: 32, height: 32 });
  const context = canvas.getContext("2d");
  const pattern = context?.createPattern(patternTile(index, colour, LABEL_STRENGTH), "repeat");
  if (context && pattern) {
    pattern.setTransform(new DOMMatrix().scale(2));
    context.imageSmoothingEnabled = false;
    context.fillStyle = pattern;
    context.fillRect(0, 0, 32, 32);
  }
  return canvas;
}
