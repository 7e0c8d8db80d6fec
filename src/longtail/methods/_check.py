"""The laws that every method obeys, as functions of a method and of the statistics that it is built from."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from longtail.errors import LongtailError
from longtail.losses import with_background
from longtail.methods._compose import parts_of
from longtail.methods.base import ClassStats, Method, Parts, StepContext, cite, get_method

__all__ = ["BOXES", "LAWS", "WHOLE", "check_method", "worlds"]


def _out_of_fold(samples: int, classes: int, criterion: Any) -> Tensor:
    """Logits ``[N, C]`` as heads on features could give them."""
    return torch.randn(samples, classes, generator=torch.Generator().manual_seed(5))


WHOLE = ClassStats(class_counts=[40, 12, 3, 0], epochs=4, seed=7, out_of_fold=functools.partial(_out_of_fold, 55, 4))
"""Samples with one label; no sample has the last one."""
BOXES = ClassStats(
    class_counts=[40, 12, 3, 0],
    labels_per_image=[*[[0, 0]] * 16, *[[1, 0]] * 8, *[[1, 1, 2]] * 2, [], [2]],
    task="detect",
    epochs=4,
    seed=7,
)
"""Images with several boxes: class 0 is in 24 images of 28, class 1 in 10, class 2 in 3."""
FEATURES = 5


def check_method(method: str | Method, **kwargs: Any) -> None:
    """Check a method of your own by the laws that those of the library obey.

    It is built from class statistics alone, for each task that it says it is for; its loss is finite and has a
    gradient, its sampler is seeded, its parts can be copied and continue exactly from their state, its head can be
    rebuilt, and its card and its citation are complete.

    Args:
        method: Name of a registered method, or a method.
        **kwargs: Hyperparameters, with a name.

    Raises:
        AssertionError: a law does not hold; the message says which.
        LongtailError: unknown name, or illegal hyperparameters.
    """
    if isinstance(method, str):
        method = get_method(method, **kwargs)
    elif kwargs:
        raise LongtailError("hyperparameters go with a name: a method that is built already has its own")
    with torch.random.fork_rng(devices=[]):
        for stats, law in itertools.product(worlds(method), LAWS):
            law(method, stats)


def worlds(method: Method) -> list[ClassStats]:
    """The statistics that a method can be built from, one for each kind of task.

    A method that is made for several tasks may hold another one that is not.
    """
    fitting = [stats for stats in (WHOLE, BOXES) if stats.task in method.tasks and _builds(method, stats)]
    _law(bool(fitting), f"{method!r} can be built for none of its tasks, {', '.join(method.tasks)}")
    return fitting


def _builds(method: Method, stats: ClassStats) -> bool:
    try:
        parts_of(method, stats)
    except LongtailError:
        return False
    return True


def a_value(method: Method, stats: ClassStats) -> None:
    """Equal hyperparameters make equal methods, which cannot be changed and say how they were made."""
    cls = type(method)
    fields = {field.name: getattr(method, field.name) for field in dataclasses.fields(method)}
    _law(cls(**fields) == method and hash(cls(**fields)) == hash(method), f"{method!r} is not equal to another like it")
    _law(eval(repr(method), {cls.__name__: cls}) == method, f"{method!r} is not what its repr says")
    for name in (*fields, "other"):
        try:
            setattr(method, name, None)
        except dataclasses.FrozenInstanceError:
            continue
        _law(False, f"{cls.__name__} can be changed: make it a frozen dataclass")


def a_card(method: Method, stats: ClassStats) -> None:
    """The docstring has all headings and every hyperparameter, and the citation is well formed."""
    cls = type(method)
    card = cls.card()
    for heading in ("Formula:", "When to use:", "Hyperparameters:", "Reference:"):
        _law(heading in card, f"the card of {cls.name} lacks {heading!r}")
    parents = [p for p in cls.__mro__[1:] if issubclass(p, Method) and dataclasses.is_dataclass(p)]
    inherited = {field.name for parent in parents for field in dataclasses.fields(parent)}
    for field in dataclasses.fields(cls):
        _law(field.name in inherited or f"{field.name}:" in card, f"the card of {cls.name} lacks {field.name!r}")
    bibtex = cite(cls.name)
    _law(bibtex.startswith("@") and bibtex.count("{") == bibtex.count("}"), f"the citation of {cls.name} is no BibTeX")
    for field in ("title", "author", "year"):
        _law(f"{field} " in bibtex, f"the citation of {cls.name} lacks its {field}")


def it_trains(method: Method, stats: ClassStats) -> None:
    """Built from class statistics alone it takes steps; the loss, the model and the class weights stay finite."""
    parts = method.parts(stats)
    difficulties = [parts.difficulty, *(stage.parts.get("difficulty") for stage in parts.stages)]
    held_out = method.needs_held_out or all(d is None or d.source != "held-out" for d in difficulties)
    _law(held_out, f"{method!r} has a difficulty and does not say that it needs a held-out split")
    losses, model = train(parts, stats)
    _law(_finite(torch.tensor(losses)), f"{method!r}: losses {losses}")
    _law(all(_finite(p) for p in model.parameters()), f"{method!r}: a step made the model's weights infinite")
    if parts.difficulty is not None:
        steps = 1 if parts.difficulty.source == "cross-fit" else 2
        _law(int(parts.difficulty.steps) == steps and _finite(parts.difficulty.weight), f"{method!r}: class weights")


def a_criterion(method: Method, stats: ClassStats) -> None:
    """A finite scalar with a finite gradient that is not 0, also for large logits and classes without samples."""
    parts = method.parts(stats)
    criteria = [parts.criterion, *(stage.parts["criterion"] for stage in parts.stages if "criterion" in stage.parts)]
    for criterion, scale in itertools.product(criteria, (1.0, 1e4)):
        outputs = _model(parts, stats)(torch.randn(6, FEATURES)).shape[1]
        logits = (scale * torch.randn(6, outputs)).requires_grad_()
        loss = _criterion(criterion, stats)(logits, torch.tensor([0, 1, 2, 0, 1, 3]))
        _law(loss.shape == () and _finite(loss), f"{method!r}: the criterion gives {loss}, not one finite number")
        (gradient,) = torch.autograd.grad(loss, logits)
        fine = _finite(gradient) and float(gradient.abs().sum()) > 0
        _law(fine, f"{method!r}: the criterion's gradient is 0 or infinite for logits around {scale:g}")


def seeded_samplers(method: Method, stats: ClassStats) -> None:
    """Samplers draw samples that exist, the same for the same seed and epoch, others for another seed or epoch."""
    size = len(_labels(stats))
    for which, sampler in enumerate(_samplers(method, stats)):
        if sampler is None:
            continue
        twin, other = (_samplers(method, s)[which] for s in (stats, dataclasses.replace(stats, seed=stats.seed + 1)))
        orders = []
        for each, epoch in itertools.product((sampler, twin, other), (0, 1)):
            each.set_epoch(epoch)
            orders.append(list(each))
        _law(orders[:2] == orders[2:4], f"{method!r}: the sampler draws differently from the same seed")
        _law(orders[0] != orders[4], f"{method!r}: the sampler draws the same from another seed")
        _law(orders[0] != orders[1], f"{method!r}: the sampler draws the same in another epoch")
        _law(set(itertools.chain(*orders)) <= set(range(size)), f"{method!r}: the sampler draws what does not exist")
        _law(size <= len(orders[0]) < 2 * size, f"{method!r}: {len(orders[0])} draws an epoch from {size} samples")


def independent_copies(method: Method, stats: ClassStats) -> None:
    """Copies of the parts, also pickled ones, train like the original and share nothing with it."""
    parts = method.parts(stats)
    try:
        pickled = pickle.loads(pickle.dumps(parts))
    except (AttributeError, TypeError, pickle.PicklingError) as error:
        raise AssertionError(f"{method!r}: its parts cannot be pickled ({error})") from None
    copies = [copy.deepcopy(parts), copy.deepcopy(parts), pickled, parts]
    losses = [train(each, stats, steps=3)[0] for each in copies]
    _law(all(each == losses[0] for each in losses), f"{method!r}: copies of its parts do not train alike")


def exact_continuation(method: Method, stats: ClassStats) -> None:
    """New parts with the state of old ones train on as these do."""
    parts, fresh = method.parts(stats), method.parts(stats)
    train(parts, stats)
    for old, new in ((getattr(parts, slot), getattr(fresh, slot)) for slot in ("difficulty", "criterion", "step")):
        if isinstance(old, nn.Module) and isinstance(new, nn.Module):
            new.load_state_dict(old.state_dict())
    alike = train(fresh, stats, seed=1)[0] == train(parts, stats, seed=1)[0]
    _law(alike, f"{method!r}: something that changes in training is not in the state of its parts")


def a_head_that_is_rebuilt(method: Method, stats: ClassStats) -> None:
    """The head gives a logit per class, and is made again from class counts and its weights."""
    head = method.parts(stats).head
    if head is None:
        return
    built, x = head(nn.Linear(FEATURES, _outputs(stats))), torch.randn(6, FEATURES)
    for training in (True, False):
        logits = built.train(training)(x)
        fits = logits.shape[1] >= _outputs(stats) if stats.boxes else logits.shape == (6, _outputs(stats))
        _law(fits and _finite(logits), f"{method!r}: the head gives {list(logits.shape)} for {_outputs(stats)} classes")
    counts = ClassStats(class_counts=stats.class_counts, task=stats.task, bare=True)
    rebuild = method.parts(counts).head
    _law(rebuild is not None, f"{method!r}: without the samples' labels there is no head")
    again = rebuild(nn.Linear(FEATURES, _outputs(stats)))  # pyright: ignore[reportOptionalCall]
    again.load_state_dict(built.state_dict())
    for other in (again.eval(), pickle.loads(pickle.dumps(built))):
        _law(torch.equal(other(x), logits), f"{method!r}: the head is not what its class counts and its weights make")


def any_class_counts(method: Method, stats: ClassStats) -> None:
    """Equal counts and a single class are no special case."""
    for counts in ([5, 5, 5], [9]):
        answers = functools.partial(_out_of_fold, sum(counts), len(counts))
        own = ClassStats(class_counts=counts, task=stats.task, out_of_fold=None if stats.boxes else answers)
        parts = method.parts(own)
        logits = _model(parts, own)(torch.randn(2, FEATURES))
        loss = _criterion(parts.criterion, own)(logits, torch.zeros(2, dtype=torch.int64))
        _law(_finite(loss), f"{method!r}: the loss is {loss} with the class counts {counts}")
        drawn = None if parts.sampler is None else len(list(parts.sampler))
        _law(drawn in (None, sum(counts)), f"{method!r}: {drawn} draws an epoch with the class counts {counts}")


LAWS: tuple[Callable[[Method, ClassStats], None], ...] = (
    a_value,
    a_card,
    it_trains,
    a_criterion,
    seeded_samplers,
    independent_copies,
    exact_continuation,
    a_head_that_is_rebuilt,
    any_class_counts,
)


def train(parts: Parts, stats: ClassStats, *, steps: int = 2, seed: int = 0) -> tuple[list[float], nn.Module]:
    """Losses of some epochs of one step of a linear model on random features, and the model."""
    torch.manual_seed(seed)  # the training loop seeds the global generator too, at the start of every epoch
    generator = torch.Generator().manual_seed(seed)
    labels = _labels(stats)
    x = torch.randn(len(labels), FEATURES, generator=generator)
    model = _model(parts, stats)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for epoch in range(steps):
        if parts.sampler is not None:
            parts.sampler.set_epoch(epoch)
        index = torch.tensor(range(len(x)) if parts.sampler is None else list(parts.sampler))[:32]
        loss = _step(parts, stats, model, (x[index], labels[index]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if parts.difficulty is not None and parts.difficulty.source != "cross-fit":
            features, target = _held_out(stats.num_classes)
            parts.difficulty.update(model(features)[:, stats.boxes : stats.boxes + stats.num_classes], target)
            parts.difficulty.step()
    return losses, model


def _step(parts: Parts, stats: ClassStats, model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """The loss to descend."""
    x, target = batch
    if parts.step is None:
        loss = _criterion(parts.criterion, stats)(model(x), target)
        _law(loss.shape == (), f"the criterion gives a loss of shape {list(loss.shape)}, not one number")
        return loss
    context = StepContext(
        model=model, forward=model, criterion=parts.criterion, batch=batch, meta=_held_out(stats.num_classes), lr=0.1
    )
    output = parts.step(context)
    _law(output["logits"].shape == (len(x), _outputs(stats)), f"a step gives logits {list(output['logits'].shape)}")
    _law(output["loss"].shape == (), f"a step gives a loss of shape {list(output['loss'].shape)}, not one number")
    return output["loss"]


def _held_out(classes: int) -> tuple[Tensor, Tensor]:
    target = torch.arange(classes).repeat(6)
    return torch.randn(len(target), FEATURES, generator=torch.Generator().manual_seed(3)), target


def _labels(stats: ClassStats) -> Tensor:
    """The label of every training sample; with boxes, the one of an image that has any, or the background."""
    return torch.tensor([1 + own[0] if own else 0 for own in stats.classes_of_images]) if stats.boxes else stats.labels


def _outputs(stats: ClassStats) -> int:
    return stats.num_classes + stats.boxes


def _criterion(criterion: Any, stats: ClassStats) -> Callable[[Tensor, Tensor], Tensor]:
    """The criterion as the task uses it."""
    return with_background(criterion, stats.num_classes) if stats.boxes else criterion


def _model(parts: Parts, stats: ClassStats) -> nn.Module:
    """A linear classifier; with boxes the method's own, which may have more outputs than there are classes."""
    linear = nn.Linear(FEATURES, _outputs(stats))
    return parts.head(linear) if stats.boxes and parts.head is not None else linear


def _samplers(method: Method, stats: ClassStats) -> list[Any]:
    parts = method.parts(stats)
    return [parts.sampler, *(stage.parts.get("sampler") for stage in parts.stages)]


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())


def _law(holds: bool, message: str) -> None:
    if not holds:
        raise AssertionError(message)
