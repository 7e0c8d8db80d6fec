"""The lines that use a method, in a training loop of one's own and on the command line, from the slots that it fills.

They take for granted what every loop has: ``model`` with its classifier ``model.fc``, ``train``, ``loader``,
``held_out_loader``, ``optimizer``, ``epochs``, ``class_counts`` and ``labels``.
"""

from __future__ import annotations

import dataclasses
import re

from longtail import functional, losses, samplers
from longtail.difficulty import ClassDifficulty, DifficultyOptions
from longtail.methods.base import ClassStats, Method, Parts

__all__ = ["commands", "in_a_detector", "in_a_loop"]

HOMES = {
    "CrossEntropyLoss": "torch.nn",
    "cross_entropy": "torch.nn.functional",
    "DataLoader": "torch.utils.data",
    "ClassDifficulty": "longtail",
    "box_predictions": "longtail.integrations.detection",
    "with_box_criterion": "longtail.integrations.detection",
    **{name: module.__name__ for module in (functional, losses, samplers) for name in module.__all__},
    **dict.fromkeys(("ClassStats", "get_method"), "longtail.methods"),
    "stages": "longtail",
}
"""Where the names of the lines are imported from."""
GET = 'parts = get_method("{name}").parts(ClassStats(class_counts=class_counts))'
SGD = "optimizer = torch.optim.SGD({what}, lr=0.1, momentum=0.9)"


def in_a_loop(method: Method) -> str:
    """Python for a loop of one's own; "" for a method of detectors alone."""
    if "classify" not in method.tasks:
        return ""
    parts = method.parts(ClassStats(class_counts=[2, 1], bare=True))
    return _from_the_library(method, parts) if method.in_code else _in_stages(method, parts)


def _from_the_library(method: Method, parts: Parts) -> str:
    """A loss or a sampler of the library, with a difficulty if there is one."""
    values = {field.name: repr(getattr(method, field.name)) for field in dataclasses.fields(method)}
    expression = method.in_code.format_map(values)
    lines = [] if parts.difficulty is None else _difficulty(parts.difficulty)
    if parts.sampler is not None:
        lines += [f"sampler = {expression}", "loader = DataLoader(train, 128, sampler=sampler)"]
        body = ["sampler.set_epoch(epoch)", *_batches("cross_entropy(model(x), y)")]
    else:
        lines += [f"criterion = {expression}"]
        body = _batches("criterion(model(x), y)")
    if parts.difficulty is not None:
        body += ["difficulty.measure(model, held_out_loader)"]
    return _code(lines, ["for epoch in range(epochs):", *_in(body)])


def _difficulty(made: ClassDifficulty) -> list[str]:
    """What makes such a difficulty: how it is scaled, and the options that are not the defaults."""
    plain, options = DifficultyOptions(), dataclasses.asdict(made.options)
    changed = {name: value for name, value in options.items() if name != "normalize" and value != getattr(plain, name)}
    lines = [f'len(class_counts), class_counts=class_counts, normalize="{made.options.normalize}",']
    if changed:
        lines.append(" ".join(f"{name}={value!r},".replace("'", '"') for name, value in changed.items()))
    lines[-1] = lines[-1].removesuffix(",")
    return ["difficulty = ClassDifficulty(", *_in(lines), ")"]


def _in_stages(method: Method, parts: Parts) -> str:
    """Stages, a classifier, a training step or an end of its own."""
    asked = ["held_out=held_out_loader"] if method.needs_held_out else []
    looks = any(stage.prepare for stage in parts.stages) or (parts.finish is not None and not method.needs_held_out)
    asked += ["train=loader"] if looks else []
    return _code(
        [
            "running = stages(",
            f"    {', '.join([repr(method.name), 'model', 'labels', 'epochs=epochs', *asked])},".replace("'", '"'),
            f"    optimizer=lambda parameters: {SGD.format(what='parameters').partition('= ')[2]},",
            ")",
            "for stage in running:",
            "    batches = DataLoader(train, 128, sampler=stage.sampler)",
            "    for epoch in stage.epochs:",
            "        for x, y in batches:",
            "            stage.optimizer.zero_grad()",
            "            stage.loss(x, y).backward()",
            "            stage.optimizer.step()",
        ]
    )


def in_a_detector(method: Method) -> str:
    """Python for torchvision's Faster or Mask R-CNN; "" for a method that judges no boxes."""
    if "detect" not in method.tasks:
        return ""
    some = ClassStats(class_counts=[2, 1], labels_per_image=[[0], [0, 1]], task="detect")
    parts = method.parts(some)
    lines = [
        "stats = ClassStats(",
        '    class_counts=class_counts, labels_per_image=labels_per_image, task="detect"',
        ")",
        GET.format(name=method.name).partition("ClassStats")[0] + "stats)",
    ]
    layer = "predictor.cls_score"
    trainable = parts.stages[0].trainable if parts.stages else None
    if trainable or parts.body or parts.head:
        lines.append("predictor = model.roi_heads.box_predictor")
    if trainable or parts.body:
        lines.append(f"classifier = {layer}")
    lines += [f"{layer} = parts.head({layer})"] if parts.head else []
    lines += ["parts.body(model, classifier)"] if parts.body else []
    lines += ["with_box_criterion(model, parts.criterion)"]
    if trainable:
        lines += [SGD.format(what="list(parts.stages[0].trainable(model, classifier))")]
    body = []
    if parts.sampler is not None:
        lines += [
            "loader = DataLoader(",
            "    train, 2, sampler=parts.sampler, collate_fn=lambda batch: tuple(zip(*batch))",
            ")",
        ]
        body += ["parts.sampler.set_epoch(epoch)"]
    body += ["...  # train as before"]
    if parts.difficulty is not None:
        body += [
            "parts.difficulty.measure(",
            "    model, held_out_loader, predict=lambda model, batch: box_predictions(model, *batch)",
            ")",
        ]
    return _code(lines, ["for epoch in range(epochs):", *_in(body)] if len(body) > 1 else [])


def commands(method: Method) -> list[str]:
    """Command lines: a run, and a comparison with cross-entropy where the method starts from random weights."""
    classify = "classify" in method.tasks
    data = "folder:photos" if classify else "coco:photos"
    task = "" if classify else " --task detect"
    weights = " --weights runs/ce/model.safetensors" if method.needs_weights else ""
    lines = [f"longtail train {data} --method {method.name}{task}{weights} --out runs/{method.name}"]
    example = _example(method)
    if example is not None and not method.needs_weights:
        lines.append(lines[0].replace(" --out", f" --method-kwargs {example} --out"))
    if method.needs_weights:
        lines.insert(0, f"longtail train {data} --method ce{task} --out runs/ce")
    elif method.name != "ce":
        lines.append(f"longtail compare {data} --methods ce {method.name}{task} --seeds 3 --out comparison")
    return lines


def _example(method: Method) -> str | None:
    """The first of the main hyperparameters that has a number or a name for its default, with that."""
    names = [field.name for field in dataclasses.fields(method)]
    for name in (*method.main, *names):
        value = getattr(method, name)
        if type(value) in (int, float, str):
            return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
    return None


def _batches(loss: str) -> list[str]:
    return [
        "for x, y in loader:",
        "    optimizer.zero_grad()",
        f"    {loss}.backward()",
        "    optimizer.step()",
    ]


def _epochs(loss: str) -> list[str]:
    return ["for epoch in range(epochs):", *_in(_batches(loss))]


def _in(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _code(*blocks: list[str]) -> str:
    """The lines with the imports of what they name."""
    lines = [line for block in blocks for line in block]
    text = "\n".join(lines)
    found: dict[str, list[str]] = {}
    for name in sorted(set(re.findall(r"(?<![\w.])[A-Za-z_]\w+(?=\()", text)) & HOMES.keys()):
        found.setdefault(HOMES[name], []).append(name)
    imports = ["import torch"] if "torch." in text else []
    order = sorted(found, key=lambda module: (module.startswith("longtail"), module))
    imports += [f"from {module} import {', '.join(found[module])}" for module in order]
    return "\n".join([*imports, "", *lines]) + "\n"
