/** What each key does. */
import type { Learning } from "../panels/learning";
import type { ImageList } from "../panels/image_list";
import type { ImageText } from "../panels/image_text";
import type { Polygon } from "../drawing/polygon";
import type { Strokes } from "../drawing/strokes";
import type { Desk, LayerName, Tool } from "../state/desk";
import type { Viewer } from "../viewer/viewer";
import type { Variant } from "../api/wire";
import type { Binding } from "./bindings";
import type { Help } from "./help";

const PAN_PX = 80;
const VARIANTS: readonly Variant[] = ["own", "none", "other"];

/** What the keys act on. */
export interface Hands {
  readonly desk: Desk;
  readonly viewer: Viewer;
  readonly strokes: Strokes;
  readonly polygon: Polygon;
  readonly list: ImageList;
  readonly learning: Learning;
  readonly text: ImageText;
  readonly help: Help;
}

type Row = readonly [keys: string, shown: string, does: string, act: () => void];

const named = (group: Binding["group"], rows: readonly Row[]): Binding[] =>
  rows.map(([keys, shown, does, act]) => ({ keys: keys.split(" "), shown, group, does, shift: false, act }));

export function keyTable(hands: Hands): readonly Binding[] {
  return [...drawing(hands), ...learning(hands), ...looking(hands), ...choosing(hands)];
}

function drawing({ desk, strokes, polygon }: Hands): Binding[] {
  const take = (tool: Tool) => (): void => desk.tool.set(tool);
  const digits = Array.from({ length: 10 }, (_, digit): Binding => ({
    keys: [String(digit)],
    shown: digit === 0 ? "0" : "1 to 9",
    group: "Draw",
    does: digit === 0 ? "Background" : "Class",
    act: () => {
      if (desk.classes.value[digit] !== undefined) desk.labelClass.set(digit);
    },
  }));
  const [zero, one, ...rest] = digits as [Binding, Binding, ...Binding[]];
  return [
    ...named("Draw", [
      ["b", "B", "Brush", take("brush")],
      ["e", "E", "Eraser", take("eraser")],
      ["p", "P", "Polygon: click corners, Enter or a double click closes", take("polygon")],
      ["g", "G", "Bucket: accept or repair an object of the mask", take("bucket")],
      ["h", "H", "Hand: move the image", take("move")],
      ["Backspace", "Backspace", "Remove the polygon's last corner", () => polygon.removeLast()],
      ["Escape", "Esc", "Drop the polygon", () => polygon.drop()],
    ]),
    { keys: ["["], shown: "[", group: "Draw", does: "Smaller brush", act: () => desk.stepBrush(-1) },
    { keys: ["]"], shown: "]", group: "Draw", does: "Larger brush", act: () => desk.stepBrush(1) },
    zero,
    one,
    ...rest.map((binding) => ({ ...binding, shown: "" })),
    { keys: ["z"], shown: "Ctrl+Z", group: "Draw", does: "Undo", ctrl: true, shift: false, act: () => strokes.undo() },
    { keys: ["z"], shown: "Ctrl+Shift+Z", group: "Draw", does: "Redo", ctrl: true, shift: true, act: () => strokes.redo() },
    { keys: ["y"], shown: "", group: "Draw", does: "Redo", ctrl: true, act: () => strokes.redo() },
  ];
}

function learning({ learning: head, polygon }: Hands): Binding[] {
  return named("Learn", [
    ["Enter", "Enter", "Train once", () => (polygon.isOpen ? polygon.close() : head.train())],
    ["l", "L", "Learn continuously, or stop", () => head.toggleContinuous()],
    ["n", "N", "Next suggested image", () => void head.suggest()],
    ["r", "R", "Reviewed, or not", () => head.toggleState("reviewed")],
    ["d", "D", "Fully labelled (the rest is background), or not", () => head.toggleState("full")],
  ]);
}

function looking({ desk, viewer, help }: Hands): Binding[] {
  const toggle = (name: LayerName) => (): void => desk.toggleLayer(name);
  const pan = (key: string, right: number, down: number, shown: string): Binding => ({
    keys: [key],
    shown,
    group: "Look",
    does: "Move the image",
    shift: true,
    act: () => viewer.pan(right * PAN_PX, down * PAN_PX),
  });
  return [
    { keys: [], shown: "Space", group: "Look", does: "Hold: hide everything above the image", act: () => undefined },
    ...named("Look", [
      ["s", "S", "Scribbles", toggle("labels")],
      ["m", "M", "Mask", toggle("mask")],
      ["u", "U", "Uncertainty", toggle("uncertainty")],
      ["x", "X", "Errors: mask against labels", toggle("errors")],
      ["f", "F", "Fit the image", () => viewer.fit()],
      ["-", "−", "Zoom out", () => viewer.zoom(1 / 1.5)],
    ]),
    { keys: ["+", "="], shown: "+", group: "Look", does: "Zoom in", act: () => viewer.zoom(1.5) },
    pan("ArrowLeft", -1, 0, "Shift+arrows"),
    pan("ArrowRight", 1, 0, ""),
    pan("ArrowUp", 0, -1, ""),
    pan("ArrowDown", 0, 1, ""),
    { keys: ["?"], shown: "?", group: "Look", does: "This list", act: () => help.open() },
  ];
}

function choosing({ desk, list, text }: Hands): Binding[] {
  const cycle = (): void => {
    desk.variant.update((variant) => VARIANTS[(VARIANTS.indexOf(variant) + 1) % 3] as Variant);
  };
  return [
    ...named("Images", [
      ["ArrowRight ArrowDown PageDown", "→ or PageDown", "Next image", () => list.step(1)],
      ["ArrowLeft ArrowUp PageUp", "← or PageUp", "Previous image", () => list.step(-1)],
    ]),
    ...named("Text", [
      ["t", "T", "Edit the text; Ctrl+Enter saves, Esc leaves", () => text.focus()],
      ["v", "V", "Mask with the text, without it, with another", cycle],
    ]),
  ];
}
