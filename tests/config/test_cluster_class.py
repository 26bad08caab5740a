"""Cluster classes by import path: which are refused, and where their ports are by default."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from distributed import LocalCluster

from harvest.config.cluster_class import import_class, option_mistakes, options_of


@pytest.mark.parametrize(
    "path",
    [
        "dask_jobqueue.SLURMCluster",
        "dask_jobqueue.PBSCluster",
        "dask_kubernetes.operator.KubeCluster",
        "distributed.LocalCluster",
        "distributed.SpecCluster",
    ],
)
def test_cluster_classes(path: str) -> None:
    assert import_class(path).__name__ == path.rpartition(".")[2]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("SLURMCluster", "is no import path such as"),
        (".SLURMCluster", "is no import path"),
        ("os.system('x')", "is no import path"),
        ("dask_jobqueue.", "is no import path"),
        ("dask_nothing.Cluster", "dask_nothing cannot be imported"),
        ("dask_jobqueue.slum.SLURMCluster", "pip install 'harvest[slurm]'"),
        ("dask_kubernetes.none.KubeCluster", "pip install 'harvest[kubernetes]'"),
        ("dask_jobqueue.SlurmCluster", "is no Dask cluster class"),
        ("distributed.Client", "is no Dask cluster class"),
        ("os.path.join", "is no Dask cluster class"),
    ],
)
def test_what_is_no_cluster_class(path: str, expected: str) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        import_class(path)


def test_a_class_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site_clusters.py").write_text(
        "from distributed import LocalCluster\nclass Ours(LocalCluster):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert issubclass(import_class("site_clusters.Ours"), LocalCluster)
    del sys.modules["site_clusters"]


@pytest.mark.parametrize(
    ("path", "options", "expected"),
    [
        ("distributed.LocalCluster", {"n_workers": 2}, "cluster.scale"),
        ("distributed.LocalCluster", {"asynchronous": True}, "leave it out"),
        ("distributed.LocalCluster", {"security": "x"}, "cluster.tls"),
        ("distributed.LocalCluster", {"host": "0.0.0.0"}, "options.host '0.0.0.0' lets others"),
        ("distributed.LocalCluster", {"interface": "eth0"}, "options.interface 'eth0'"),
        ("distributed.SpecCluster", {"wrokers": {}}, "no option of SpecCluster (known: "),
        (
            "dask_jobqueue.SLURMCluster",
            {"scheduler_options": {"host": "10.0.0.1"}},
            "options.scheduler_options.host '10.0.0.1'",
        ),
    ],
)
def test_options_that_are_refused(path: str, options: dict[str, object], expected: str) -> None:
    (found,) = option_mistakes(import_class(path), options, exposed=False)
    assert expected in found


@pytest.mark.parametrize(
    ("path", "options", "exposed"),
    [
        ("distributed.LocalCluster", {"host": "localhost", "memory_limit": 0}, False),
        ("distributed.LocalCluster", {"interface": "lo"}, False),
        ("distributed.LocalCluster", {"host": "0.0.0.0"}, True),
        ("dask_jobqueue.SLURMCluster", {"cores": 1, "memory": "1GB", "interface": "ib0"}, True),
        ("dask_jobqueue.SLURMCluster", {"scheduler_options": None}, False),
    ],
)
def test_options_that_are_fine(path: str, options: dict[str, object], exposed: bool) -> None:
    assert not list(option_mistakes(import_class(path), options, exposed=exposed))


def test_ports_are_on_loopback_unless_they_may_not_be() -> None:
    local = import_class("distributed.LocalCluster")
    queue = import_class("dask_jobqueue.LSFCluster")
    hidden = {"dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    assert options_of(local, {}, exposed=False) == {**hidden, "n_workers": 0}
    assert options_of(queue, {"cores": 1}, exposed=False) == {
        "cores": 1,
        "scheduler_options": hidden,
        "n_workers": 0,
    }
    given = {"scheduler_options": {"dashboard_address": ":8787", "port": 1}}
    assert options_of(queue, given, exposed=True)["scheduler_options"] == given["scheduler_options"]
    # no certificate protects a dashboard
    dashboard = {"dashboard_address": "127.0.0.1:0"}
    assert options_of(local, {}, exposed=True) == {**dashboard, "n_workers": 0}
    assert options_of(import_class("distributed.SpecCluster"), {}, exposed=False) == {}
