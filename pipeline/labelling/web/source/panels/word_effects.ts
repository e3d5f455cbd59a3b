/** The words of the text, coloured by what leaving them out would change. */
import { postJson } from "../api/requests";
import type { WordEffect } from "../api/wire";
import { byId, make } from "../base/dom";
import { watchAll } from "../base/signal";
import type { Desk } from "../state/desk";
import type { Notices } from "./notices";

export function setUpWordEffects(desk: Desk, notices: Notices): void {
  const button = byId("words-ask", HTMLButtonElement);
  const list = byId("words", HTMLElement);
  const legend = byId("words-legend", HTMLElement);
  let asked = "";
  const clear = (): void => {
    legend.hidden = list.hidden = true;
    list.replaceChildren();
  };
  button.addEventListener("click", async () => {
    const { image, text } = desk.open;
    asked = `${image} ${text}`;
    button.disabled = true;
    const answer = await notices.attempt(() => postJson<{ words: readonly WordEffect[] }>("/api/words", { image }));
    button.disabled = false;
    if (answer === null || asked !== `${desk.image.value} ${desk.open.text}`) return;
    list.replaceChildren(...coloured(text, answer.words));
    legend.hidden = list.hidden = false;
  });
  watchAll([desk.image, desk.images], () => {
    const { image, text, locked, ready } = desk.open;
    if (asked !== `${image} ${text}`) clear();
    button.disabled = locked || !ready || text === "" || !desk.learner.value.has_text_encoder;
  });
}

/** The text with each word marked; what stands between the words stays. */
function coloured(text: string, words: readonly WordEffect[]): (Node | string)[] {
  const strongest = Math.max(0.01, ...words.map(({ effect }) => Math.abs(effect)));
  const parts: (Node | string)[] = [];
  let at = 0;
  for (const { start, end, word, effect } of words) {
    parts.push(text.slice(at, start), marked(word, effect, Math.abs(effect) / strongest));
    at = end;
  }
  return [...parts, text.slice(at)];
}

function marked(word: string, effect: number, share: number): HTMLElement {
  const figure = `${effect >= 0 ? "+" : "−"}${Math.abs(effect).toFixed(2)}`;
  const mark = make("span", { className: "word", title: figure }, word);
  mark.dataset["effect"] = effect >= 0 ? "more" : "less";
  mark.style.setProperty("--share", share.toFixed(2));
  if (share >= 0.3) mark.append(make("sub", {}, figure));
  return mark;
}
