"""Every method that a strategy can name, by its role; what it names is imported when it is used.

A new method is one file and one line here. From another package, it is an entry point in the group that
`GROUPS` names, as in `automl_transfer.terms` (see `plugins`).
"""

from __future__ import annotations

from typing import Any, Literal

from automl_transfer import plugins

Role = Literal["rest_init", "anchor", "mix", "phases", "prepare", "distort"]

METHODS: dict[Role, dict[str, str]] = {
    "rest_init": {
        "he_normal": "transfer.initialise.scaled:he_normal",
        "he_uniform": "transfer.initialise.scaled:he_uniform",
        "xavier_normal": "transfer.initialise.scaled:xavier_normal",
        "xavier_uniform": "transfer.initialise.scaled:xavier_uniform",
        "normal": "transfer.initialise.fixed:normal",
        "uniform": "transfer.initialise.fixed:uniform",
        "orthogonal": "transfer.initialise.scaled:orthogonal",
        "trunc_normal": "transfer.initialise.fixed:trunc_normal",
        "mean_var": "transfer.initialise.statistics:mean_var",
        "zero": "transfer.initialise.fixed:zero",
    },
    "anchor": {
        "none": "transfer.terms.base:Term",
        "l2sp": "transfer.terms.l2sp:L2SP",
        "delta": "transfer.terms.delta:Delta",
        "bss": "transfer.terms.bss:BSS",
        "co_tuning": "transfer.terms.co_tuning:CoTuning",
    },
    "mix": {
        "none": "transfer.terms.base:Term",
        "mixup": "transfer.terms.mixup:Mixup",
        "cutmix": "transfer.terms.cutmix:CutMix",
    },
    "phases": {
        "one": "transfer.phases:one",
        "lp_ft": "transfer.phases:lp_ft",
        "gradual": "transfer.phases:gradual",
        "freezing": "transfer.phases:freezing",
    },
    "prepare": {
        "none": "transfer.prepare.base:nothing",
        "denoise": "transfer.prepare.reconstruct:denoise",
        "masked": "transfer.prepare.reconstruct:masked",
        "whiten": "transfer.prepare.whiten:whiten",
    },
    "distort": {
        "none": "transfer.distort.base:nothing",
        "colour": "transfer.distort.colour:colour",
        "trivial": "transfer.distort.trivial:trivial",
        "rand": "transfer.distort.rand:rand",
    },
}

GROUPS: dict[Role, tuple[plugins.Group, str]] = {
    "rest_init": ("initialisers", "a function (weight, source, generator)"),
    "anchor": ("terms", "a class of terms (strength)"),
    "mix": ("mixes", "a class of terms (strength)"),
    "phases": ("phases", "a function (strategy, selection, max_epochs)"),
    "prepare": ("preparations", "a function (subject)"),
    "distort": ("distortions", "a function (image, chance)"),
}
"""Where other packages add methods of a role, and what they must give."""


def built_in(role: Role) -> tuple[str, ...]:
    """Names of the methods that every installation has: what "search" searches."""
    return tuple(METHODS[role])


def names(role: Role) -> tuple[str, ...]:
    """Names of all methods of a role that are installed here."""
    return (*METHODS[role], *plugins.names(GROUPS[role][0], METHODS[role].keys()))


def check(role: Role, name: str) -> None:
    """Raise ConfigurationError where a role has no such method here; the message lists those that it has."""
    plugins.check(GROUPS[role][0], METHODS[role], name, noun=role)


def get(role: Role, name: str) -> Any:
    """The method of this name.

    Raises:
        ConfigurationError: There is none (the message lists all), or a plugin adds it and is broken.
    """
    group, what = GROUPS[role]
    return plugins.chosen(group, METHODS[role], name, what, noun=role)
