"""Each transport against real servers: the same answers, the same errors for the same faults."""

from __future__ import annotations

import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import obstore
import pytest

from harvest.config import OutputConfig, SourceConfig
from harvest.errors import ErrorKind, OutputError
from harvest.store import open_bucket, open_store, with_boto3
from harvest.store.protocol import EmptyObject, ObjectStore, WritableBucket, unquoted
from harvest.store.with_boto3 import Boto3Bucket
from harvest.urls import ObjectUrl, parse_url
from tests import conftest
from tests.faults.proxy import Fault, Gate
from tests.lab import Lab, servers
from tests.support.stores import listed, raised, write

REMOTE: Final = ("obstore-aws", "sdk-aws", "obstore-gcs", "sdk-gcs")
CONTENT: Final = bytes(range(256)) * 20


@dataclass
class Opened:
    """A store that holds `CONTENT` as ``<folder>a.dcm``, through a gate where there is one."""

    name: str
    store: ObjectStore
    folder: str
    gate: Gate | None
    elsewhere: Callable[[str], ObjectStore]
    """Opens another bucket, or folder, in the same way."""
    replace: Callable[[str, bytes], None]

    @property
    def key(self) -> str:
        return f"{self.folder}a.dcm"


@pytest.fixture(scope="module")
def folders(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Put the same objects into a local folder and both clouds; return the prefix of each."""
    local = tmp_path_factory.mktemp("store")
    name = f"test-store-{uuid.uuid4()}"
    contents = {
        "a.dcm": CONTENT,
        "b/c.dcm": b"c",
        "b-d.dcm": b"dd",
        "b.dcm": b"bbb",
        "odd/a b+c%20d#e=f ü.dcm": b"odd",
        "zero.dcm": b"",
    }
    for key, content in contents.items():
        path = local / name / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    beside = local / f"{name}er" / "x.dcm"
    beside.parent.mkdir()
    beside.write_bytes(b"a neighbour whose name begins alike")
    files = {f"{name}/{key}": local / name / key for key in contents}
    conftest.put(lab, "idc-open-data", {**files, f"{name}er/x.dcm": beside})
    return {"files": f"{local / name}/", "aws": f"{name}/", "gcs": f"{name}/"}


def store_at(source: SourceConfig, cloud: str, bucket: str) -> ObjectStore:
    return open_store(ObjectUrl("s3" if cloud == "aws" else "gs", bucket, ""), source)


@pytest.fixture(params=[*REMOTE, "files"])
def opened(
    request: pytest.FixtureRequest, lab: Lab, folders: dict[str, str], tmp_path: Path
) -> Iterator[Opened]:
    if request.param == "files":
        own = f"{tmp_path / 'copy'}/"
        shutil.copytree(folders["files"], own)
        store = open_store(parse_url(own), SourceConfig())

        def write_file(key: str, data: bytes) -> None:
            Path(key).write_bytes(data)

        yield Opened("files", store, own, None, lambda _: store, write_file)
        return
    transport, cloud = request.param.split("-")
    server = lab.s3 if cloud == "aws" else lab.gcs

    def put(key: str, data: bytes) -> None:
        path = tmp_path / "replacement"
        path.write_bytes(data)
        conftest.put(lab, "idc-open-data", {key: path})

    with conftest.gate(server.endpoint) as gate:
        source = SourceConfig.model_validate(
            {"cloud": cloud, "endpoint": gate.url, "transport": transport}
        )
        yield Opened(
            request.param,
            store_at(source, cloud, "idc-open-data"),
            folders[cloud],
            gate,
            lambda bucket: store_at(source, cloud, bucket),
            put,
        )


# --- what works ------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (0, 100), (17, 4000), (5119, 5120)])
def test_get_gives_exactly_the_range(opened: Opened, start: int, stop: int) -> None:
    answer = opened.store.get(opened.key, start, stop, None)
    assert answer.data == CONTENT[start:stop]
    assert type(answer.data) is bytes
    assert answer.size == len(CONTENT)
    assert answer.version.etag


def test_get_is_one_request_of_the_bytes_asked_for(opened: Opened) -> None:
    opened.store.get(opened.key, 100, 300, None)
    if opened.gate is not None:
        (seen,) = opened.gate.seen
        assert (seen.method, seen.status, seen.body_bytes) == ("GET", 206, 200)
        assert seen.headers["range"] == "bytes=100-299"
        assert "gzip" not in seen.headers.get("accept-encoding", "")


def test_get_ends_where_the_object_does(opened: Opened) -> None:
    assert opened.store.get(opened.key, 5000, 9000, None).data == CONTENT[5000:]
    assert opened.store.get(opened.key, 0, 9000, None).data == CONTENT


def test_get_of_a_version_is_pinned(opened: Opened) -> None:
    first = opened.store.get(opened.key, 0, 10, None)
    second = opened.store.get(opened.key, 10, 20, first.version)
    assert second.data == CONTENT[10:20]
    assert second.version == first.version
    if opened.gate is not None:
        seen = opened.gate.seen[-1]
        assert "if-match" in seen.headers or "eneration" in seen.path


def test_a_replaced_object_is_changed(opened: Opened) -> None:
    key = f"{opened.folder}{uuid.uuid4()}.dcm"
    opened.replace(key, CONTENT)
    first = opened.store.get(key, 0, 10, None)
    opened.replace(key, CONTENT[::-1])
    assert raised(lambda: opened.store.get(key, 10, 20, first.version)).kind == ErrorKind.CHANGED
    assert opened.store.get(key, 0, 10, None).data == CONTENT[::-1][:10]


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_a_removed_object_is_changed_or_gone(lab: Lab, tmp_path: Path, transport: str) -> None:
    key = f"test-store-{uuid.uuid4()}.dcm"
    path = tmp_path / "x"
    path.write_bytes(CONTENT)
    conftest.put(lab, "idc-open-data", {key: path})
    source = SourceConfig.model_validate(conftest.source_of(lab, transport=transport))
    store = store_at(source, "aws", "idc-open-data")
    version = store.get(key, 0, 10, None).version
    obstore.delete(servers.admin_s3_store(lab.s3, "idc-open-data"), key)
    error = raised(lambda: store.get(key, 10, 20, version))
    assert error.kind in (ErrorKind.CHANGED, ErrorKind.NOT_FOUND)


def test_list_gives_keys_in_order_with_sizes(opened: Opened) -> None:
    found = listed(opened.store, opened.folder)
    names = {entry.key.removeprefix(opened.folder): entry.size for entry in found}
    assert {name: names[name] for name in ("a.dcm", "b/c.dcm", "b-d.dcm", "b.dcm", "zero.dcm")} == {
        "a.dcm": 5120,
        "b/c.dcm": 1,
        "b-d.dcm": 2,
        "b.dcm": 3,
        "zero.dcm": 0,
    }
    assert not any("neighbour" in name or name.startswith("/") for name in names)
    assert all(entry.key.startswith(opened.folder) for entry in found)


def test_list_and_get_agree(opened: Opened) -> None:
    for entry in listed(opened.store, opened.folder):
        if entry.size:
            answer = opened.store.get(entry.key, 0, 10, None)
            assert answer.size == entry.size, entry.key
            assert unquoted(answer.version.etag) == entry.etag, entry.key


def test_keys_may_hold_any_character(opened: Opened) -> None:
    (entry,) = listed(opened.store, f"{opened.folder}odd/")
    assert entry.key == f"{opened.folder}odd/a b+c%20d#e=f ü.dcm"
    assert opened.store.get(entry.key, 0, 10, None).data == b"odd"


def test_list_after_a_key(opened: Opened) -> None:
    everything = [entry.key for entry in listed(opened.store, f"{opened.folder}b/")]
    assert everything == [f"{opened.folder}b/c.dcm"]
    if opened.name == "obstore-gcs":
        pytest.skip("fake-gcs-server's XML API ignores start-after")
    assert listed(opened.store, f"{opened.folder}b/", f"{opened.folder}b/c.dcm") == []
    assert listed(opened.store, f"{opened.folder}b/", f"{opened.folder}b/b") != []


def test_list_of_nothing(opened: Opened) -> None:
    if opened.gate is None:
        kind = raised(lambda: listed(opened.store, f"{opened.folder}none/")).kind
        assert kind == ErrorKind.NOT_FOUND
    else:
        assert listed(opened.store, f"{opened.folder}none/") == []


@pytest.mark.parametrize("name", REMOTE)
def test_list_of_more_than_a_page(lab: Lab, name: str) -> None:
    transport, cloud = name.split("-")
    series = conftest.series_of(lab, "CT many")
    source = SourceConfig.model_validate(conftest.source_of(lab, cloud, transport=transport))
    bucket = series.aws_bucket if cloud == "aws" else series.gcs_bucket
    found = listed(store_at(source, cloud, bucket), f"{series.crdc_series_uuid}/")
    expected = sorted((series.key(each), each.size) for each in series.instances)
    assert [(entry.key, entry.size) for entry in found] == expected


def test_a_store_is_opened_once(lab: Lab) -> None:
    source = SourceConfig.model_validate(conftest.source_of(lab))
    first = store_at(source, "aws", "idc-open-data")
    assert store_at(source.model_copy(), "aws", "idc-open-data") is first
    assert store_at(source, "aws", "idc-open-data-cr") is not first


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_a_store_is_opened_once_by_many_threads(lab: Lab, transport: str) -> None:
    region = f"test-{uuid.uuid4()}"  # makes it a source that nobody has opened
    source = SourceConfig.model_validate(
        conftest.source_of(lab, transport=transport, region=region)
    )
    together = threading.Barrier(8)

    def opening(_: int) -> int:
        together.wait()
        return id(store_at(source, "aws", "idc-open-data"))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(opening, range(8)))) == 1


# --- what goes wrong -------------------------------------------------------------------------


def test_missing_object(opened: Opened) -> None:
    error = raised(lambda: opened.store.get(f"{opened.folder}none.dcm", 0, 10, None))
    assert error.kind == ErrorKind.NOT_FOUND


def test_missing_bucket(opened: Opened) -> None:
    if opened.gate is None:
        pytest.skip("files have no buckets")
    store = opened.elsewhere("no-such-bucket")
    for call in (lambda: store.get("x", 0, 10, None), lambda: listed(store, "")):
        # an S3 server does not tell strangers which buckets exist
        assert raised(call).kind in (ErrorKind.NOT_FOUND, ErrorKind.DENIED)


def test_object_without_bytes(opened: Opened) -> None:
    with pytest.raises(EmptyObject):
        opened.store.get(f"{opened.folder}zero.dcm", 0, 10, None)


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_private_bucket_without_credentials(lab: Lab, transport: str) -> None:
    series = conftest.series_of(lab, "CT axial")
    key = series.key(series.instances[0])
    source = SourceConfig.model_validate(conftest.source_of(lab, transport=transport))
    store = store_at(source, "aws", servers.PRIVATE_BUCKET)
    assert raised(lambda: store.get(key, 0, 10, None)).kind == ErrorKind.DENIED
    assert raised(lambda: listed(store, "")).kind == ErrorKind.DENIED


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_private_bucket_with_the_environments_credentials(
    s3_gate: Gate, lab: Lab, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    series = conftest.series_of(lab, "CT axial")
    instance = series.instances[0]
    source = SourceConfig.model_validate(
        {"endpoint": s3_gate.url, "transport": transport, "anonymous": False}
    )
    store = store_at(source, "aws", servers.PRIVATE_BUCKET)
    answer = store.get(series.key(instance), 0, 500, None)
    assert answer.data == instance.path.read_bytes()[:500]
    assert len(listed(store, "")) == len(series.instances)
    assert all("authorization" in seen.headers for seen in s3_gate.seen)
    assert servers.S3_SECRET_KEY not in repr(s3_gate.seen)


@pytest.mark.parametrize("transport", ["obstore", "sdk"])
def test_wrong_or_no_credentials_are_denied(
    s3_gate: Gate, lab: Lab, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    source = SourceConfig.model_validate(
        {"endpoint": s3_gate.url, "transport": transport, "anonymous": False}
    )
    store = store_at(source, "aws", servers.PRIVATE_BUCKET)
    error = raised(lambda: store.get("x", 0, 500, None))
    assert error.kind == ErrorKind.DENIED
    assert "wrong-secret" not in str(error)


@pytest.mark.parametrize("name", REMOTE)
def test_an_anonymous_source_sends_no_credentials(
    lab: Lab, folders: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-users-key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-users-secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-users-token")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    # requests looks here for a password where a request has none
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login the-users-name password the-users-password\n")
    monkeypatch.setenv("NETRC", str(netrc))
    transport, cloud = name.split("-")
    server = lab.s3 if cloud == "aws" else lab.gcs
    with conftest.gate(server.endpoint) as gate:
        source = SourceConfig.model_validate(
            {"cloud": cloud, "endpoint": gate.url, "transport": transport}
        )
        store = store_at(source, cloud, "idc-open-data")
        assert store.get(f"{folders[cloud]}a.dcm", 0, 10, None).data == CONTENT[:10]
        assert listed(store, folders[cloud])
        assert gate.seen
        for seen in gate.seen:
            assert "authorization" not in seen.headers
            assert not any("token" in header for header in seen.headers)
            assert "the-users" not in repr(seen)


FAULTS: Final[dict[str, tuple[Fault, ErrorKind]]] = {
    "500": (conftest.status(500), ErrorKind.UNAVAILABLE),
    "503": (conftest.status(503), ErrorKind.UNAVAILABLE),
    "429": (conftest.status(429), ErrorKind.UNAVAILABLE),
    "401": (conftest.status(401), ErrorKind.DENIED),
    "403": (conftest.status(403), ErrorKind.DENIED),
    "404": (conftest.status(404), ErrorKind.NOT_FOUND),
    "200 instead of a range": (conftest.whole_object(CONTENT), ErrorKind.UNAVAILABLE),
    "200 with a page": (conftest.whole_object(b"<html>sorry</html>"), ErrorKind.UNAVAILABLE),
    "another range": (conftest.moved_range, ErrorKind.UNAVAILABLE),
    "a shorter range": (conftest.shorter_range, ErrorKind.UNAVAILABLE),
    "a short body": (conftest.short_body, ErrorKind.UNAVAILABLE),
    "a reset": (conftest.reset, ErrorKind.UNAVAILABLE),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_read(opened: Opened, fault: str) -> None:
    if opened.gate is None:
        pytest.skip("no server")
    broken, kind = FAULTS[fault]
    opened.gate.faults.append(broken)
    error = raised(lambda: opened.store.get(opened.key, 100, 300, None))
    assert error.kind == kind
    # no retry behind our back: each is counted
    assert len(opened.gate.seen) == 1
    for secret in (opened.gate.url, opened.key, "sorry"):
        assert secret not in str(error)
    # and the store is as good as before
    assert opened.store.get(opened.key, 100, 300, None).data == CONTENT[100:300]


@pytest.mark.parametrize("fault", ["412", "404"])
def test_faults_of_a_pinned_read(opened: Opened, fault: str) -> None:
    if opened.gate is None:
        pytest.skip("no server")
    version = opened.store.get(opened.key, 0, 10, None).version
    opened.gate.faults.append(conftest.status(int(fault)))
    error = raised(lambda: opened.store.get(opened.key, 10, 20, version))
    assert (
        error.kind
        in {
            "412": (ErrorKind.CHANGED,),
            "404": (ErrorKind.CHANGED, ErrorKind.NOT_FOUND),
        }[fault]
    )


@pytest.mark.parametrize("fault", ["503", "401", "403", "404", "a reset"])
def test_faults_of_a_listing(opened: Opened, fault: str) -> None:
    if opened.gate is None:
        pytest.skip("no server")
    broken, kind = FAULTS[fault]
    # google-cloud-storage asks for the bucket as well, in a thread of its own
    opened.gate.only = "prefix="
    opened.gate.faults.append(broken)
    assert raised(lambda: listed(opened.store, opened.folder)).kind == kind
    assert len(opened.gate.of("prefix=")) == 1
    assert listed(opened.store, opened.folder)


@pytest.mark.parametrize("name", REMOTE)
def test_nobody_listens(name: str) -> None:
    transport, cloud = name.split("-")
    source = SourceConfig.model_validate(
        {
            "cloud": cloud,
            "endpoint": f"http://127.0.0.1:{servers.free_port()}",
            "transport": transport,
        }
    )
    store = store_at(source, cloud, "idc-open-data")
    assert raised(lambda: store.get("x", 0, 10, None)).kind == ErrorKind.UNAVAILABLE
    assert raised(lambda: listed(store, "x/")).kind == ErrorKind.UNAVAILABLE


# --- writing ---------------------------------------------------------------------------------


@dataclass
class Writing:
    """A bucket that is written to, through a gate, and a prefix of its own."""

    bucket: WritableBucket
    prefix: str
    gate: Gate

    @property
    def key(self) -> str:
        return f"{self.prefix}a b+c%20/ü"


@pytest.fixture(params=["s3", "gs"])
def writing(
    request: pytest.FixtureRequest, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Writing]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    prefix = f"test-store-{uuid.uuid4()}/"
    with conftest.gate((lab.s3 if request.param == "s3" else lab.gcs).endpoint) as gate:
        output = OutputConfig(url=f"{request.param}://{servers.OUTPUT_BUCKET}", endpoint=gate.url)
        yield Writing(open_bucket(parse_url(output.url), output), prefix, gate)


def test_a_bucket_gives_back_what_was_put(writing: Writing) -> None:
    bucket, key = writing.bucket, writing.key
    assert bucket.read(key) is None
    assert bucket.put(key, CONTENT, None, "one")
    found = bucket.read(key)
    assert found is not None
    assert found[0] == CONTENT
    assert not bucket.put(key, b"other", None, "two")
    assert bucket.put(key, b"other", found[1], "two")
    assert not bucket.put(key, b"third", found[1], "three")
    assert bucket.get(key, 1, 3, None).data == b"th"
    assert not bucket.put(f"{key}-absent", b"x", found[1], "four")


def test_whose_write_came_through(writing: Writing) -> None:
    bucket, key = writing.bucket, writing.key
    assert bucket.put(key, b"same", None, "one")
    # a client that did not hear the answer asks again; another one with the same bytes does not
    assert bucket.put(key, b"same", None, "one")
    assert not bucket.put(key, b"same", None, "two")


def test_an_upload_replaces(writing: Writing, tmp_path: Path) -> None:
    bucket, key = writing.bucket, writing.key
    for content in (b"one", b"", CONTENT):
        bucket.upload(key, write(tmp_path / "x", content))
        found = bucket.read(key)
        assert found is not None
        assert found[0] == content


def test_entries_end_at_the_next_slash(writing: Writing) -> None:
    bucket, prefix = writing.bucket, writing.prefix
    for key in ("a", "b/c", "b/d", "b-e", "f/g/h"):
        bucket.put(prefix + key, b"x", None, "one")

    def entries(folder: str) -> list[str]:
        found = [entry for page in bucket.entries(prefix + folder) for entry in page]
        return sorted(entry.removeprefix(prefix) for entry in found)

    assert entries("") == ["a", "b-e", "b/", "f/"]
    assert entries("b/") == ["b/c", "b/d"]
    assert entries("none/") == []
    bucket.delete([f"{prefix}b/c", f"{prefix}none", f"{prefix}a"])
    left = {entry.key.removeprefix(prefix) for entry in listed(bucket, prefix)}
    assert left == {"b-e", "b/d", "f/g/h"}
    bucket.delete([])


def test_credentials_of_a_write(writing: Writing) -> None:
    writing.bucket.put(writing.key, b"x", None, "one")
    signed = {"authorization" in seen.headers for seen in writing.gate.seen}
    # an emulator is sent none
    assert signed == {isinstance(writing.bucket, Boto3Bucket)}
    assert servers.S3_SECRET_KEY not in repr(writing.gate.seen)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, ErrorKind.DENIED),
        (401, ErrorKind.DENIED),
        (403, ErrorKind.DENIED),
        (404, ErrorKind.NOT_FOUND),
        (405, ErrorKind.DENIED),
        (408, ErrorKind.UNAVAILABLE),
        (409, ErrorKind.UNAVAILABLE),
        (429, ErrorKind.UNAVAILABLE),
        (500, ErrorKind.UNAVAILABLE),
        (503, ErrorKind.UNAVAILABLE),
    ],
)
def test_faults_of_a_write(
    writing: Writing, code: int, kind: ErrorKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(with_boto3, "WRITE_ATTEMPTS", 1)
    bucket = writing.bucket
    if isinstance(bucket, Boto3Bucket):
        bucket = with_boto3.open_boto3_bucket(
            servers.OUTPUT_BUCKET, writing.gate.url, None, allow_http=False
        )
    writing.gate.always = conftest.status(code)
    error = raised(lambda: bucket.put(writing.key, b"x", None, "one"))
    assert error.kind == kind
    for secret in (writing.gate.url, writing.key):
        assert secret not in str(error)


@pytest.mark.parametrize("writing", ["s3"], indirect=True)
def test_objects_that_cannot_be_removed(writing: Writing) -> None:
    answer = "<DeleteResult><Error><Key>x</Key><Code>{}</Code></Error></DeleteResult>"
    for code, kind in (
        ("AccessDenied", ErrorKind.DENIED),
        ("InternalError", ErrorKind.UNAVAILABLE),
    ):
        writing.gate.faults.append(conftest.status(200, answer.format(code).encode()))
        assert raised(lambda: writing.bucket.delete(["x"])).kind == kind


@pytest.mark.parametrize("endpoint", ["http://no host", "https://me:hunter2@127.0.0.1"])
@pytest.mark.parametrize(
    ("scheme", "variable"), [("s3", "AWS_ENDPOINT_URL"), ("gs", "STORAGE_EMULATOR_HOST")]
)
def test_an_endpoint_of_the_environment_that_cannot_be(
    scheme: str, variable: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", servers.S3_ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", servers.S3_SECRET_KEY)
    monkeypatch.setenv(variable, endpoint)
    output = OutputConfig(url=f"{scheme}://some-bucket")
    with pytest.raises(OutputError, match="some-bucket") as found:
        open_bucket(parse_url(output.url), output)
    assert "hunter2" not in str(found.value)


def test_a_bucket_that_google_cannot_have(lab: Lab) -> None:
    output = OutputConfig(url="gs://bucket_", endpoint=lab.gcs.endpoint)
    with pytest.raises(OutputError, match="gs://bucket_"):
        open_bucket(parse_url(output.url), output)
