"""The lines that use a method, in a training loop of one's own and on the command line, from the slots that it fills.

They take for granted what every loop has: ``model`` with its classifier ``model.fc``, ``train``, ``loader``,
``held_out_loader``, ``optimizer``, ``epochs``, ``class_counts`` and ``labels``.
"""

from __future__ import annotations

import dataclasses
import re

from longtail import functional, losses, samplers
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
    **dict.fromkeys(("ClassStats", "StepContext", "get_method"), "longtail.methods"),
}
"""Where the names of the lines are imported from."""
DIFFICULTY = [
    "difficulty = ClassDifficulty(",
    '    len(class_counts), class_counts=class_counts, normalize="samples"',
    ")",
]
MEASURE = [
    "model.eval()",
    "with torch.no_grad():",
    "    for x, y in held_out_loader:",
    "        difficulty.update(model(x), y)",
    "difficulty.step()",
]
GET = 'parts = get_method("{name}").parts(ClassStats(class_counts=class_counts))'
LABELLED = 'parts = get_method("{name}").parts(ClassStats(class_counts=class_counts, labels=labels))'
SGD = "optimizer = torch.optim.SGD({what}, lr=0.1, momentum=0.9)"


def in_a_loop(method: Method) -> str:
    """Python for a loop of one's own; "" for a method of detectors alone."""
    if "classify" not in method.tasks:
        return ""
    parts = method.parts(ClassStats(class_counts=[2, 1]))
    if method.in_code:
        return _from_the_library(method, parts)
    if parts.stages:
        return (_last_stage if any(stage.trainable for stage in parts.stages) else _stages)(method, parts)
    if parts.step is not None:
        return _own_step(method, parts)
    if parts.finish is not None:
        return _finished(method, parts)
    head = ["model.fc = parts.head(model.fc)", SGD.format(what="model.parameters()")] if parts.head else []
    return _code([GET.format(name=method.name), *head], _epochs("parts.criterion(model(x), y)"))


def _from_the_library(method: Method, parts: Parts) -> str:
    """A loss or a sampler of the library, with a difficulty if there is one."""
    values = {field.name: repr(getattr(method, field.name)) for field in dataclasses.fields(method)}
    expression = method.in_code.format_map(values)
    lines = DIFFICULTY[:] if parts.difficulty is not None else []
    if parts.sampler is not None:
        lines += [f"sampler = {expression}", "loader = DataLoader(train, 128, sampler=sampler)"]
        body = ["sampler.set_epoch(epoch)", *_batches("cross_entropy(model(x), y)")]
    else:
        lines += [f"criterion = {expression}"]
        body = _batches("criterion(model(x), y)")
    if parts.difficulty is not None:
        body = ["model.train()", *body, *MEASURE]
    return _code(lines, ["for epoch in range(epochs):", *_in(body)])


def _own_step(method: Method, parts: Parts) -> str:
    body = [
        "for batch, held_out in zip(loader, itertools.cycle(held_out_loader)):",
        *_in(_context("batch=batch, meta=held_out")),
        "    optimizer.zero_grad()",
        '    parts.step(context)["loss"].backward()',
        "    optimizer.step()",
    ]
    if parts.difficulty is not None:
        body = ["model.train()", *body, *[line.replace("difficulty.", "parts.difficulty.") for line in MEASURE]]
    return _code([GET.format(name=method.name)], ["for epoch in range(epochs):", *_in(body)])


def _finished(method: Method, parts: Parts) -> str:
    loader = "held_out_loader" if method.needs_held_out else "loader"
    head = ["model.fc = parts.head(model.fc)  # before training"] if parts.head else []
    return _code(
        [GET.format(name=method.name), *head],
        _epochs("cross_entropy(model(x), y)"),
        _features(loader),
        ["parts.finish(model.fc, lambda split: found)"],
    )


def _features(loader: str) -> list[str]:
    """What goes into the classifier, and the targets, as ``found``."""
    return [
        "classifier, model.fc = model.fc, torch.nn.Identity()",
        "model.eval()",
        "with torch.no_grad():",
        f"    batches = [(model(x), y) for x, y in {loader}]",
        "model.fc = classifier",
        "found = tuple(torch.cat(of) for of in zip(*batches))",
    ]


def _stages(method: Method, parts: Parts) -> str:
    """Stages that only change the criterion."""
    head = ["model.fc = parts.head(model.fc)", SGD.format(what="model.parameters()")] if parts.head else []
    loop = [
        "for stage in parts.stages:",
        '    criterion = stage.parts.get("criterion", parts.criterion)',
        "    for epoch in range(round(stage.epochs * epochs)):",
        *_in(_in(_batches("criterion(model(x), y)"))),
    ]
    return _code([GET.format(name=method.name), *head], loop)


def _last_stage(method: Method, parts: Parts) -> str:
    """Plain training, then a stage that trains a part of the model."""
    stage = parts.stages[-1]
    now = dataclasses.replace(parts, **stage.parts)
    lines = [LABELLED.format(name=method.name)]
    lines += ["model.fc = parts.head(model.fc)"] if parts.head else []
    lines += ["parts.body(model, model.fc)"] if parts.body else []
    lines += ["stage = parts.stages[-1]", "later = max(1, round(stage.epochs * epochs))"]
    if len(parts.stages) > 1:
        first = (
            "list(parts.stages[0].trainable(model, model.fc))" if parts.stages[0].trainable else "model.parameters()"
        )
        plain = _in(_batches("cross_entropy(model(x), y)"))
        lines += [SGD.format(what=first), "for epoch in range(epochs - later):", *plain]
    lines += ["stage.setup(model, model.fc)"] if stage.setup else []
    lines += [*_features("loader"), "stage.prepare(model.fc, lambda split: found)"] if stage.prepare else []
    lines += [SGD.format(what="list(stage.trainable(model, model.fc))")]
    if now.sampler is not None:
        place = 'stage.parts["sampler"]' if "sampler" in stage.parts else "parts.sampler"
        lines += [f"sampler = {place}", "loader = DataLoader(train, 128, sampler=sampler)"]
    body = ["sampler.set_epoch(epoch)"] if now.sampler is not None else []
    if now.difficulty is not None:
        measure = [line.replace("difficulty.", "parts.difficulty.") for line in MEASURE[1:-1]]
        body += ["model.eval()", *measure, "parts.difficulty.step(trained=epoch == 0)"]
    elif now.step is None:
        body += ["model.eval()  # so that the frozen features stay as they are"]
    if now.step is None:
        criterion = 'stage.parts["criterion"]' if "criterion" in stage.parts else "parts.criterion"
        body += _batches(f"{criterion}(model(x), y)")
    else:
        body += [
            "model.train()",
            "for batch in loader:",
            *_in(_context("batch=batch, meta=None")),
            "    optimizer.zero_grad()",
            '    stage.parts["step"](context)["loss"].backward()',
            "    optimizer.step()",
        ]
    return _code(lines, ["for epoch in range(later):", *_in(body)])


def _context(batches: str) -> list[str]:
    return [
        'lr = optimizer.param_groups[0]["lr"]',
        "context = StepContext(",
        f"    model=model, forward=model, criterion=parts.criterion, {batches}, lr=lr",
        ")",
    ]


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
            "model.eval()",
            "with torch.no_grad():",
            "    for images, targets in held_out_loader:",
            "        parts.difficulty.update(*box_predictions(model, images, targets))",
            "parts.difficulty.step()",
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
    imports = [f"import {name}" for name in ("itertools", "torch") if re.search(rf"\b{name}\.", text)]
    order = sorted(found, key=lambda module: (module.startswith("longtail"), module))
    imports += [f"from {module} import {', '.join(found[module])}" for module in order]
    return "\n".join([*imports, "", *lines]) + "\n"
