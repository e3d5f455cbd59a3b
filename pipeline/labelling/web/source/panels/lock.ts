/** The test split is locked until one says otherwise: masks drawn while looking at it would flatter the head. */
import type { Outbox } from "../api/outbox";
import { byId } from "../base/dom";
import { watchAll } from "../base/signal";
import type { Desk } from "../state/desk";

export function setUpLock(desk: Desk, outbox: Outbox): void {
  const veil = byId("lock", HTMLElement);
  const dialog = byId("unlock-dialog", HTMLDialogElement);
  byId("unlock", HTMLButtonElement).addEventListener("click", () => {
    dialog.returnValue = "";
    dialog.showModal();
  });
  dialog.addEventListener("close", () => {
    if (dialog.returnValue === "unlock") outbox.post("/api/unlock", {});
  });
  watchAll([desk.image, desk.images], () => (veil.hidden = !desk.open.locked));
}
