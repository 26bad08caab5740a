"""Configs of commands that run in processes of their own, and their environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests import conftest
from tests.lab import Lab


def write_config(path: Path, **sections: Any) -> Path:
    content = {"cluster": {"workers": 1}, **sections}
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def lab_config(
    lab: Lab,
    folder: Path,
    scheduler: str | None = None,
    where: str = "Modality = 'PT'",
    **more: Any,
) -> Path:
    sql = f"SELECT SeriesInstanceUID FROM index WHERE collection_id = 'lab_generated' AND {where}"
    sections = {
        "cohort": {"sql": sql, "index": str(lab.index)},
        "source": conftest.source_of(lab),
        "output": str(folder / "out"),
        **({"cluster": {"address": scheduler}} if scheduler else {}),
        **more,
    }
    return write_config(folder / "config.yaml", **sections)


PUBLIC = {
    "aws": "idc-open-data.s3.us-east-1.amazonaws.com:443",
    "gcs": "storage.googleapis.com:443",
}


def public_environment(proxy: str, tmp_path: Path) -> dict[str, str]:
    """An environment with credentials that must not be sent, and every way out through a proxy."""
    secrets = {
        "AWS_ACCESS_KEY_ID": "the-users-key",
        "AWS_SECRET_ACCESS_KEY": "the-users-secret",
        "AWS_SESSION_TOKEN": "the-users-token",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "GOOGLE_CLOUD_PROJECT": "the-users-project",
        "HOME": str(tmp_path),
    }
    proxies = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), proxy)
    env = conftest.environment(**secrets, **proxies)
    return {name: value for name, value in env.items() if name not in ("NO_PROXY", "no_proxy")}
