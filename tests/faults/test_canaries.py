"""Credentials and tag values go where they belong and nowhere else: canaries that must not sing.

Everything that a run prints, logs or names is searched for them, at Dask's most talkative log
level, with files that break in every place, while workers die, and from an output in a bucket.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
import yaml

from tests import conftest
from tests.faults import hostile
from tests.lab import Lab, servers
from tests.support.build import BASIC_TEXT_SR, EXPLICIT_LITTLE, LITTLE, file_meta, identity, part10

PATIENT = "CANARY^PATIENT"
NUMBER = b"CANARY-DS "


def broken_files() -> dict[str, bytes]:
    """Build files that go wrong while canaries are in the reader's hands."""
    values = (
        LITTLE.element(0x00100010, "PN", PATIENT.encode())
        + LITTLE.element(0x00180050, "DS", NUMBER)
        + LITTLE.element(0x00280010, "US", b"CANARY")
    )
    whole = report_with(values)
    return {
        "whole.dcm": whole,
        "cut.dcm": whole[: whole.index(NUMBER) + 4],
        "nothing.dcm": PATIENT.encode() * 20,
        **{f"hostile-{number}.dcm": data for number, data in enumerate(small_cases())},
    }


def report_with(values: bytes) -> bytes:
    return part10(identity() + values, meta=file_meta(EXPLICIT_LITTLE, BASIC_TEXT_SR))


def small_cases() -> Iterator[bytes]:
    return (case.data for case in hostile.CASES.values() if isinstance(case.data, bytes))


@pytest.fixture
def prefix(lab: Lab, tmp_path: Path) -> str:
    """A private prefix of broken files; who reads it needs credentials."""
    name = f"canaries-{uuid.uuid4()}"
    store = servers.admin_s3_store(lab.s3, servers.PRIVATE_BUCKET)
    for key, data in broken_files().items():
        obstore.put(store, f"{name}/{key}", data)
    return f"s3://{servers.PRIVATE_BUCKET}/{name}/"


def environment(secret: str = servers.S3_SECRET_KEY) -> dict[str, str]:
    return conftest.environment(
        AWS_ACCESS_KEY_ID=servers.S3_ACCESS_KEY,
        AWS_SECRET_ACCESS_KEY=secret,
        DASK_DISTRIBUTED__LOGGING__DISTRIBUTED="debug",
        RUST_LOG="debug",
    )


def config(lab: Lab, prefix: str, output: str, path: Path) -> Path:
    content = {
        "cohort": {"prefix": prefix},
        "source": {"endpoint": lab.s3.endpoint, "anonymous": False, "region": "us-east-1"},
        "read": {"profile": ["core", "ct", "deid"]},
        "output": {"url": output, "endpoint": lab.s3.endpoint, "region": "us-east-1"}
        if "://" in output
        else output,
        "cluster": {"workers": 1},
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def check_silent(text: str) -> None:
    for canary in (servers.S3_SECRET_KEY, "CANARY", "wrong-secret"):
        assert canary not in text, text[max(0, text.index(canary) - 300) :][:600]


@pytest.mark.parametrize("place", ["folder", "bucket"])
def test_nothing_sings(lab: Lab, prefix: str, tmp_path: Path, place: str) -> None:
    output = str(tmp_path / "out")
    if place == "bucket":
        output = f"s3://{servers.OUTPUT_BUCKET}/canaries-{uuid.uuid4()}"
    path = config(lab, prefix, output, tmp_path / "config.yaml")
    ended = conftest.harvest("run", path, "--json", env=environment())
    assert ended.returncode == 2, ended.stderr
    check_silent(ended.stdout + ended.stderr)
    if place == "folder":
        for name in (tmp_path / "out").rglob("*"):
            check_silent(str(name))
            if name.is_file() and name.suffix != ".parquet":
                check_silent(name.read_bytes().decode("latin-1"))
        rows = conftest.instances(tmp_path / "out")
        assert {row["PatientName"] for row in rows} >= {PATIENT}
        for row in rows:
            check_silent(f"{row['url']} {row['error']} {row['error_detail']}")


def test_a_refused_credential_is_not_repeated(lab: Lab, prefix: str, tmp_path: Path) -> None:
    path = config(lab, prefix, str(tmp_path / "out"), tmp_path / "config.yaml")
    ended = conftest.harvest("run", path, env=environment(secret="wrong-secret"))
    assert ended.returncode == 1
    assert "denies listing" in ended.stderr
    check_silent(ended.stdout + ended.stderr)
