"""The config: YAML in, one checked `Config` out, or every mistake at once with its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    FilePath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from ..errors import ConfigError
from ..hosts import is_link_local, is_loopback
from ..urls import ObjectUrl, is_idc, parse_url
from .audit import AuditConfig, audit_mistakes
from .cluster_class import import_class, option_mistakes
from .profile import resolve
from .section import Section

Location = tuple[str | int, ...]
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

    @model_validator(mode="after")
    def _exactly_one(self) -> CohortConfig:
        _check_kinds({"sql": self.sql, "manifest": self.manifest, "prefix": self.prefix})
        return self


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

    @model_validator(mode="after")
    def _endpoint_is_safe(self) -> SourceConfig:
        _check_source({"endpoint": self.endpoint, "allow_http": self.allow_http})
        return self


def source_of(url: ObjectUrl, given: Mapping[str, Any]) -> SourceConfig:
    """Describe where a single object lies; its URL tells the cloud, unless `given` does.

    Raises
    ------
    ValueError
        A key is none of the config's ``source:``, or has a wrong value.
    """
    try:
        return SourceConfig(**{"cloud": "gcs" if url.scheme == "gs" else "aws", **given})
    except ValidationError as error:
        found = error.errors()[0]
        text = _describe(("source", *found["loc"]), dict(found))
        raise ValueError(text.removeprefix("source: ")) from None


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
    cert: FilePath
    key: FilePath


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

    @model_validator(mode="after")
    def _one_place(self) -> ClusterConfig:
        _check_place(self.model_dump())
        if self.address is not None:
            _check_scheduler(self.address, self.allow_insecure)
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

    @model_validator(mode="after")
    def _can_be_written(self) -> OutputConfig:
        _check_output(self.model_dump())
        return self


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

    @field_validator("output", mode="before")
    @classmethod
    def _output_as_text(cls, output: Any) -> Any:
        return {"url": output} if isinstance(output, str) else output


class _ClusterFile(Section):
    """A file with the cluster alone."""

    cluster: ClusterConfig


Parsed = TypeVar("Parsed", bound=Section)


def _check_kinds(cohort: Mapping[str, Any]) -> None:
    kinds = ("sql", "manifest", "prefix")
    given = [name for name in kinds if cohort.get(name) is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise ValueError(f"needs exactly one of sql, manifest and prefix, found {found}")


def _check_source(source: Mapping[str, Any]) -> None:
    if isinstance(source.get("endpoint"), str):
        check_endpoint(source["endpoint"], allow_http=source.get("allow_http") is True)


def _check_output(output: Mapping[str, Any]) -> None:
    url = output.get("url")
    if not isinstance(url, str):
        return
    where = parse_url(url)
    if is_idc(where.bucket):
        raise ValueError(f"{url} is IDC's own bucket: name a folder, or a bucket of yours")
    if where.scheme == "file":
        for key in ("endpoint", "region", "allow_http"):
            if output.get(key):
                raise ValueError(f"{key} is for a bucket, and {url} is a folder")
    elif "?" in url or "#" in url:
        # a signed URL, say: what is in it would be shown
        raise ValueError("the URL of an output has no query: name {s3,gs}://bucket/path alone")
    _check_source(output)


def _check_place(cluster: Mapping[str, Any]) -> None:
    kinds = ("workers", "address", "class")
    given = [name for name in kinds if cluster.get(name) is not None]
    if len(given) > 1:
        raise ValueError(f"needs one of workers, address and class, found {' and '.join(given)}")
    if "class" in given and cluster.get("scale") is None:
        raise ValueError("a class needs scale: {workers: n}, or {minimum: m, maximum: n}")
    for name in ("options", "scale"):
        if cluster.get(name) and "class" not in given:
            raise ValueError(f"{name} is for a class, and none is named")


def output_config(
    url: str, endpoint: str | None = None, region: str | None = None, *, allow_http: bool = False
) -> OutputConfig:
    """Describe an output that is named without a config.

    Parameters
    ----------
    url, endpoint, region, allow_http
        As in the config.

    Raises
    ------
    ConfigError
        These cannot be an output.
    """
    try:
        return OutputConfig(url=url, endpoint=endpoint, region=region, allow_http=allow_http)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"output: {reason}") from None


def source_config(where: str, **given: Any) -> SourceConfig:
    """Describe a source that another section names.

    Parameters
    ----------
    where
        Of the config, for the message.
    given
        As in the config's ``source``.

    Raises
    ------
    ConfigError
        These cannot be a source.
    """
    try:
        return SourceConfig(**given)
    except ValidationError as error:
        reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
        raise ConfigError(f"{where}: {reason}") from None


def check_endpoint(endpoint: str, *, allow_http: bool) -> None:
    """Refuse an endpoint that could leak data or reach a metadata service.

    Parameters
    ----------
    endpoint
        URL of a server.
    allow_http
        The user's explicit word.

    Raises
    ------
    ValueError
        It is no http(s) URL; or plain http outside loopback, or a link-local address, and not
        allowed.
    """
    if "@" in endpoint:
        raise ValueError("endpoint holds credentials: use anonymous: false and the environment's")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"endpoint {endpoint!r} is no http:// or https:// URL")
    if allow_http:
        return
    if is_link_local(parts.hostname):
        raise ValueError(f"endpoint {endpoint} is link-local; set allow_http: true if you mean it")
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise ValueError(
            f"endpoint {endpoint} is plain http outside loopback; use https, "
            "or set allow_http: true if you mean it"
        )


def _has_port(parts: SplitResult) -> bool:
    """Tell whether the port of a URL can be one, or is left out."""
    try:
        return parts.port is None or parts.port > 0
    except ValueError:
        return False


def _check_scheduler(address: str, allow_insecure: bool) -> None:
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not _has_port(parts):
        raise ValueError(f"address {address!r} is no tcp://host:port or tls://host:port")
    if parts.scheme == "tcp" and not is_loopback(parts.hostname) and not allow_insecure:
        raise ValueError(
            f"scheduler {address} is not encrypted; use tls://, "
            "or set allow_insecure: true if the network is yours alone"
        )


def load_config(path: str | Path, cluster: str | Path | None = None) -> Config:
    """Read a config file.

    Parameters
    ----------
    path
        Of the config.
    cluster
        Path of another file, with a section `cluster:` and nothing else, which is taken instead
        of the config's own.

    Raises
    ------
    ConfigError
        A file cannot be read, is no YAML, or has mistakes; all of them are listed.
    """
    config = parse_config(_text(path), str(path))
    if cluster is None:
        return config
    given = _parse(_ClusterFile, _text(cluster), str(cluster))
    return config.model_copy(update={"cluster": given.cluster})


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} cannot be read: {_os_reason(error)}") from None


def _os_reason(error: Exception) -> str:
    reason = error.strerror if isinstance(error, OSError) else None
    return reason or "it is not UTF-8 text"


def parse_config(text: str, name: str = "config") -> Config:
    """Parse and check the text of a config; raises as `load_config` does."""
    return _parse(Config, text, name)


def _parse(model: type[Parsed], text: str, name: str) -> Parsed:
    lines: dict[Location, int] = {}
    try:
        content = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        mistakes = set(_index_lines(node, (), lines, set()))
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{name} is no YAML that can be a config: {error}") from None
    if not isinstance(content, dict):
        needed = ": and ".join(key for key, f in model.model_fields.items() if f.is_required())
        raise ConfigError(f"{name} is no mapping with {needed}: (see configs/)")
    mistakes |= {(_line((section,), lines), text) for section, text in _section_mistakes(content)}
    mistakes |= {
        (_line(location, lines), text) for location, text in _read_mistakes(content.get("read"))
    }
    mistakes |= {
        (_line(location, lines), text) for location, text in audit_mistakes(content.get("audit"))
    }
    try:
        parsed = model.model_validate(content)
    except ValidationError as error:
        for found in error.errors():
            location = _shown(found["loc"])
            mistakes.add((_line(location, lines), _describe(location, dict(found))))
        parsed = None
    if mistakes or parsed is None:
        listed = "\n".join(
            f"  line {line}: {text}" if line else f"  {text}" for line, text in sorted(mistakes)
        )
        raise ConfigError(f"{name} has {len(mistakes)} mistake(s):\n{listed}")
    return parsed


def _section_mistakes(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Check what pydantic leaves unchecked in a section where single keys are wrong already."""
    checks = {
        "cohort": _check_kinds,
        "source": _check_source,
        "output": _check_output,
        "cluster": _check_place,
    }
    for section, check in checks.items():
        given = content.get(section)
        if isinstance(given, dict):
            try:
                check(given)
            except ValueError as error:
                yield section, f"{section}: {error}"


def _read_mistakes(read: Any) -> Iterator[tuple[Location, str]]:
    """Check profiles and tags by the dictionary, as far as the section is one."""
    given = read if isinstance(read, dict) else {}
    named = given.get("profile", "core")
    profiles = [named] if isinstance(named, str) else named
    tags, skip = given.get("tags") or [], given.get("skip") or []
    if all(
        isinstance(part, list) and all(isinstance(x, str) for x in part)
        for part in (profiles, tags, skip)
    ):
        for location, text in resolve(profiles, tags, skip).mistakes:
            yield ("read", *location), text


def _index_lines(
    node: yaml.Node | None, location: Location, lines: dict[Location, int], visited: set[int]
) -> Iterator[tuple[int, str]]:
    """Fill in the line of every key; yield keys that are given twice.

    An alias is the node of its anchor: it is visited once, however often it stands there.
    """
    if node is None or id(node) in visited:
        return
    visited.add(id(node))
    lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _index_lines(item, (*location, number), lines, visited)
    if isinstance(node, yaml.MappingNode):
        seen: set[Location] = set()
        for key, value in node.value:
            inner = (*location, str(key.value))
            if inner in seen:
                yield key.start_mark.line + 1, f"{_dotted(inner)} is given twice"
            seen.add(inner)
            lines[inner] = key.start_mark.line + 1
            yield from _index_lines(value, inner, lines, visited)


def _shown(location: Location) -> Location:
    """Leave out what pydantic adds for the branches of a union."""
    return tuple(part for part in location if part not in ("str", "list[str]"))


def _dotted(location: Location) -> str:
    return ".".join(str(part) for part in location)


def _line(location: Location, lines: Mapping[Location, int]) -> int:
    while location and location not in lines:
        location = location[:-1]
    return lines.get(location, 0) if location else 0


def _describe(location: Location, found: dict[str, Any]) -> str:
    where = _dotted(location)
    if found["type"] == "extra_forbidden":
        return f"{where} is no key of the config{_suggestion(location)}"
    if found["type"] == "missing":
        return f"{where} is missing"
    return f"{where}: {str(found['msg']).removeprefix('Value error, ')}"


def _suggestion(location: Location) -> str:
    section: type[BaseModel] | None = Config
    for part in location[:-1]:
        if isinstance(part, str) and section is not None:  # a number is a place in a list
            field = section.model_fields.get(part)
            section = _section_in(field.annotation) if field is not None else None
    if section is None:
        return ""
    names = [field.alias or name for name, field in section.model_fields.items()]
    near = difflib.get_close_matches(str(location[-1]), names, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else f" (known here: {', '.join(names)})"


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Find the section that a type is, or is made of: one that may be absent, or a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
