"""Seconds from the end of a stroke to a coarse and to a fine mask of what is in view, in the served `textdiff label`.

    python benchmarks/speed/label.py CACHE [--image-size 256] [--images 30] [--labelled 1] [--strokes 12]
        [--processors N] [--json]

Starts `textdiff label` on the images of a cache's training split, without their masks, and talks to it as the page
does: strokes by POST, masks by server-sent events. The session makes its own features at `--image-size`. Strokes lie
along the middles of true objects and of the background (simulated_user.py). `--labelled` images have strokes before the
clock starts. Then, on the last of them:

* saved: until the stroke is answered, and thus on the disk; coarse, fine: until the event of that mask, whose tiles can
  be fetched then; learnt: what the page says the lesson took.
* interrupted: the same for a stroke 0.4 s after another, whose work it ends.

Median and 95th percentile over the strokes, the server's own memory at the end (RssAnon), and the machine's load at the
beginning and the end: with other work beside, times are not those of the machine.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from textdiff.components import FeatureReader, read_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "accuracy"))
from plausibility import not_positive, refuse
from simulated_user import along_middle
from skimage.measure import label as parts_of

INTERRUPTED_AFTER_S = 0.4
TIMEOUT_S = 120.0
MOST_POINTS = 12


class Page:
    """The page's part: requests with the cookie, and the stream of events."""

    def __init__(self, link: str) -> None:
        parts = urlsplit(link)
        self.host, self.origin = parts.netloc, f"{parts.scheme}://{parts.netloc}"
        answer = self._request("GET", f"{parts.path}?{parts.query}")
        self.cookie = answer.getheader("Set-Cookie", "").partition(";")[0]
        self.events: queue.Queue[tuple[float, Mapping[str, Any]]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def get(self, path: str) -> Any:  # noqa: ANN401
        """JSON of an address."""
        return json.loads(self._request("GET", path).read())

    def post(self, path: str, **body: Any) -> Any:  # noqa: ANN401
        """JSON that a change is answered with."""
        answer = self._request("POST", path, json.dumps(body))
        content = json.loads(answer.read())
        if answer.status != 200:
            raise SystemExit(f"error: {path}: {content}")
        return content

    def until(self, kind: str, **least: int | str) -> float:
        """Time of the first event of a kind whose numbers are at least these, and whose words are these."""
        end = time.perf_counter() + TIMEOUT_S
        while time.perf_counter() < end:
            try:
                at, event = self.events.get(timeout=1)
            except queue.Empty:
                continue
            if event["type"] == kind and all(_meets(event[name], value) for name, value in least.items()):
                return at
        raise SystemExit(f"error: no {kind} with {least} within {TIMEOUT_S:.0f} s")

    def _request(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection(self.host, timeout=TIMEOUT_S)
        headers = {"Origin": self.origin, "Content-Type": "application/json", "Cookie": getattr(self, "cookie", "")}
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def _listen(self) -> None:
        for line in self._request("GET", "/api/events"):
            if line.startswith(b"data: "):
                self.events.put((time.perf_counter(), json.loads(line[6:])))


def _meets(value: Any, wanted: Any) -> bool:  # noqa: ANN401
    return bool(value >= wanted) if isinstance(wanted, int) else bool(value == wanted)


def strokes_on(mask: np.ndarray, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Bodies of strokes on an image, in turn on an object and on the background."""
    rng, objects = np.random.default_rng(seed), parts_of(mask > 0)
    numbers = np.flatnonzero(np.bincount(objects.ravel())[1:] > 50) + 1
    for i in range(n):
        top, left = (int(rng.integers(0, max(1, length - 256))) for length in mask.shape)
        here = slice(top, top + 256), slice(left, left + 256)
        region = objects == rng.choice(numbers) if i % 2 == 0 else np.zeros(mask.shape, bool)
        if i % 2:
            region[here] = mask[here] == 0
        y, x = along_middle(region, 40, 1).nonzero()
        order = np.argsort(y + x)[:: -(-len(y) // MOST_POINTS)]
        points = [[float(x[k]) + 0.5, float(y[k]) + 0.5] for k in order]
        yield {"tool": "brush", "class": 1 - i % 2, "size": 5.0, "points": points}


def timed_stroke(page: Page, image: int, stroke: Mapping[str, Any]) -> dict[str, float]:
    """Seconds from a stroke to what follows it."""
    started = time.perf_counter()
    version = page.post("/api/strokes", key=str(uuid.uuid4()), image=image, **stroke)["version"]
    saved = time.perf_counter()
    coarse = page.until("mask", image=image, stage="coarse", labels_version=version)
    fine = page.until("mask", image=image, stage="fine", labels_version=version)
    return {"saved": saved - started, "coarse": coarse - started, "fine": fine - started}


def draw(page: Page, masks: Sequence[np.ndarray], args: argparse.Namespace) -> dict[str, Any]:
    """All strokes, and their times."""
    image = args.labelled - 1
    for i in range(image):
        for stroke in strokes_on(masks[i], 2, i):
            page.post("/api/strokes", key=str(uuid.uuid4()), image=i, **stroke)
    page.post("/api/look", image=image, box=[0, 0, *masks[image].shape], variant="own")
    strokes = strokes_on(masks[image], 2 * args.strokes + 2, args.labelled)
    for _ in range(2):
        page.post("/api/strokes", key=str(uuid.uuid4()), image=image, **next(strokes))
    page.until("learnt", n_images=args.labelled)
    alone = [timed_stroke(page, image, next(strokes)) for _ in range(args.strokes)]
    interrupted = []
    for _ in range(args.strokes // 2):
        page.post("/api/strokes", key=str(uuid.uuid4()), image=image, **next(strokes))
        time.sleep(INTERRUPTED_AFTER_S)
        interrupted.append(timed_stroke(page, image, next(strokes)))
    return {"alone": spread(alone), "interrupted": spread(interrupted)}


def spread(times: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of each time."""
    return {
        name: {"median": statistics.median(of), "p95": float(np.quantile(of, 0.95))}
        for name, of in ((name, [one[name] for one in times]) for name in times[0])
    }


def serve(data: Path, out: Path, args: argparse.Namespace) -> subprocess.Popen[str]:
    """The server in a process of its own, on so many processors."""
    words = ["label", str(data), "--out", str(out), "--no-browser", "--port", "0", "--image-size", str(args.image_size)]
    processors = sorted(os.sched_getaffinity(0))[: args.processors]
    return subprocess.Popen(
        [sys.executable, "-m", "textdiff", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, processors),  # noqa: PLW1509 - one thread forks
    )


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Serve, draw, and take the times."""
    reader = FeatureReader(args.cache)
    rows = list({row.parent: row for row in reader.split("train")}.values())[: args.images]
    root, load = Path(reader.table.root), os.getloadavg()[0]
    masks = [np.asarray(read_mask(root / str(row.mask))) for row in rows[: args.labelled]]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "images.csv"
        with data.open("w", newline="") as file:
            texts = ["" if row.text is None else reader.table.texts[row.text] for row in rows]
            named = (
                [row.parent, str(root / row.image), "", text, "train"] for row, text in zip(rows, texts, strict=True)
            )
            csv.writer(file).writerows([["id", "image", "mask", "text", "split"], *named])
        started = time.perf_counter()
        with serve(data, Path(folder) / "labels", args) as server:
            try:
                assert server.stdout is not None
                page = Page(server.stdout.readline().strip())
                while page.get("/api/session")["cache"]["ready"] < len(rows):
                    time.sleep(0.5)
                prepared = time.perf_counter() - started
                times = draw(page, masks, args)
                memory = _memory_bytes(server.pid)
            finally:
                server.terminate()
    return {
        "image_size": args.image_size,
        "images": len(rows),
        "labelled": args.labelled,
        "processors": args.processors,
        "prepared_s": prepared,
        **times,
        "memory_bytes": memory,
        "load": [load, os.getloadavg()[0]],
    }


def _memory_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """For the terminal."""
    yield (
        f"{result['image_size']} pixels, {result['images']} images ({result['labelled']} labelled), "
        f"{result['processors']} processors, load {result['load'][0]:.1f} to {result['load'][1]:.1f}"
    )
    yield f"features of all images: {result['prepared_s']:.0f} s; memory {result['memory_bytes'] / 1e6:.0f} MB"
    for kind in ("alone", "interrupted"):
        figures = (f"{name} {of['median']:.2f} s (p95 {of['p95']:.2f})" for name, of in result[kind].items())
        yield f"{kind}: {', '.join(figures)}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--labelled", type=int, default=1)
    parser.add_argument("--strokes", type=int, default=12)
    parser.add_argument("--processors", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args)
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    refuse(not_positive({name: of["median"] for name, of in result["alone"].items()}))


if __name__ == "__main__":
    main()
