"""One row a method: how the law tests build it.

Adding a method is one file in ``longtail/methods`` and one row here. ``kwargs`` are legal hyperparameters other than
the defaults; ``bad`` are single illegal ones with a part of the message that they raise.
"""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["SETTINGS", "Row"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    kwargs: tuple[dict[str, Any], ...] = ()
    bad: tuple[tuple[dict[str, Any], str], ...] = ()
    presets: tuple[str, ...] = ()


_DIFFICULTY = Row(
    kwargs=(
        {"tau": 1.5},
        {"tau": 2},
        {"tau": "accv", "momentum": 0.8, "min_difficulty": 0.1},
        {"tau": "poly", "power": 3, "max_tau": 2.0, "normalize": False},
        {"absent": "hard", "eps": 0.05},
        {"tau": "log", "bias_quantile": 0.1, "shrinkage": "auto"},
        {"measure": "soft", "shrinkage": 3},
        {"measure": "ap", "tau": 1},
        {"measure": "loss", "source": "train", "min_difficulty": 0.05},
        {"measure": "f1", "absent": "hard"},
        {"measure": "precision", "momentum": 0},
        {"measure": "soft", "source": "cross-fit", "min_difficulty": 0.05},
    ),
    bad=(
        ({"tau": "quick"}, "unknown tau rule 'quick'"),
        ({"tau": -1}, "tau is -1"),
        ({"tau": None}, "tau is None"),
        ({"max_tau": "five"}, "max_tau is 'five'"),
        ({"eps": 0}, "eps is 0"),
        ({"power": 0}, "power is 0"),
        ({"momentum": 1}, "momentum is 1"),
        ({"min_difficulty": 2}, "min_difficulty is 2"),
        ({"normalize": "yes"}, "normalize is 'yes'"),
        ({"absent": "zero"}, "unknown absent policy 'zero'"),
        ({"bias_quantile": 0.5}, "bias_quantile is 0.5"),
        ({"measure": "accuracy"}, "unknown measure 'accuracy': known are recall, precision, f1, soft, loss, ap"),
        ({"shrinkage": "much"}, "shrinkage is 'much'"),
        ({"source": "test"}, "unknown source 'test': known are held-out, train, cross-fit"),
        ({"source": "cross-fit"}, "source='cross-fit' needs min_difficulty above 0"),
    ),
    presets=("paper", "code2020-cifar", "code2020-imagenet", "cross-fit"),
)
_WEIGHTED = dataclasses.replace(
    _DIFFICULTY,
    kwargs=(*_DIFFICULTY.kwargs, {"reduction": "weighted_mean"}, {"form": "logit", "strength": 0.5}, {"defer": 0.5}),
    bad=(
        *_DIFFICULTY.bad,
        ({"reduction": "sum"}, "unknown reduction 'sum': known are mean, weighted_mean"),
        ({"form": "margin"}, "unknown form 'margin': known are weight, logit"),
        ({"strength": 2.0}, "strength is 2.0: it belongs to form 'logit'"),
        ({"form": "logit", "strength": -1}, "strength is -1"),
        ({"defer": 1.5}, "defer is 1.5"),
    ),
)
_BASES = (
    {"base": "ldam-drw:defer=.5", "tau": 1.5},
    {"base": "balanced-softmax", "form": "logit"},
    {"base": "cb", "reduction": "weighted_mean"},
    {"base": "seesaw:normalized=true", "source": "train"},
    {"base": "class-aware"},
    {"base": "ncm"},
    {"base": "eql:form=sigmoid", "form": "logit", "measure": "soft"},
)

_DECOUPLED = Row(
    kwargs=(
        {"stage1": "cdb-w", "balance": "cdb-s"},
        {"stage1": "ldam-drw", "balance": "cdb-w:tau=1,reduction=weighted_mean", "bn_mode": "adapt"},
        {"stage1": "progressive", "share": 0.5},
        {"stage1": "mw-net:meta_batch=20", "balance": "cdb-s"},
    ),
    bad=(
        ({"stage1": "none"}, "unknown method 'none'"),
        ({"stage1": "crt"}, "stage1 is 'crt'"),
        ({"stage1": "ncm"}, "stage1 is 'ncm'"),
        ({"stage1": "oltr"}, "stage1 is 'oltr'"),
        ({"stage1": 1}, "stage1 is 1"),
        ({"balance": "ldam-drw"}, "balance is 'ldam-drw'"),
        ({"balance": "mw-net"}, "balance is 'mw-net': it has a classifier, stages or a training step of its own"),
        ({"balance": "cdb-s:tua=1"}, "unknown hyperparameter 'tua'"),
        ({"bn_mode": "off"}, "unknown bn_mode 'off': known are frozen, adapt"),
        ({"share": 1}, "share is 1"),
    ),
)

_NET = Row(
    kwargs=({"meta_batch": 20}, {"hidden": 8, "net_lr": 0.01}, {"net_lr": 0, "net_weight_decay": 0}),
    bad=(
        ({"meta_batch": 0}, "meta_batch must be a whole number >= 1, not 0"),
        ({"hidden": 1.5}, "hidden must be a whole number >= 1, not 1.5"),
        ({"net_lr": -1}, "net_lr is -1"),
        ({"net_weight_decay": "x"}, "net_weight_decay is 'x'"),
    ),
)

_CALIBRATED = Row(
    kwargs=({"threshold": 20}, {"threshold": 0, "start": "random"}),
    bad=(({"threshold": -1}, "threshold is -1"), ({"start": "best"}, "unknown start 'best': known are copy, random")),
)

SETTINGS: dict[str, Row] = {
    "ce": Row(),
    "focal": Row(kwargs=({"gamma": 0}, {"gamma": 2.0}), bad=(({"gamma": -1}, "gamma is -1"),)),
    "cb": Row(kwargs=({"beta": 0.9}, {"beta": 0}, {"beta": 1}), bad=(({"beta": 1.5}, "beta is 1.5"),)),
    "cfs": Row(kwargs=({"exponent": 0.75}, {"exponent": 0}), bad=(({"exponent": "half"}, "exponent is 'half'"),)),
    "class-aware": Row(kwargs=({"samples_per_class": 1},), bad=(({"samples_per_class": 0}, "samples_per_class is 0"),)),
    "progressive": Row(),
    "cdb-w": dataclasses.replace(
        _WEIGHTED,
        kwargs=(*_WEIGHTED.kwargs, *_BASES),
        bad=(
            *_WEIGHTED.bad,
            ({"base": "none"}, "unknown method 'none'"),
            ({"base": 1}, "base is 1: it must name a method"),
            ({"base": "cdb-w-fl"}, "base is 'cdb-w-fl': it has a difficulty of its own"),
            ({"base": "crt"}, "base is 'crt': it has stages with more than a loss of its own"),
            ({"base": "vs:delta=1"}, "unknown hyperparameter 'delta' of vs"),
            ({"base": "bags"}, "bags is made for --task detect and segment, not classify"),
        ),
    ),
    "cdb-w-fl": dataclasses.replace(
        _WEIGHTED, kwargs=(*_WEIGHTED.kwargs, {"gamma": 0.5}), bad=(*_WEIGHTED.bad, ({"gamma": "x"}, "gamma is 'x'"))
    ),
    "cdb-s": dataclasses.replace(
        _DIFFICULTY,
        kwargs=(
            *_DIFFICULTY.kwargs,
            {"loss": "ldam-drw:defer=.5"},
            {"loss": "seesaw", "measure": "soft"},
            {"loss": "tau-norm"},
            {"loss": "logit-adjust:post_hoc=true"},
        ),
        bad=(
            *_DIFFICULTY.bad,
            ({"loss": "none"}, "unknown method 'none'"),
            ({"loss": "cdb-w"}, "loss is 'cdb-w': it has a difficulty of its own"),
            ({"loss": "class-aware"}, "loss is 'class-aware': it has a sampler of its own"),
            ({"loss": "lws"}, "loss is 'lws': it has stages with more than a loss of its own"),
            ({"source": "train"}, "source='train' with sampling needs min_difficulty above 0"),
        ),
    ),
    "cdb-margin": Row(
        kwargs=(
            {"strength": 2, "base": "ce"},
            {"aim": "floor", "source": "train"},
            {"source": "cross-fit", "base": "vs:gamma=0.2", "measure": "recall"},
            {"base": "ldam-drw:defer=.5", "tau": "accv"},
        ),
        bad=(
            ({"strength": -1}, "strength is -1"),
            ({"strength": 1, "aim": "floor"}, "aim is 'floor': it chooses the strength, which is 1 already"),
            ({"aim": "tail"}, "unknown aim 'tail': known are mean, floor"),
            ({"base": "cdb-w"}, "base is 'cdb-w': it has a difficulty of its own"),
            ({"source": "cross-fit", "min_difficulty": 0}, "needs min_difficulty above 0"),
        ),
        presets=("cross-fit",),
    ),
    "balanced-softmax": Row(
        kwargs=({"tau": 0}, {"tau": 1.15}, {"tau": "cv"}, {"tau": "cv", "aim": "floor"}),
        bad=(
            ({"tau": -1}, "tau is -1"),
            ({"tau": "auto"}, "tau is 'auto': it must be a number >= 0 or cv"),
            ({"aim": "floor"}, "aim is 'floor': it belongs to tau='cv'"),
            ({"tau": "cv", "aim": "tail"}, "unknown aim 'tail': known are mean, floor"),
        ),
    ),
    "logit-adjust": Row(
        kwargs=(
            *({"tau": 0.5}, {"post_hoc": True}, {"post_hoc": True, "tau": 2}, {"tau": "cv", "aim": "floor"}),
            {"tau": "cv", "post_hoc": True},
        ),
        bad=(
            *(({"tau": -1}, "tau is -1"), ({"post_hoc": "yes"}, "post_hoc is 'yes'")),
            ({"tau": None}, "tau is None"),
            ({"aim": "floor"}, "aim is 'floor': it belongs to tau='cv'"),
        ),
    ),
    "vs": Row(
        kwargs=({"gamma": 0.2, "tau": 1.2}, {"gamma": 0}, {"tau": 0}),
        bad=(({"gamma": -1}, "gamma is -1"), ({"tau": None}, "tau is None")),
    ),
    "eql": Row(
        kwargs=({"threshold": 0.1, "gamma": 0.5}, {"threshold": 0}, {"form": "sigmoid"}),
        bad=(
            ({"threshold": -1}, "threshold is -1"),
            ({"gamma": 2}, "gamma is 2"),
            ({"form": "tanh"}, "unknown form 'tanh': known are softmax, sigmoid"),
        ),
    ),
    "seesaw": Row(
        kwargs=({"p": 0, "q": 0}, {"p": 1, "q": 0.5, "eps": 0.1}, {"normalized": True, "scale": 10}),
        bad=(
            ({"p": -1}, "p is -1"),
            ({"q": "x"}, "q is 'x'"),
            ({"eps": 0}, "eps is 0"),
            ({"scale": 0}, "scale is 0"),
            ({"normalized": 1}, "normalized is 1"),
        ),
    ),
    "ldam-drw": Row(
        kwargs=({"max_margin": 0, "defer": 0.5}, {"scale": 10, "beta": 0.99}, {"defer": 1}, {"defer": 0}),
        bad=(
            ({"max_margin": -1}, "max_margin is -1"),
            ({"scale": 0}, "scale is 0"),
            ({"beta": 2}, "beta is 2"),
            ({"defer": 1.5}, "defer is 1.5"),
        ),
    ),
    "l2rw": Row(
        kwargs=({"meta_batch": 10},),
        bad=(({"meta_batch": "x"}, "meta_batch must be a whole number >= 1, not 'x'"),),
    ),
    "mw-net": dataclasses.replace(
        _NET, kwargs=(*_NET.kwargs, {"normalize": False}), bad=(*_NET.bad, ({"normalize": 1}, "normalize is 1"))
    ),
    "difficulty-net": dataclasses.replace(
        _NET,
        kwargs=(*_NET.kwargs, {"driver": 0, "momentum": 0.5}),
        bad=(*_NET.bad, ({"driver": -1}, "driver is -1"), ({"momentum": 1}, "momentum is 1")),
    ),
    "rfs": Row(
        kwargs=({"threshold": 0.3}, {"threshold": 0}),
        bad=(({"threshold": -1}, "threshold is -1"), ({"threshold": "x"}, "threshold is 'x'")),
    ),
    "lrw": Row(
        kwargs=({"beta": 1, "most": 20.0}, {"least": 1.0, "most": 1.0}),
        bad=(({"beta": 2}, "beta is 2"), ({"least": 2}, "least is 2"), ({"most": 0.5}, "most is 0.5")),
    ),
    "bags": Row(
        kwargs=({"bins": (5,), "beta": 1}, {"bins": ()}, {"bins": (1, 5, 20, 1000), "beta": 0}),
        bad=(
            ({"bins": (10, 5)}, "bins are [10, 5]: they must increase"),
            ({"bins": "ten"}, "bins is 'ten'"),
            ({"bins": (0, 5)}, "bins is (0, 5)"),
            ({"beta": -1}, "beta is -1"),
        ),
    ),
    "cls": Row(
        kwargs=({"method": "focal"}, {"method": "lrw"}, {"method": "cdb-w:tau=1"}, {"method": "bags:beta=2"}),
        bad=(
            ({"method": "crt"}, "method is 'crt': it chooses by itself what is trained"),
            ({"method": "oltr"}, "method is 'oltr'"),
            ({"method": "cls"}, "method is 'cls'"),
            ({"method": 1}, "method is 1: it must name a method"),
        ),
    ),
    "simcal": _CALIBRATED,
    "mask-calib": _CALIBRATED,
    "crt": _DECOUPLED,
    "lws": _DECOUPLED,
    "tau-norm": Row(
        kwargs=({"tau": 0}, {"tau": 0.7}),
        bad=(({"tau": -1}, "tau is -1"), ({"tau": "best"}, "tau is 'best'"), ({"tau": None}, "tau is None")),
    ),
    "ncm": Row(),
    "oltr": Row(
        kwargs=({"share": 0.5, "scale": 4}, {"weight": 0, "slow": 1}),
        bad=(
            ({"share": 1}, "share is 1"),
            ({"scale": 0}, "scale is 0"),
            ({"weight": -1}, "weight is -1"),
            ({"slow": 2}, "slow is 2"),
        ),
    ),
    "cdt": Row(kwargs=({"gamma": 0}, {"gamma": 1}), bad=(({"gamma": "x"}, "gamma is 'x'"),)),
}
