/** Key presses to actions; letters that are typed into fields stay letters. */
import { byId, isTyping } from "../base/dom";
import type { Desk } from "../state/desk";
import { type Binding, bindingOf } from "./bindings";

const STORED = "textdiff-label:single-keys";

/** Keys by which buttons, sliders and lists are worked themselves. */
function isForControl(event: KeyboardEvent): boolean {
  const target = event.target;
  if (!(target instanceof Element)) return false;
  if (event.key === "Enter") return target.matches("button, a, summary, [role=button]");
  if (event.key === " ") return target.matches("button, a, summary, input, [role=button]");
  if (event.key.startsWith("Arrow")) return target.matches("input");
  return event.key.startsWith("Page") && target.matches("input[type=range]");
}

export function setUpKeyboard(desk: Desk, bindings: readonly Binding[]): void {
  const singleKeys = byId("single-keys", HTMLInputElement);
  singleKeys.checked = localStorage.getItem(STORED) !== "off";
  singleKeys.addEventListener("change", () => localStorage.setItem(STORED, singleKeys.checked ? "on" : "off"));
  window.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]") !== null) return;
    if (isTyping(event.target) || isForControl(event)) return;
    if (event.key === " ") {
      event.preventDefault();
      desk.bare.set(true);
      return;
    }
    const isSingle = event.key.length === 1 && !event.ctrlKey && !event.metaKey && event.key !== "?";
    if (isSingle && !singleKeys.checked) return;
    const binding = bindingOf(bindings, event);
    if (binding === undefined) return;
    event.preventDefault();
    binding.act();
  });
  window.addEventListener("keyup", (event) => {
    if (event.key === " ") desk.bare.set(false);
  });
  window.addEventListener("blur", () => desk.bare.set(false));
  // After a click on a tool the keys are the image's again: the space bar is to hide the overlay, not to press the button.
  document.addEventListener("pointerup", () => {
    window.setTimeout(() => {
      const focused = document.activeElement;
      if (focused instanceof HTMLElement && focused.closest("dialog") === null && !isTyping(focused)) {
        if (focused.matches("button, input")) focused.blur();
      }
    });
  });
}
