"""Average precision at the scale of LVIS: `longtail.metrics.detection_ap` against the evaluator of LVIS's authors.

1,000 images with 300 detections each of 1,230 categories, most of them of the frequent ones, about a fifth near an
annotation. Both sides start from the lists as `json.load` gives them, so our checks are part of our time. One thread
each, in processes of their own, whose peaks of memory are compared too.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import random
import statistics
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from common import Row, fresh_process, peak_mib, seconds

IMAGES, FOUND, CATEGORIES = 1000, 300, 1230
SIZE = "1,000 images, 300,000 detections, 1,230 categories"


def benchmark() -> Iterator[Row]:
    os.environ["RAYON_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        fresh_process(__file__, folder, "make")
        ours, other = (fresh_process(__file__, folder, side) for side in ("ours", "reference"))
    if abs(ours["AP"] - other["AP"]) > 1e-9:
        raise SystemExit(f"the two evaluators disagree: {ours['AP']} and {other['AP']}")
    yield Row.of("detection_ap_s", SIZE, ours["seconds"], other["seconds"], target=1 / 40)
    yield Row.of("detection_ap_peak_mib", SIZE, ours["mib"], other["mib"], target=1)


def make(folder: Path) -> None:
    """Write ``truth.json`` and ``found.json``."""
    draw = random.Random(0)
    every = range(1, CATEGORIES + 1)

    def category() -> int:
        return 1 + int(CATEGORIES * draw.random() ** 3)

    def box() -> list[float]:
        return [draw.uniform(0, 400), draw.uniform(0, 300), draw.uniform(10, 200), draw.uniform(10, 150)]

    images, annotations, found = [], [], []
    for image in range(1, IMAGES + 1):
        own = [{"image_id": image, "category_id": category(), "bbox": box()} for _ in range(12)]
        listed = {own["category_id"] for own in own}
        negative = [c for c in draw.sample(every, 8) if c not in listed]
        open_lists = {"neg_category_ids": negative, "not_exhaustive_category_ids": draw.sample(sorted(listed), 1)}
        images.append({"id": image, "height": 480, "width": 640} | open_lists)
        annotations += own
        for _ in range(FOUND):
            near = draw.random() < 0.2
            guess = draw.choice(own) if near else {"category_id": category(), "bbox": box()}
            moved = [max(1.0, v + draw.gauss(0, 4) * near) for v in guess["bbox"]]
            found.append(
                {"image_id": image, "category_id": guess["category_id"], "bbox": moved, "score": draw.random()}
            )
    entries = [own | {"id": n, "area": own["bbox"][2] * own["bbox"][3]} for n, own in enumerate(annotations, 1)]
    count = {c: sum(own["category_id"] == c for own in annotations) for c in every}
    categories = [
        {"id": c, "name": str(c), "frequency": "r" if count[c] <= 10 else "c" if count[c] <= 100 else "f"}
        for c in every
    ]
    truth = {"images": images, "annotations": entries, "categories": categories}
    (folder / "truth.json").write_text(json.dumps(truth))
    (folder / "found.json").write_text(json.dumps(found))


def reference() -> Any:
    """lvis 0.5.3, which was made for an older numpy, for pycocotools and for drawing with OpenCV."""
    import numpy
    from faster_coco_eval.core import mask

    numpy.float = float  # type: ignore[attr-defined]
    package = types.ModuleType("pycocotools")
    package.mask = mask  # type: ignore[attr-defined]
    sys.modules |= {"pycocotools": package, "pycocotools.mask": mask, "cv2": types.ModuleType("cv2")}
    sys.modules["lvis.vis"] = types.SimpleNamespace(LVISVis=None)  # type: ignore[assignment]
    logging.Logger.warn = logging.Logger.warning  # type: ignore[method-assign, assignment]
    return importlib.import_module("lvis")


def measure(folder: Path, side: str) -> dict[str, float]:
    found = json.loads((folder / "found.json").read_text())
    result: dict[str, float] = {}
    if side == "ours":
        from longtail.metrics import detection_ap

        truth = json.loads((folder / "truth.json").read_text())
        repeats, call = 5, lambda: result.update(AP=detection_ap(truth, found)["AP"])
    else:
        lvis = reference()
        known = lvis.LVIS(str(folder / "truth.json"))

        def judge() -> None:
            evaluation = lvis.LVISEval(known, lvis.LVISResults(known, [dict(own) for own in found]), "bbox")
            evaluation.run()
            result.update(AP=evaluation.get_results()["AP"])

        repeats, call = 2, judge
    times = [seconds(quietly(call)) for _ in range(repeats)]
    return result | {"seconds": statistics.median(times), "mib": peak_mib()}


def quietly(call: Callable[[], object]) -> Callable[[], object]:
    def silent() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            call()

    return silent


if __name__ == "__main__":
    place, what = Path(sys.argv[1]), sys.argv[2]
    print(json.dumps(make(place) if what == "make" else measure(place, what)))
