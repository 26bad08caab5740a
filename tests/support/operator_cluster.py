"""A cluster class that is no `SpecCluster`: like a Kubernetes operator's, it knows its scheduler by
address alone, and an operator, here a `LocalCluster`, looks after its workers."""

from __future__ import annotations

from typing import Any

from distributed import LocalCluster, rpc
from distributed.deploy.cluster import Cluster


class OperatorCluster(Cluster):
    """Workers that something else starts.

    Parameters
    ----------
    quota
        More workers than these are refused.
    """

    def __init__(self, quota: int = 8) -> None:
        self._operator: Any = LocalCluster(  # type: ignore[no-untyped-call]
            n_workers=0,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        )
        super().__init__(loop=self._operator.loop)  # type: ignore[no-untyped-call]
        self._quota = quota
        self.sync(self._connect)  # type: ignore[no-untyped-call]

    async def _connect(self) -> None:
        self.scheduler_comm = rpc(self._operator.scheduler_address)  # type: ignore[no-untyped-call]
        await self._start()  # type: ignore[no-untyped-call]

    def scale(self, n: int) -> None:
        if n > self._quota:
            raise RuntimeError(f"the quota is {self._quota} workers")
        self._operator.scale(n)

    def close(self, timeout: float | None = None) -> Any:
        super().close(timeout)
        self._operator.close(timeout)
