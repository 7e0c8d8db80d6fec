"""Class weights in the loss of DETR's matched boxes: Conditional DETR on ``shapes-lt`` with and without CDB-W.

A small Conditional DETR (2 + 3 layers, width 128, 20 queries) from random weights, on maps of EfficientNet-Lite0, whose
published weights stay as they are: its maps are computed once. Both trainings of a seed have the same images, start and
order; the difficulty is measured on the difficulty split after each epoch.

    python benchmarks/detr.py

A row per run is added to ``results/detr.csv``; those that are there are not computed again.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import ConditionalDetrConfig, ConditionalDetrForObjectDetection, ResNetConfig

from longtail import ClassDifficulty
from longtail.data.boxes import BoxSplit
from longtail.data.shapes import shapes_lt
from longtail.integrations import matched_predictions, with_class_weights
from longtail.metrics import detection_ap
from longtail.models import create_model
from rows import add_row, read_rows

RESULTS = Path(__file__).resolve().parent.parent / "results" / "detr.csv"
METHODS = ("ce", "cdb-w")
MEASURES = ("AP", "AP50", "APr", "APc", "APf")
COLUMNS: tuple[str, ...] = ("method", "seed", *MEASURES, "epochs", "seconds", "command")
BATCH, RATE, QUERIES, CHANNELS, BEST = 16, 1e-3, 20, 592, 100
Item = tuple[Tensor, dict[str, Tensor]]


class Maps(nn.Module):
    """In place of the backbone: its maps stand for the pixels."""

    def forward(self, maps: Tensor, mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return [(maps, mask.bool())]


def detector(categories: int, seed: int) -> Any:
    """A detector with random weights that takes maps ``[B, 592, 8, 8]``."""
    torch.manual_seed(seed)
    words: dict[str, Any] = {"hidden_sizes": [CHANNELS], "depths": [1], "out_features": ["stage1"]}
    channels = ResNetConfig(embedding_size=8, **words)
    sizes: dict[str, Any] = {
        "d_model": 128, "num_queries": QUERIES, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "encoder_ffn_dim": 256, "decoder_ffn_dim": 256, "dropout": 0.0,
        "auxiliary_loss": True, "num_labels": categories,
    }  # fmt: skip
    model: Any = ConditionalDetrForObjectDetection(ConditionalDetrConfig(backbone_config=channels, **sizes))
    model.model.backbone = Maps()
    nn.init.constant_(model.class_labels_classifier.bias, -4.0)  # 2 %: most queries are background
    return model


@torch.no_grad()
def items(frozen: Any, split: BoxSplit) -> list[Item]:
    """Of each image its maps of strides 8, 16 and 32 on one grid, and the boxes as the models of transformers take
    them."""
    found = []
    for first in range(0, len(split), 32):
        rows = [split[row] for row in range(first, min(first + 32, len(split)))]
        x = torch.stack([image for image, _ in rows]).float() / 127.5 - 1
        fine, middle, coarse = frozen.forward_intermediates(x, indices=[2, 3, 4], intermediates_only=True)
        maps = torch.cat([F.pixel_unshuffle(fine, 2), middle, F.interpolate(coarse, scale_factor=2)], dim=1)
        for own, (image, target) in zip(maps, rows, strict=True):
            low, high = target["boxes"].split(2, dim=1)
            boxes = torch.cat([(low + high) / 2, high - low], dim=1) / image.shape[-1]
            found.append((own.clone(), {"class_labels": target["labels"] - 1, "boxes": boxes}))
    return found


def batches(rows: list[Item], seed: int | None = None) -> DataLoader:
    """Batches of `items`; shuffled with a seed."""

    def together(some: list[Item]) -> dict[str, Any]:
        return {"pixel_values": torch.stack([maps for maps, _ in some]), "labels": [label for _, label in some]}

    generator = None if seed is None else torch.Generator().manual_seed(seed)
    data: Any = rows
    return DataLoader(data, BATCH, shuffle=seed is not None, generator=generator, collate_fn=together)


@torch.no_grad()
def judged(model: Any, split: BoxSplit, rows: list[Item]) -> dict[str, float]:
    """Average precision of the best 100 pairs of query and category in each image."""
    model.eval()
    found, ids = [], [category["id"] for category in split.categories]
    for batch in batches(rows):
        outputs = model(pixel_values=batch["pixel_values"])
        scores, places = outputs.logits.sigmoid().flatten(1).topk(BEST)
        for score, place, boxes in zip(scores, places, outputs.pred_boxes, strict=True):
            image = split.images[len(found) // BEST]
            x, y, w, h = boxes[place // len(ids)].T * image["width"]
            corners = torch.stack([x - w / 2, y - h / 2, w, h], dim=1).tolist()
            for value, c, box in zip(score.tolist(), (place % len(ids)).tolist(), corners, strict=True):
                found.append({"image_id": image["id"], "category_id": ids[c], "score": value, "bbox": box})
    return detection_ap(split.truth(), found)


def trained(method: str, seed: int, epochs: int, counts: list[int], rows: dict[str, list[Item]]) -> Any:
    model = detector(len(counts), seed)
    difficulty = ClassDifficulty(len(counts), class_counts=counts, normalize="samples")
    if method == "cdb-w":
        with_class_weights(model, difficulty)
    loader, held_out = batches(rows["train"], seed), batches(rows["val"])
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, epochs * len(loader), pct_start=0.1)
    for _ in range(epochs):
        model.train()
        for batch in loader:
            optimizer.zero_grad()
            model(**batch).loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            schedule.step()
        if method == "cdb-w":
            difficulty.measure(model, held_out, predict=matched_predictions)
    return model


def done() -> set[tuple[str, str]]:
    """The runs that are there."""
    return {(row["method"], row["seed"]) for row in read_rows(RESULTS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=24, help="of 63 steps")
    options = parser.parse_args()
    frozen = create_model("timm/tf_efficientnet_lite0", num_classes=2, weights="pretrained").eval()
    for seed in range(options.seeds):
        missing = [method for method in METHODS if (method, str(seed)) not in done()]
        if not missing:
            continue
        data = shapes_lt(seed=seed, masks=False)
        rows = {name: items(frozen, getattr(data, name)) for name in ("train", "val", "test")}
        for method in missing:
            begun = time.perf_counter()
            model = trained(method, seed, options.epochs, data.train.instance_counts(), rows)
            found = judged(model, data.test, rows["test"])
            row: dict[str, Any] = {key: round(100 * found[key], 3) for key in MEASURES}
            row |= {"method": method, "seed": seed, "epochs": options.epochs, "command": "python benchmarks/detr.py"}
            row |= {"seconds": round(time.perf_counter() - begun)}
            add_row(RESULTS, COLUMNS, row)
            print({key: row[key] for key in ("method", "seed", *MEASURES, "seconds")}, flush=True)


if __name__ == "__main__":
    main()
