"""The sections of the config: every key with its meaning, and what must hold between keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from pydantic import (
    ByteSize,
    ConfigDict,
    Field,
    FilePath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ..dicom.tags import Wanted
from ..urls import is_idc, parse_url
from .addresses import check_endpoint, check_scheduler
from .audit import AuditConfig
from .cluster_class import import_class, option_mistakes
from .profile import resolve_wanted
from .section import Section, check_one_of

FramesWanted = Literal["none", "table", "scan"]


class CohortConfig(Section):
    """Which objects are read: exactly one of `sql`, `manifest` and `prefix`."""

    sql: str | None = None
    """A SELECT over the IDC index that returns SeriesInstanceUID or crdc_series_uuid."""
    manifest: str | None = None
    """An s5cmd manifest, or CSV or Parquet (local, s3:// or gs://) with a column url,
    SeriesInstanceUID or crdc_series_uuid."""
    prefix: str | None = None
    """s3://bucket/prefix/, gs://bucket/prefix/ or a local folder."""
    sample: PositiveInt | None = None
    """Only the k largest instances of each series."""
    index: str | None = None
    """Another index Parquet with IDC's columns, instead of the packaged one."""
    idc_version: PositiveInt | None = None
    """Refuse another installed IDC release."""

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check that one thing says which objects."""
        check_one_of(given, ("sql", "manifest", "prefix"))


class SourceConfig(Section):
    """Where the objects lie and how they are reached."""

    cloud: Literal["aws", "gcs"] = "aws"
    """Which of IDC's two clouds to read."""
    endpoint: str | None = None
    """URL of an S3-compatible server or GCS emulator, instead of the public hosts."""
    region: str | None = None
    """Region of the S3 bucket; IDC's is us-east-1."""
    allow_http: bool = False
    """Allow plain http outside loopback, and link-local addresses."""
    transport: Literal["obstore", "sdk"] = "obstore"
    """obstore, or the clouds' own boto3 and google-cloud-storage."""
    anonymous: bool = True
    """Send no credentials; otherwise those of the environment."""

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check that the endpoint is safe."""
        _check_endpoint(given)


class ReadConfig(Section):
    """What is kept of every object."""

    profile: str | list[str] = "core"
    """Name of a ready profile, a path, or a list of them; `all`: every attribute that appears."""
    tags: list[str] = Field(default_factory=list)
    """Further tags: Keyword, Sequence.Keyword, (gggg,creator,ee); a sequence alone is all of it."""
    skip: list[str] = Field(default_factory=list)
    """Tags that `all`, and sequences named alone, leave out."""
    header: Literal["none", "json"] = "none"
    """Whether the whole header goes into a column, in the DICOM JSON Model."""
    frames: FramesWanted = "none"
    """The frame index: by offset tables and TIFF directories, or by a scan where none is right."""

    @cached_property
    def wanted(self) -> Wanted:
        """What becomes columns, resolved once; raises `ConfigError`.

        A profile's file that changes while a harvest runs does not change its tables.
        """
        return resolve_wanted(self.profiles, self.tags, self.skip)

    @property
    def profiles(self) -> tuple[str, ...]:
        """Return the profiles as a tuple, whether one or several are named."""
        return (self.profile,) if isinstance(self.profile, str) else tuple(self.profile)

    @property
    def with_json(self) -> bool:
        """Whether the whole header goes into a column."""
        return self.header == "json"

    @property
    def with_frames(self) -> bool:
        """Whether there is a ``frames`` table."""
        return self.frames != "none"


class TlsConfig(Section):
    """Files of a TLS scheduler, as `distributed.security.Security` takes them."""

    ca_file: FilePath
    """Of the authority that signed the others."""
    cert: FilePath
    """Certificate."""
    key: FilePath
    """Private key of the certificate."""


class ScaleConfig(Section):
    """How many workers a cluster class is asked for: a number, or between two as work comes."""

    workers: PositiveInt | None = None
    """So many, from the beginning to the end."""
    minimum: NonNegativeInt = 0
    """Fewest, where the number follows the work."""
    maximum: PositiveInt | None = None
    """Most, where the number follows the work."""

    @property
    def most(self) -> int:
        """Return how many workers there will be at most."""
        most = self.workers or self.maximum
        assert most is not None
        return most

    @model_validator(mode="after")
    def _one_way(self) -> ScaleConfig:
        if (self.workers is None) == (self.maximum is None):
            raise ValueError("needs workers: n, or maximum: n with or without minimum: m")
        if self.minimum > self.most:
            raise ValueError(f"minimum {self.minimum} is more than {self.most}")
        return self


class ClusterConfig(Section):
    """Where the work is done: here, on a running scheduler, or on workers that a class starts."""

    model_config = ConfigDict(serialize_by_alias=True)

    workers: PositiveInt | None = None
    """Worker processes on this machine; as many as its CPUs and memory bear where nothing is said
    of the cluster at all."""
    address: str | None = None
    """Address of a running Dask scheduler, such as tls://host:8786."""
    cluster_class: str | None = Field(default=None, alias="class")
    """Import path of a Dask cluster class, such as dask_jobqueue.SLURMCluster."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the class."""
    scale: ScaleConfig | None = None
    """How many workers the class is asked for."""
    tls: TlsConfig | None = None
    """Certificates of driver, scheduler and workers: for a tls:// address, and for a class."""
    allow_insecure: bool = False
    """Allow a scheduler that is reached without TLS from outside this machine."""
    no_workers_seconds: PositiveFloat | None = None
    """Longest time without any worker; a minute or two by default, an hour for a class, whose
    workers may wait in a queue."""

    @property
    def exposed(self) -> bool:
        """Whether a scheduler of ours may be reached from outside this machine."""
        return self.tls is not None or self.allow_insecure

    @property
    def most_workers(self) -> int | None:
        """Return how many workers there will be at most, None where that is not known."""
        return self.scale.most if self.scale else self.workers

    @field_validator("cluster_class")
    @classmethod
    def _is_a_cluster_class(cls, path: str | None) -> str | None:
        if path is not None:
            import_class(path)
        return path

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check that it is one place, with what belongs to it."""
        kinds = ("workers", "address", "class")
        found = [name for name in kinds if given.get(name) is not None]
        if len(found) > 1:
            named = " and ".join(found)
            raise ValueError(f"needs one of workers, address and class, found {named}")
        if "class" in found and given.get("scale") is None:
            raise ValueError("a class needs scale: {workers: n}, or {minimum: m, maximum: n}")
        for name in ("options", "scale"):
            if given.get(name) and "class" not in found:
                raise ValueError(f"{name} is for a class, and none is named")

    @model_validator(mode="after")
    def _can_be_reached(self) -> ClusterConfig:
        if self.address is not None:
            check_scheduler(self.address, allow_insecure=self.allow_insecure)
            if self.address.startswith("tls://") and self.tls is None:
                raise ValueError("a tls:// address needs tls: {ca_file, cert, key}")
        if self.cluster_class is not None:
            found = import_class(self.cluster_class)
            mistakes = list(option_mistakes(found, self.options, exposed=self.exposed))
            if mistakes:
                raise ValueError("; ".join(mistakes))
        return self


class LimitsConfig(Section):
    """How much the run may ask, and how many errors are too many."""

    max_error_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of error rows above which the exit code is 2."""
    requests_per_second: PositiveFloat | None = None
    """Of the whole run, divided among its workers."""
    concurrency: int = Field(default=64, ge=1, le=1024)
    """Requests in flight of one worker."""
    header_bytes: ByteSize = ByteSize(64 * 2**20)
    """Longest header that is read, such as 64MiB."""
    object_seconds: PositiveFloat = 120
    """Longest time for one object, retries included."""
    retries: NonNegativeInt = 5
    """Tries again after a fault that may pass."""
    partition_rows: int | None = Field(default=None, ge=1, le=2000)
    """Objects of one partition; by default a few partitions for each worker, of 64 to 2,000."""


class OutputConfig(Section):
    """Where the tables go."""

    url: str
    """A local folder, s3://bucket/path or gs://bucket/path."""
    endpoint: str | None = None
    """URL of an S3-compatible server or GCS emulator; otherwise the environment's, or none."""
    region: str | None = None
    """Region of the S3 bucket; otherwise the environment's."""
    allow_http: bool = False
    """Allow plain http outside loopback, and link-local addresses."""

    @classmethod
    def check(cls, given: Mapping[str, Any]) -> None:
        """Check that it can be written to, and only where it is meant to be."""
        url = given.get("url")
        if not isinstance(url, str):
            return
        where = parse_url(url)
        if is_idc(where.bucket):
            raise ValueError(f"{url} is IDC's own bucket: name a folder, or a bucket of yours")
        if where.scheme == "file":
            for key in ("endpoint", "region", "allow_http"):
                if given.get(key):
                    raise ValueError(f"{key} is for a bucket, and {url} is a folder")
        elif "?" in url or "#" in url:
            # a signed URL, say: what is in it would be shown
            raise ValueError("the URL of an output has no query: name {s3,gs}://bucket/path alone")
        _check_endpoint(given)


class Config(Section):
    """A whole harvest."""

    cohort: CohortConfig
    source: SourceConfig = Field(default_factory=SourceConfig)
    read: ReadConfig = Field(default_factory=ReadConfig)
    output: OutputConfig
    cluster: ClusterConfig = Field(default_factory=ClusterConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    audit: AuditConfig | None = None
    """Of `harvest audit` alone, whose output is the folder of its snapshots."""

    @field_validator("output", mode="before", json_schema_input_type=str | OutputConfig)
    @classmethod
    def _output_as_text(cls, output: Any) -> Any:
        return {"url": output} if isinstance(output, str) else output


def _check_endpoint(given: Mapping[str, Any]) -> None:
    if not isinstance(given.get("endpoint"), str):
        return
    try:
        allow_http = _YES_OR_NO.validate_python(given.get("allow_http", False))
    except ValidationError:
        allow_http = False
    check_endpoint(given["endpoint"], allow_http=allow_http)


_YES_OR_NO = TypeAdapter(bool)
