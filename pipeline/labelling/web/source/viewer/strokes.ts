/** Pending strokes on the canvas of the labels, in the colour and pattern that their tiles will have. */
import type { PendingStroke } from "../drawing/pending";
import type { LabelClass } from "../api/wire";
import type { Frame } from "./frame";
import { LABEL_STRENGTH, patternTile } from "./patterns";

function path(frame: Frame, stroke: PendingStroke): Path2D {
  const path = new Path2D();
  stroke.points.forEach((point, i) => {
    const [x, y] = frame.place(point);
    if (i === 0) path.moveTo(x, y);
    else path.lineTo(x, y);
  });
  if (stroke.tool === "polygon") path.closePath();
  else if (stroke.points.length === 1) path.lineTo(...frame.place(stroke.points[0] as [number, number]));
  return path;
}

function lay(context: CanvasRenderingContext2D, stroke: PendingStroke, line: Path2D): void {
  if (stroke.tool === "polygon") context.fill(line);
  else context.stroke(line);
}

/** Ring where the bucket was emptied: which pixels it fills is known to the server alone. */
function drawBucket(context: CanvasRenderingContext2D, frame: Frame, stroke: PendingStroke, colour: string): void {
  const point = stroke.points[0];
  if (point === undefined) return;
  context.beginPath();
  context.arc(...(frame.place(point) as [number, number]), 10, 0, 2 * Math.PI);
  context.strokeStyle = colour;
  context.lineWidth = 4;
  context.stroke();
}

/** Draw a stroke above the tiles of the labels, in place of what lies below it. */
export function drawStroke(
  context: CanvasRenderingContext2D,
  frame: Frame,
  stroke: PendingStroke,
  classes: readonly LabelClass[],
): void {
  const colour = classes[stroke.class ?? 0]?.colour ?? "#000000";
  if (stroke.tool === "bucket") {
    drawBucket(context, frame, stroke, colour);
    return;
  }
  const line = path(frame, stroke);
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = Math.max(1, stroke.size * frame.scale);
  context.globalCompositeOperation = "destination-out";
  context.strokeStyle = context.fillStyle = "#000";
  lay(context, stroke, line);
  context.globalCompositeOperation = "source-over";
  if (stroke.tool === "eraser" || stroke.class === null) return;
  const pattern = context.createPattern(patternTile(stroke.class, colour, LABEL_STRENGTH), "repeat");
  if (pattern === null) return;
  const size = (frame.scale * 2 ** frame.level) / frame.zoom;
  pattern.setTransform(new DOMMatrix([size, 0, 0, size, frame.left, frame.top]));
  context.strokeStyle = context.fillStyle = pattern;
  lay(context, stroke, line);
}

/** The corners of a polygon that is not closed yet. */
export function drawOutline(context: CanvasRenderingContext2D, frame: Frame, points: PendingStroke["points"]): void {
  if (points.length === 0) return;
  const line = new Path2D();
  points.forEach((point, i) => (i === 0 ? line.moveTo(...frame.place(point)) : line.lineTo(...frame.place(point))));
  for (const [width, colour] of [[4, "#000"], [2, "#fff"]] as const) {
    context.lineWidth = width * window.devicePixelRatio;
    context.strokeStyle = colour;
    context.stroke(line);
  }
  const [x, y] = frame.place(points[0] as [number, number]);
  context.beginPath();
  context.arc(x, y, 6 * window.devicePixelRatio, 0, 2 * Math.PI);
  context.stroke();
}
