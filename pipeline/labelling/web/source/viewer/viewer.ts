/** OpenSeadragon with our tiles below and our canvases above. */
import OpenSeadragon from "openseadragon";
import { type ImageInfo, type Point, TILE } from "../api/wire";
import { Frame } from "./frame";

const STILL = window.matchMedia("(prefers-reduced-motion: reduce)");

/** `turn` is another number for each time that the same tiles are fetched. */
function tileSource(image: ImageInfo, turn: number): OpenSeadragon.TileSource {
  const [height, width] = image.size;
  const coarsest = image.n_levels - 1;
  const source = new OpenSeadragon.TileSource({ width, height, tileSize: TILE, tileOverlap: 0, minLevel: 0, maxLevel: coarsest });
  // Their levels count from the coarsest, ours from the finest.
  source.getTileUrl = (level, x, y) => `/api/images/${image.image}/picture/${coarsest - level}/${x}_${y}?turn=${turn}`;
  return source;
}

/** OpenSeadragon adds a style sheet inside the page, which our policy forbids, unless it finds an element of that name. */
function withholdStyleSheet(): void {
  const marker = document.createElementNS("urn:no-style-sheet", "style");
  marker.setAttribute("data-openseadragon-mobile-css", "none");
  document.head.append(marker);
}

function options(element: HTMLElement): OpenSeadragon.Options {
  const gestures = { clickToZoom: false, dblClickToZoom: false, flickEnabled: false };
  return {
    element,
    drawer: "canvas",
    showNavigationControl: false,
    showNavigator: false,
    keyboardNavEnabled: false,
    tabIndex: 0,
    animationTime: STILL.matches ? 0 : 0.3,
    springStiffness: 10,
    blendTime: 0,
    immediateRender: false,
    visibilityRatio: 0.4,
    minZoomImageRatio: 0.6,
    maxZoomPixelRatio: 32,
    zoomPerScroll: 1.25,
    imageLoaderLimit: 4,
    maxImageCacheCount: 400,
    crossOriginPolicy: false,
    gestureSettingsMouse: gestures,
    gestureSettingsPen: gestures,
    gestureSettingsTouch: { ...gestures, pinchToZoom: true, flickEnabled: !STILL.matches },
  };
}

export class Viewer {
  readonly osd: OpenSeadragon.Viewer;
  #image: ImageInfo | null = null;
  #drawn: (frame: Frame) => void = () => undefined;
  #due = false;
  #turn = 0;
  #reload: "idle" | "under way" | "once more" = "idle";

  constructor(readonly element: HTMLElement) {
    withholdStyleSheet();
    this.osd = new OpenSeadragon.Viewer(options(element));
    this.osd.addHandler("update-viewport", () => this.#draw());
    this.osd.addHandler("zoom", () => this.#sharpen());
    this.osd.canvas.setAttribute("aria-label", "Image. Plus and minus zoom, Shift with an arrow moves, F fits.");
    this.osd.canvas.setAttribute("role", "application");
  }

  /** Call `drawn` in each frame that is drawn, after the image itself. */
  onFrame(drawn: (frame: Frame) => void): void {
    this.#drawn = drawn;
  }

  open(image: ImageInfo): void {
    this.#image = image;
    if (image.locked) {
      this.osd.close();
      this.redraw();
      return;
    }
    this.#reload = "idle";
    this.osd.open(tileSource(image, ++this.#turn) as unknown as OpenSeadragon.TileSourceSpecifier);
  }

  /** Fetch the picture again, of which the server has a sharper one; the old one is seen until the new one is whole. */
  reload(image: number): void {
    const shown = this.#image;
    if (shown?.image !== image || shown.locked || !this.osd.isOpen()) return;
    if (this.#reload !== "idle") {
      this.#reload = "once more";
      return;
    }
    this.#reload = "under way";
    const old = this.osd.world.getItemAt(0);
    const turn = ++this.#turn;
    const whole = (): void => {
      if (turn !== this.#turn) return; // another image was opened
      this.osd.world.removeItem(old);
      const isDue = this.#reload === "once more";
      this.#reload = "idle";
      if (isDue) this.reload(image);
    };
    this.osd.addTiledImage({
      tileSource: tileSource(shown, turn),
      success: ({ item }: { item: OpenSeadragon.TiledImage }) => item.whenFullyLoaded(whole),
    } as unknown as OpenSeadragon.TileSourceSpecifier);
  }

  /** Take over newer facts of the image that is open. */
  renew(image: ImageInfo): void {
    const wasLocked = this.#image?.locked === true;
    this.#image = image;
    if (wasLocked && !image.locked) this.open(image);
    else this.redraw();
  }

  /** Draw our canvases again, in the next frame. */
  redraw(): void {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
    });
  }

  get frame(): Frame | null {
    const image = this.#image;
    if (image === null) return null;
    const ratio = window.devicePixelRatio;
    const width = Math.round(this.element.clientWidth * ratio);
    const height = Math.round(this.element.clientHeight * ratio);
    if (image.locked || !this.osd.isOpen()) return new Frame(image, 1, 0, 0, width, height);
    // OpenSeadragon's unit is the image's width.
    const bounds = this.osd.viewport.getBoundsNoRotate(true);
    const unit = width / bounds.width;
    return new Frame(image, unit / image.size[1], -bounds.x * unit, -bounds.y * unit, width, height);
  }

  /** Pixel of the image below a point of the page. */
  imagePoint(clientX: number, clientY: number): Point | null {
    const frame = this.frame;
    if (frame === null) return null;
    const { left, top } = this.element.getBoundingClientRect();
    const ratio = window.devicePixelRatio;
    return [
      ((clientX - left) * ratio - frame.left) / frame.scale,
      ((clientY - top) * ratio - frame.top) / frame.scale,
    ];
  }

  fit(): void {
    if (this.osd.isOpen()) this.osd.viewport.goHome(STILL.matches);
  }

  zoom(factor: number): void {
    if (!this.osd.isOpen()) return;
    this.osd.viewport.zoomBy(factor, undefined, STILL.matches).applyConstraints(STILL.matches);
  }

  /** Move the view, by device-independent pixels. */
  pan(right: number, down: number): void {
    if (!this.osd.isOpen()) return;
    const { viewport } = this.osd;
    const delta = viewport.deltaPointsFromPixels(new OpenSeadragon.Point(right, down));
    viewport.panBy(delta, STILL.matches).applyConstraints(STILL.matches);
  }

  /** Brightness and contrast of the image alone, as factors. */
  setTone(brightness: number, contrast: number): void {
    const plain = brightness === 1 && contrast === 1;
    this.osd.drawer.canvas.style.filter = plain ? "" : `brightness(${brightness}) contrast(${contrast})`;
  }

  #draw(): void {
    const frame = this.frame;
    if (frame !== null && frame.width > 0) this.#drawn(frame);
  }

  /** Show single pixels as squares where one looks closely. */
  #sharpen(): void {
    const frame = this.frame;
    if (frame !== null) this.osd.drawer.setImageSmoothingEnabled(frame.scale < 3);
  }
}
