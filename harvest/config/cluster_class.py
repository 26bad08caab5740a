"""Any Dask cluster class by its import path: whether it is one, and whether it takes its options.

What can be told before anything is started is told as mistakes of the config.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final

from ..hosts import is_loopback
from ..meaning import install

_PATH: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_EXTRAS: Final = {"dask_jobqueue": "slurm", "dask_kubernetes": "kubernetes"}
"""Packages of cluster classes, and the extra of this package that installs each."""
_OURS: Final = {
    "asynchronous": "leave it out: harvest waits for the cluster itself",
    "loop": "leave it out: harvest waits for the cluster itself",
    "n_workers": "say how many in cluster.scale",
    "security": "name the files in cluster.tls",
}
"""Options that harvest sets, and what the user does instead."""


def import_class(path: str) -> type[Any]:
    """Import a Dask cluster class.

    Parameters
    ----------
    path
        Such as ``dask_jobqueue.SLURMCluster``.

    Returns
    -------
    type
        A subclass of `distributed.deploy.Cluster`.

    Raises
    ------
    ValueError
        There is nothing importable of this name, or it is no such class.
    """
    from distributed.deploy.cluster import Cluster

    if not _PATH.fullmatch(path):
        raise ValueError(f"{path!r} is no import path such as dask_jobqueue.SLURMCluster")
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        extra = _EXTRAS.get(path.partition(".")[0])
        how = install(extra) if extra else "install it where harvest runs"
        raise ValueError(f"{module} cannot be imported ({error}): {how}") from None
    if not (inspect.isclass(found) and issubclass(found, Cluster)):
        raise ValueError(
            f"{path} is no Dask cluster class: name one such as dask_jobqueue.SLURMCluster"
        )
    return found


def option_mistakes(
    cluster_class: type[Any], options: Mapping[str, Any], *, exposed: bool
) -> Iterator[str]:
    """Tell what is wrong with the options of a cluster class.

    Parameters
    ----------
    cluster_class
        By `import_class`.
    options
        Arguments of its constructor.
    exposed
        Whether the scheduler may be reached from elsewhere: it is encrypted, or the user wants it.
    """
    for name in options:
        if name in _OURS:
            yield f"options.{name} is not yours to set: {_OURS[name]}"
        elif not _takes(cluster_class, name):
            known = ", ".join(sorted(_parameters(cluster_class)))
            yield f"options.{name} is no option of {cluster_class.__name__} (known: {known})"
    for name, host in () if exposed else _hosts(options):
        if host != "lo" and not is_loopback(host):
            yield (
                f"options.{name} {host!r} lets others reach the scheduler, which runs whatever it "
                "is sent: use 127.0.0.1, give cluster.tls, or set allow_insecure: true if the "
                "network is yours alone"
            )


def options_of(
    cluster_class: type[Any], options: Mapping[str, Any], *, exposed: bool
) -> dict[str, Any]:
    """Complete the options: no worker yet, and every port on loopback unless it may be exposed.

    The dashboard, which no certificate protects, is on loopback unless the options say otherwise.
    """
    completed = dict(options)
    host = {} if exposed else {"host": "127.0.0.1"}
    defaults = {"dashboard_address": "127.0.0.1:0", **host}
    if _names(cluster_class, "scheduler_options"):
        # of a job queue: what concerns the scheduler has a place of its own
        completed["scheduler_options"] = {**defaults, **(options.get("scheduler_options") or {})}
    else:
        named = {name: value for name, value in defaults.items() if _names(cluster_class, name)}
        completed = {**named, **completed}
    if _names(cluster_class, "n_workers"):
        completed["n_workers"] = 0
    return completed


def _hosts(options: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield hosts and interfaces that the options bind ports to, with the name of each."""
    inner = options.get("scheduler_options")
    places = {"": options, "scheduler_options.": inner if isinstance(inner, Mapping) else {}}
    for place, given in places.items():
        for name in ("host", "interface"):
            if isinstance(given.get(name), str):
                yield f"{place}{name}", given[name]


def _parameters(cluster_class: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of the constructor, and of those that it passes the others on to."""
    found: dict[str, inspect.Parameter] = {}
    for ancestor in inspect.getmro(cluster_class):
        if "__init__" not in vars(ancestor):
            continue
        own = dict(inspect.signature(vars(ancestor)["__init__"]).parameters)
        named = {name: each for name, each in own.items() if each.kind is not each.VAR_KEYWORD}
        named.pop("self", None)
        found = {**named, **found}
        if len(named) + 1 == len(own):
            break
    return found


def _names(cluster_class: type[Any], option: str) -> bool:
    return option in _parameters(cluster_class)


def _takes(cluster_class: type[Any], option: str) -> bool:
    """Tell whether an option may be one: some classes pass what they do not know on to workers."""
    own = inspect.signature(cluster_class).parameters.values()
    passes_on = any(each.kind is each.VAR_KEYWORD for each in own)
    return passes_on or _names(cluster_class, option)
