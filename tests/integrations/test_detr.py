"""Class weights in the loss of DETR's matched boxes: the stock loss at weight 1, and what is said of it by hand."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from longtail import ClassDifficulty, LongtailError

transformers = pytest.importorskip("transformers")

from longtail.integrations.detr import matched_predictions, with_class_weights  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSES, QUERIES = 4, 6


def detector(kind: str) -> Any:
    torch.manual_seed(0)
    stages = ["stage2", "stage3"] if kind == "deformable" else ["stage3"]
    backbone = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=stages
    )
    words: dict[str, Any] = {
        "backbone_config": backbone, "backbone": None, "use_timm_backbone": False, "use_pretrained_backbone": False,
        "num_labels": CLASSES, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": QUERIES,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "auxiliary_loss": True, "dropout": 0.0,
    }  # fmt: skip
    if kind == "detr":
        return transformers.DetrForObjectDetection(transformers.DetrConfig(**words)).eval()
    if kind == "deformable":
        words |= {"num_feature_levels": 2}
        return transformers.DeformableDetrForObjectDetection(transformers.DeformableDetrConfig(**words)).eval()
    config = transformers.YolosConfig(
        num_labels=CLASSES, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=[48, 48], num_detection_tokens=QUERIES, use_mid_position_embeddings=False,
    )  # fmt: skip
    return transformers.YolosForObjectDetection(config).eval()


def batch() -> dict[str, Any]:
    boxes = torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.6, 0.6, 0.3, 0.3]])
    labels = [
        {"class_labels": torch.tensor([0, 3]), "boxes": boxes},
        {"class_labels": torch.tensor([2]), "boxes": boxes[1:]},
        {"class_labels": torch.tensor([], dtype=torch.int64), "boxes": boxes[:0]},
    ]
    return {"pixel_values": torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1)), "labels": labels}


def by_hand(outputs: Any, weight: Tensor, rows: list[tuple[int, int, int]], config: Any) -> Tensor:
    """The classification loss of the last layer: each query's own, weighted by the class that it is matched to."""
    logits = outputs.logits
    target = torch.full(logits.shape[:2], CLASSES)
    for row, query, c in rows:
        target[row, query] = c
    if logits.shape[-1] > CLASSES:
        w = torch.cat([weight, torch.tensor([config.eos_coefficient])])[target]
        losses = -logits.log_softmax(-1).gather(2, target[..., None])[..., 0]
        return (w * losses).sum() / w.sum()
    total = torch.zeros(())
    for i in range(len(logits)):
        for q in range(logits.shape[1]):
            w = weight[target[i, q]] if target[i, q] < CLASSES else 1.0
            for c in range(CLASSES):
                p = logits[i, q, c].sigmoid()
                a = config.focal_alpha
                own = -a * (1 - p) ** 2 * p.log() if c == target[i, q] else -(1 - a) * p**2 * (1 - p).log()
                total = total + w * own
    return total / 3  # boxes


@pytest.mark.parametrize("kind", ["detr", "deformable", "yolos"])
def test_at_weight_one_it_is_the_stock_loss_and_otherwise_what_is_written_by_hand(kind: str) -> None:
    model, inputs = detector(kind), batch()
    stock = model(**inputs)
    names = set(model.state_dict())
    difficulty = ClassDifficulty(CLASSES, tau=1.0, momentum=0)
    assert with_class_weights(model, difficulty) is model and set(model.state_dict()) == names
    assert torch.equal(model(**inputs).loss, stock.loss)
    difficulty.step([0.0, 0.9, 0.5, 0.8])
    weighted = model(**inputs)
    found, true = matched_predictions(model, inputs)
    assert true.sort()[0].tolist() == [0, 2, 3] and found.shape == (3,)
    rows = matched_rows(model, weighted, inputs["labels"])
    torch.testing.assert_close(weighted.loss_dict["loss_ce"], by_hand(weighted, difficulty.weight, rows, model.config))
    others = {name for name in stock.loss_dict if not name.startswith("loss_ce")}
    assert all(torch.equal(stock.loss_dict[name], weighted.loss_dict[name]) for name in others)
    changes = sum(weighted.loss_dict[n] - stock.loss_dict[n] for n in stock.loss_dict if n.startswith("loss_ce"))
    torch.testing.assert_close(weighted.loss - stock.loss, changes, rtol=1e-4, atol=1e-5)
    weighted.loss.backward()


def matched_rows(model: Any, outputs: Any, labels: list[Any]) -> list[tuple[int, int, int]]:
    from transformers.loss import loss_deformable_detr, loss_for_object_detection

    softmax = outputs.logits.shape[-1] > CLASSES
    kind = (
        loss_for_object_detection.HungarianMatcher if softmax else loss_deformable_detr.DeformableDetrHungarianMatcher
    )
    config = model.config
    match = kind(config.class_cost, config.bbox_cost, config.giou_cost)
    pairs = match({"logits": outputs.logits, "pred_boxes": outputs.pred_boxes}, labels)
    return [
        (i, int(q), int(labels[i]["class_labels"][b]))
        for i, (queries, boxes) in enumerate(pairs)
        for q, b in zip(queries, boxes, strict=True)
    ]


def test_the_difficulty_is_the_share_of_boxes_whose_query_names_the_class() -> None:
    model, inputs = with_class_weights(detector("detr"), torch.ones(CLASSES)), batch()
    difficulty = ClassDifficulty(CLASSES, momentum=0)
    difficulty.measure(model, [inputs], predict=matched_predictions)
    found, true = matched_predictions(model, inputs)
    for c in (0, 2, 3):
        assert difficulty.performance[c] == float((found == true)[true == c].float().mean())
    assert difficulty.performance[1].isnan()


def test_other_models_and_weights_are_refused() -> None:
    with pytest.raises(LongtailError, match="5 class weights for 4 classes"):
        with_class_weights(detector("detr"), torch.ones(5))
    config = transformers.ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    with pytest.raises(LongtailError, match="has a loss of another kind"):
        with_class_weights(transformers.ViTForImageClassification(config), F.one_hot(torch.tensor(0), 2).float())


def test_the_lines_of_the_page_train() -> None:
    page = Path(__file__).parents[2] / "docs" / "trainers" / "detectors.md"
    (code,) = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    model = detector("detr").train()
    names: dict[str, Any] = {
        "model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.001), "epochs": 2, "loader": [batch()],
        "held_out_loader": [batch()], "boxes_per_class": [5, 1, 2, 3],
    }  # fmt: skip
    exec(compile(code, str(page), "exec"), names)
    assert names["difficulty"].steps == 2 and model.training
