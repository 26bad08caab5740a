"""Outputs: in a folder and in a bucket, files appear whole or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import obstore
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from obstore.store import GCSStore, S3Store

import harvest.output.bucket
from harvest.config import OutputConfig
from harvest.errors import ConfigError, OutputError, StoreUnavailable
from harvest.output import WORK, BucketOutput, LocalOutput, Output, open_output
from harvest.store import with_boto3, with_google
from harvest.store.patience import WHOLE_FILE, Policy
from tests import conftest
from tests.faults.proxy import Answer, Gate, many, short_body, status
from tests.lab import Lab, servers
from tests.lab.servers import OUTPUT_BUCKET

PLACES: Final = ("folder", "s3", "gcs")
BUCKETS: Final = ("s3", "gcs")
# SeaweedFS and fake-gcs-server both decide the races of `replace` as the real ones do
WRITERS: Final = 8


@dataclass
class Place:
    """An output that is empty, with an eye on it that is not ours."""

    name: str
    config: OutputConfig
    output: Output
    tree: Callable[[], dict[str, bytes]]
    """Everything that has a name below the output."""
    gate: Gate | None

    @property
    def honest_gate(self) -> Gate:
        assert self.gate is not None
        return self.gate


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    # whoever has none is not to look for them on the network, nor in the user's own files
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "none"))


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "folder":
        folder = tmp_path / "deep" / "out"
        config = OutputConfig(url=str(folder))
        yield Place("folder", config, open_output(config), lambda: conftest.tree(folder), None)
        return
    yield from _in_bucket(request.param, request.getfixturevalue("lab"))


@pytest.fixture(params=BUCKETS)
def bucket(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Place]:
    yield from _in_bucket(request.param, lab)


def _in_bucket(name: str, lab: Lab) -> Iterator[Place]:
    prefix = f"odd ü+%20/{uuid.uuid4()}/"
    server, scheme = (lab.s3, "s3") if name == "s3" else (lab.gcs, "gs")
    with conftest.gate(server.endpoint) as gate:
        config = OutputConfig(url=f"{scheme}://{OUTPUT_BUCKET}/{prefix}", endpoint=gate.url)
        yield Place(name, config, open_output(config), lambda: tree(lab, name, prefix), gate)


def tree(lab: Lab, name: str, prefix: str) -> dict[str, bytes]:
    """Read everything below a prefix, through another client."""
    store: S3Store | GCSStore = (
        servers.admin_s3_store(lab.s3, OUTPUT_BUCKET)
        if name == "s3"
        else servers.public_gcs_store(lab.gcs, OUTPUT_BUCKET)
    )
    keys = sorted(found["path"] for page in store.list(prefix) for found in page)
    return {
        key.removeprefix(prefix): bytes(obstore.get(store, key).bytes())
        for key in keys
        if not key.endswith("/")
    }


def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at once; to be called before an output is opened."""
    monkeypatch.setattr(harvest.output.bucket, "WHOLE_FILE", Policy(0, 120))
    monkeypatch.setattr(with_boto3, "WRITE_ATTEMPTS", 1)
    monkeypatch.setattr(with_google, "WRITE_SECONDS", 0.1)


# --- whole or not at all ---------------------------------------------------------------------


def test_a_file_appears_when_it_is_complete(place: Place) -> None:
    output = place.output
    with output.writing("instances/0.parquet") as path:
        path.write_bytes(b"half")
        assert not output.exists("instances/0.parquet")
        assert output.names("instances") == []
        # no glob over the tables sees what is unfinished, wherever it lies meanwhile
        assert path.suffix != ".parquet"
        assert not any(name.endswith(".parquet") for name in place.tree())
        if isinstance(output, LocalOutput):
            assert path.is_relative_to(output.folder / WORK)
    assert not path.exists()
    assert output.exists("instances/0.parquet")
    assert output.read("instances/0.parquet") == b"half"
    assert place.tree() == {"instances/0.parquet": b"half"}


def test_a_failed_write_leaves_what_was_there(place: Place) -> None:
    place.output.write("a.json", b"old")

    def fail() -> None:
        with place.output.writing("a.json") as path:
            path.write_bytes(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert place.tree() == {"a.json": b"old"}


def test_a_file_is_replaced_whole(place: Place) -> None:
    place.output.write("a.json", b"old and long")
    place.output.write("a.json", b"new")
    assert place.output.read("a.json") == b"new"
    place.output.write("a.json", b"")
    assert place.output.read("a.json") == b""
    assert place.output.exists("a.json")


KILLED: Final = """
import sys
from harvest.config import OutputConfig
from harvest.output import open_output
output = open_output(OutputConfig.model_validate_json(sys.argv[1]))
with output.writing("instances/0.parquet") as path:
    path.write_bytes(bytes(100_000))
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_leaves_no_name(place: Place, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    writer = subprocess.Popen(
        [sys.executable, "-c", KILLED, place.config.model_dump_json()],
        env=conftest.environment(TMPDIR=str(tmp_path / "temporary")),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert not place.output.exists("instances/0.parquet")
    assert place.output.names("instances") == []
    assert place.output.names(WORK) == []
    assert not list(tmp_path.rglob("*.parquet"))
    place.output.tidy()
    assert place.tree() == {}


def test_writers_of_one_name_do_not_meet(place: Place) -> None:
    contents = [bytes([number]) * 50_000 for number in range(WRITERS)]

    def write(number: int) -> None:
        with place.output.writing("parts/1.arrow") as path, path.open("wb") as file:
            for _ in range(2):
                file.write(contents[number][:25_000])
                file.flush()

    race(write)
    assert place.output.read("parts/1.arrow") in contents
    assert len(place.tree()) == 1


def race(write: Callable[[int], Any]) -> list[Any]:
    """Call a function from several threads at once; return what it returned."""
    results: list[Any] = [None] * WRITERS
    start = threading.Barrier(WRITERS)

    def run(number: int) -> None:
        start.wait()
        results[number] = write(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


# --- names -----------------------------------------------------------------------------------


def test_names_are_sorted_and_of_one_folder(place: Place) -> None:
    output = place.output
    for name in ("parts/2.arrow", "parts/10.arrow", "parts/1.arrow", "parts/a/b", "parts-old/x"):
        output.write(name, b"x")
    assert output.names("parts") == ["parts/1.arrow", "parts/10.arrow", "parts/2.arrow"]
    assert output.names("nowhere") == []
    assert output.bytes_of("nowhere") == 0
    output.write("sizes/a", b"12")
    output.write("sizes/b", b"345")
    assert output.bytes_of("sizes") == 5


def test_temporary_files_have_no_names(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path)
    output.write("parts/1.arrow", b"x")
    (tmp_path / "parts" / "3.arrow.99.tmp").write_bytes(b"half")
    assert output.names("parts") == ["parts/1.arrow"]


def test_what_is_not_there(place: Place) -> None:
    assert not place.output.exists("none")
    assert place.output.versioned("none") is None
    with pytest.raises(FileNotFoundError, match="none"):
        place.output.read("none")
    with pytest.raises(FileNotFoundError, match="none"), place.output.opened("none"):
        pass


def test_removing_leaves_the_neighbours(place: Place) -> None:
    output = place.output
    for name in ("plan/a", "plan/deep/b", "plan-b", "plans/c", "other"):
        output.write(f"{WORK}/{name}", b"x")
    output.remove(f"{WORK}/plan")
    assert sorted(place.tree()) == [f"{WORK}/{name}" for name in ("other", "plan-b", "plans/c")]
    output.remove(f"{WORK}/other")
    output.remove(f"{WORK}/other")
    output.remove(f"{WORK}/none")
    assert sorted(place.tree()) == [f"{WORK}/{name}" for name in ("plan-b", "plans/c")]


def test_removing_a_folder_removes_the_empty_ones_around_it(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path / "deep" / "out")
    output.write(f"{WORK}/plan/a", b"x")
    output.write(f"{WORK}/parts/a", b"x")
    output.remove(f"{WORK}/plan")
    assert output.names(f"{WORK}/parts")
    output.remove(f"{WORK}/parts")
    assert not output.folder.exists()
    output.remove(f"{WORK}/parts")


def test_strangers(place: Place) -> None:
    output = place.output
    assert output.strangers() == []
    output.write(f"{WORK}/plan/x", b"")
    assert output.strangers() == []
    output.write("b.txt", b"mine")
    # without a plan, tables are somebody else's
    output.write("instances/0.parquet", b"")
    assert output.strangers() == ["b.txt", "instances"]
    output.remove("instances")
    output.remove("b.txt")
    assert output.strangers() == []


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    assert LocalOutput(tmp_path / "out").strangers() == ["out"]


def test_more_objects_than_a_page(bucket: Place, tmp_path: Path, lab: Lab) -> None:
    (tmp_path / "x").write_bytes(b"x")
    _, _, prefix = bucket.config.url.split("/", 2)[2].partition("/")
    names = [f"parts/{number:04d}" for number in range(1005)]
    uploads = [servers.Upload(prefix + name, tmp_path / "x") for name in names]
    if bucket.name == "s3":
        servers.put_s3(lab.s3, OUTPUT_BUCKET, uploads)
    else:
        servers.put_gcs(lab.gcs, OUTPUT_BUCKET, uploads)
    assert bucket.output.names("parts") == names
    assert bucket.output.bytes_of("parts") == len(names)
    bucket.output.remove("parts")
    assert bucket.tree() == {}


# --- reading by ranges -----------------------------------------------------------------------


def test_opened_files_can_be_sought(place: Place) -> None:
    content = bytes(range(256)) * 10
    place.output.write("a", content)
    with place.output.opened("a") as file:
        assert file.seekable()
        assert file.read(3) == content[:3]
        assert file.seek(-4, os.SEEK_END) == len(content) - 4
        assert file.read(100) == content[-4:]
        assert file.read(100) == b""
        file.seek(10)
        file.seek(5, os.SEEK_CUR)
        assert file.tell() == 15
        assert file.read() == content[15:]
        with pytest.raises((OSError, ValueError)):
            file.seek(-1)


def test_parquet_is_read_by_columns(place: Place) -> None:
    table = pa.table({"wide": [os.urandom(1000) for _ in range(2000)], "narrow": range(2000)})
    with place.output.writing("t.parquet") as path:
        pq.write_table(table, path)
    before = len(place.gate.seen) if place.gate else 0
    with place.output.opened("t.parquet") as file:
        assert pq.read_table(file, columns=["narrow"]).equals(table.select(["narrow"]))
    if place.gate:
        assert sum(seen.body_bytes for seen in place.gate.seen[before:]) < 200_000


def test_what_is_replaced_is_not_mixed(bucket: Place) -> None:
    bucket.output.write("a", b"one " * 100)
    with bucket.output.opened("a") as file:
        assert file.read(4) == b"one "
        bucket.output.write("a", b"two " * 100)
        with pytest.raises(StoreUnavailable, match="run the same command again"):
            file.read(4)


def test_a_large_file(bucket: Place) -> None:
    # beyond what either client sends in one request
    content = os.urandom(20 * 2**20 + 1)
    with bucket.output.writing("large") as path:
        path.write_bytes(content)
    assert bucket.output.read("large") == content
    assert len(bucket.honest_gate.of("large")) > 1


# --- conditions ------------------------------------------------------------------------------


def test_replace_heeds_the_state(place: Place) -> None:
    output = place.output
    assert output.replace("lease", b"1", None)
    assert not output.replace("lease", b"2", None)
    first = output.versioned("lease")
    assert first is not None
    assert first[0] == b"1"
    assert output.replace("lease", b"3", first[1])
    assert not output.replace("lease", b"4", first[1])
    assert output.read("lease") == b"3"
    assert not output.replace("absent", b"5", first[1])
    assert place.tree() == {"lease": b"3"}


def test_of_writers_that_race_one_wins(place: Place) -> None:
    for turn in range(4):
        # the even ones create, the odd ones replace
        name = f"lease-{turn // 2}"
        found = place.output.versioned(name)
        version = found[1] if found else None
        contents = [f"{turn} {number}".encode() for number in range(WRITERS)]
        won = race(partial(_replace, place.output, name, contents, version))
        assert won.count(True) == 1
        assert place.output.read(name) == contents[won.index(True)]


def _replace(
    output: Output, name: str, contents: list[bytes], version: str | None, number: int
) -> bool:
    return output.replace(name, contents[number], version)


def test_conditions_are_tried_out_once(place: Place) -> None:
    assert place.output.honours_conditions()
    assert place.tree() == {}
    before = len(place.gate.seen) if place.gate else 0
    assert place.output.honours_conditions()
    assert len(place.gate.seen if place.gate else ()) == before


def test_a_store_that_heeds_no_conditions(bucket: Place) -> None:
    body = b"" if bucket.name == "s3" else b"{}"

    def accepted(answer: Answer) -> Answer:
        return Answer(200, {"ETag": '"x"'}, body) if answer.status == 412 else answer

    bucket.honest_gate.always = accepted
    assert not bucket.output.honours_conditions()
    assert bucket.tree() == {}


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    output = LocalOutput(tmp_path / "out")
    assert not output.honours_conditions()
    assert output.replace("lease", b"1", None)
    assert not output.replace("lease", b"2", None)


@pytest.mark.parametrize("version", [None, "found"])
def test_a_write_whose_answer_is_lost_is_told_from_another_writers(
    bucket: Place, version: str | None
) -> None:
    if version is not None:
        bucket.output.write("lease", b"0")
        found = bucket.output.versioned("lease")
        assert found is not None
        version = found[1]
    # the store does as it is told, and the client hears of a fault and tries again
    writes = "lease" if bucket.name == "s3" else "uploadType"
    bucket.honest_gate.only = writes
    bucket.honest_gate.faults.append(status(503))
    before = len(bucket.honest_gate.of(writes))
    assert bucket.output.replace("lease", b"1", version)
    answered = [seen.status for seen in bucket.honest_gate.of(writes)[before:]]
    assert answered[:2] == [503, 412]
    assert bucket.tree() == {"lease": b"1"}
    assert not bucket.output.replace("lease", b"1", version)


def test_a_conflict_is_tried_again(lab: Lab) -> None:
    for place in _in_bucket("s3", lab):
        code = b"<Error><Code>ConditionalRequestConflict</Code></Error>"
        place.honest_gate.faults.append(status(409, code))
        assert place.output.replace("lease", b"1", None)


# --- faults ----------------------------------------------------------------------------------


def test_faults_that_pass(bucket: Place) -> None:
    gate = bucket.honest_gate
    gate.faults.extend(many(status(503), 2))
    bucket.output.write("a", b"content")
    gate.faults.append(status(500))
    assert bucket.output.exists("a")
    gate.faults.append(short_body)
    assert bucket.output.read("a") == b"content"
    gate.faults.append(status(429))
    assert bucket.output.strangers() == ["a"]
    gate.faults.append(status(503))
    bucket.output.remove("a")
    assert bucket.tree() == {}


def test_faults_that_stay_are_borne_once(bucket: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our own patience, and not once more by the cloud's client beneath it."""
    monkeypatch.setattr("harvest.store.patience.FIRST_BACKOFF_SECONDS", 0.0)
    gate = bucket.honest_gate
    gate.always = status(503)
    for call in ("exists", "read", "versioned", "names", "replace"):
        before = len(gate.seen)
        with pytest.raises(StoreUnavailable):
            CALLS[call](bucket.output)
        # Google's client asks once for the bucket itself
        sent = [seen for seen in gate.seen[before:] if f"/b/{OUTPUT_BUCKET}?" not in seen.path]
        assert len(sent) == WHOLE_FILE.retries + 1


CALLS: Final[dict[str, Callable[[Output], Any]]] = {
    "exists": lambda output: output.exists("a"),
    "read": lambda output: output.read("a"),
    "versioned": lambda output: output.versioned("a"),
    "names": lambda output: output.names("a"),
    "strangers": lambda output: output.strangers(),
    "write": lambda output: output.write("a", b"x"),
    "replace": lambda output: output.replace("a", b"x", None),
    "remove": lambda output: output.remove("a"),
    "honours_conditions": lambda output: output.honours_conditions(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_nobody_listens(scheme: str, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    endpoint = f"http://127.0.0.1:{servers.free_port()}"
    output = open_output(OutputConfig(url=f"{scheme}://{OUTPUT_BUCKET}/x", endpoint=endpoint))
    with pytest.raises(StoreUnavailable, match=r"does not answer.*run the same") as f:
        CALLS[call](output)
    assert servers.S3_SECRET_KEY not in str(f.value)
    assert f.value.exit_code == 75


@pytest.mark.parametrize("call", CALLS)
def test_who_may_not(lab: Lab, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with conftest.gate(lab.s3.endpoint) as gate:
        output = open_output(OutputConfig(url=f"s3://{OUTPUT_BUCKET}/x", endpoint=gate.url))
        with pytest.raises(OutputError, match="refuses the environment's credentials") as found:
            CALLS[call](output)
    assert "wrong-secret" not in str(found.value)
    assert found.value.exit_code == 1


NO_BUCKET: Final = {
    "s3": b"<Error><Code>NoSuchBucket</Code></Error>",
    "gcs": b'{"error": {"code": 404, "message": "The specified bucket does not exist."}}',
}


@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"exists"}))
def test_a_bucket_that_is_not_there(bucket: Place, call: str) -> None:
    # as the real ones say it: SeaweedFS makes a bucket that its administrator writes to
    bucket.honest_gate.always = status(404, NO_BUCKET[bucket.name])
    with pytest.raises(OutputError, match="no bucket that exists: create it"):
        CALLS[call](bucket.output)


@pytest.mark.parametrize("call", ["names", "strangers", "write", "replace", "honours_conditions"])
def test_a_bucket_that_fake_gcs_server_has_not(lab: Lab, call: str) -> None:
    output = open_output(OutputConfig(url="gs://no-such-bucket/x", endpoint=lab.gcs.endpoint))
    with pytest.raises(OutputError, match="no bucket that exists: create it"):
        CALLS[call](output)


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidRequest"])
def test_what_cannot_pass_is_no_outage(lab: Lab, code: str) -> None:
    for place in _in_bucket("s3", lab):
        refusal = status(400, f"<Error><Code>{code}</Code></Error>".encode())
        place.honest_gate.always = refusal
        with pytest.raises(OutputError, match=f"400 {code}"):
            place.output.replace("a", b"x", None)


@pytest.mark.parametrize(("scheme", "cloud"), [("s3", "AWS"), ("gs", "Google")])
def test_without_credentials_nothing_is_written(
    scheme: str, cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(OutputError, match=f"no {cloud} credentials.*provide them"):
        open_output(OutputConfig(url=f"{scheme}://{OUTPUT_BUCKET}/x"))


def test_a_full_disk(place: Place) -> None:
    def write() -> None:
        with place.output.writing("a.parquet") as path:
            path.symlink_to("/dev/full")
            pq.write_table(pa.table({"a": range(10_000)}), path)

    with pytest.raises(OutputError, match=r"the disk of .* is full: free space"):
        write()
    assert place.tree() == {}


def test_bugs_are_not_explained_away(place: Place) -> None:
    with pytest.raises(FileNotFoundError), place.output.writing("a"):
        pass
    with pytest.raises(OSError, match="Bad file"), place.output.writing("a"):
        os.read(-1, 1)
    assert place.tree() == {}


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    output = LocalOutput(tmp_path / "file" / "out")
    with pytest.raises(OutputError, match=r"cannot be written .*: name another folder"):
        output.write("a", b"")
    with pytest.raises(OutputError, match=r"cannot be locked .*: name another folder"):
        output.honours_conditions()
    assert not output.exists("a")


def test_free_bytes(place: Place, tmp_path: Path) -> None:
    free = place.output.free_bytes()
    if place.gate:
        assert free is None
    else:
        found = os.statvfs(tmp_path)
        assert free is not None
        # others write to this disk at the same time
        assert abs(free - found.f_bavail * found.f_frsize) < 2**30


# --- locations -------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}"])
def test_folders(tmp_path: Path, form: str) -> None:
    output = open_output(form.format(tmp_path))
    assert isinstance(output, LocalOutput)
    assert output.folder == tmp_path
    assert output.location == str(tmp_path)


@pytest.mark.parametrize("path", ["", "/", "/a", "/a/b/", "/a//b"])
def test_buckets(lab: Lab, path: str) -> None:
    config = OutputConfig(url=f"gs://{OUTPUT_BUCKET}{path}", endpoint=lab.gcs.endpoint)
    output = open_output(config)
    assert isinstance(output, BucketOutput)
    assert output.location == f"gs://{OUTPUT_BUCKET}{path}".rstrip("/")
    again = open_output(config)
    assert isinstance(again, BucketOutput)
    # one client per process, however many partitions are written
    assert again.bucket is output.bucket


@pytest.mark.parametrize("url", ["ftp://host/x", "s3://", "gs:///x"])
def test_no_locations(url: str) -> None:
    with pytest.raises(ConfigError, match="output: "):
        open_output(url)


@pytest.mark.parametrize(
    ("name", "variable"), [("s3", "AWS_ENDPOINT_URL"), ("gcs", "STORAGE_EMULATOR_HOST")]
)
def test_the_environments_endpoint(
    lab: Lab, name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in _in_bucket(name, lab):
        monkeypatch.setenv(variable, place.honest_gate.url)
        open_output(place.config.url).write("a", b"x")
        assert place.tree() == {"a": b"x"}
        signed = ["authorization" in seen.headers for seen in place.honest_gate.seen]
        assert signed
        assert all(signed) if name == "s3" else not any(signed)


@pytest.mark.parametrize(
    ("scheme", "variable"), [("s3", "AWS_ENDPOINT_URL"), ("gs", "STORAGE_EMULATOR_HOST")]
)
def test_the_environments_endpoint_must_be_safe(
    scheme: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "http://192.0.2.1:80")
    with pytest.raises(OutputError, match="plain http outside loopback"):
        open_output(f"{scheme}://unsafe/x")
