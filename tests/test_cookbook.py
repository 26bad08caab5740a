"""Every query of the README's cookbook answers its question: on a cohort made for it, and it runs
on real files.

The cohort, see `tests.cookbook`, holds what each question asks for beside what it must pass over;
the answers here are counted by hand, or by pydicom where they count everything.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import duckdb
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import parse_basic_offsets
from pydicom.uid import CTImageStorage

import harvest
from tests import conftest
from tests.lab import servers
from tests.lab.dicom import uid
from tests.lab.servers import Upload
from tests.support import cookbook
from tests.support.cookbook import Stored, series_uid, series_uuid
from tests.support.oracle import PROFILES, read_without_force

README: Final = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
Row = tuple[Any, ...]
Run = Callable[[tuple[tuple[str, ...], str, str]], duckdb.DuckDBPyConnection]

_SECTION: Final = README.partition("\n## Cookbook\n")[2].partition("\n## ")[0]
_ENTRY: Final = re.compile(
    r"<summary>(.*) \((<code>.*)\)</summary>\n"
    r"(?:\n(?!```).+\n)?"  # what it means
    r"\n```sql\n([^`]*)```\n\n</details>"
)
QUERIES: Final = {
    title: (re.findall("<code>(.*?)</code>", needs), sql)
    for title, needs, sql in _ENTRY.findall(_SECTION)
}


Needs = tuple[tuple[str, ...], str, str]
"""Of ``read:``: profiles, header and frames."""


def needs(title: str) -> Needs:
    """Return what a query needs of a harvest."""
    named = QUERIES[title][0]
    return (
        tuple(name for name in named if ":" not in name),
        "json" if "header: json" in named else "none",
        "scan" if "frames: scan" in named else "none",
    )


# --- the cohort ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> list[Stored]:
    return cookbook.write_cohort(tmp_path_factory.mktemp("cookbook"))


@pytest.fixture(scope="module")
def run(
    cohort: list[Stored], scheduler: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    """Give a function that harvests the cohort with some profiles, once, and connects."""
    folder = tmp_path_factory.mktemp("harvested")
    index = folder / "index.parquet"
    cookbook.write_index(cohort, index)
    done: dict[Needs, duckdb.DuckDBPyConnection] = {}
    with servers.seaweedfs(folder / "s3", [cookbook.BUCKET]) as s3:
        servers.create_s3_bucket(s3, cookbook.BUCKET)
        servers.put_s3(s3, cookbook.BUCKET, [Upload(each.key, each.path) for each in cohort])

        def connect(needed: Needs) -> duckdb.DuckDBPyConnection:
            if needed not in done:
                profiles, header, frames = needed
                output = folder / "-".join((*profiles, header, frames))
                config = conftest.config_of(
                    output,
                    {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
                    {"endpoint": s3.endpoint},
                    scheduler=scheduler,
                    read={"profile": list(profiles), "header": header, "frames": frames},
                )
                ended = harvest.run(config)
                assert (ended.rows, ended.errors) == (len(cohort), {"truncated": 1})
                done[needed] = harvest.connect(str(output))
            return done[needed]

        yield connect


# --- answers ---------------------------------------------------------------------------------


def offset_tables(cohort: list[Stored]) -> list[Row]:
    objects: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    frames: Counter[tuple[str, str]] = Counter()
    for each in readable(cohort):
        if "PixelData" not in each.dataset:
            continue
        kind = "native"
        if each.dataset.file_meta.TransferSyntaxUID.is_compressed:
            kind = "basic" if parse_basic_offsets(each.dataset.PixelData) else "empty"
        key = (str(each.dataset.Modality), kind)
        objects[key] += 1
        sizes[key] += each.path.stat().st_size
        frames[key] += int(each.dataset.get("NumberOfFrames") or 1)
    rows = [
        ("cookbook", *key, count, round(sizes[key] / 1e9, 2), frames[key])
        for key, count in objects.items()
    ]
    return sorted(rows, key=lambda row: (row[1], -row[3], row[2]))


def without_frame_index(_: list[Stored]) -> list[Row]:
    # two levels of SM pyramid, of 16 and 4 frames, and a channel whose table is for 4 of 5
    return [("cookbook", "Lab", "1.2.840.10008.1.2.4.50", 3, 2, 0.02, 16)]


def kernels(cohort: list[Stored]) -> list[Row]:
    return counted_kernels(each.dataset for each in readable(cohort))


def counted_kernels(datasets: Iterable[Dataset]) -> list[Row]:
    slices: Counter[Row] = Counter()
    series: dict[Row, set[str]] = {}
    for each in datasets:
        if each.get("SOPClassUID") != CTImageStorage or "LOCALIZER" in (
            each.get("ImageType") or ()
        ):
            continue
        kernel = each.get("ConvolutionKernel") or None
        if kernel is not None and not isinstance(kernel, str):
            kernel = "/".join(kernel)
        maker = each.get("Manufacturer") or None
        key = (maker, kernel, number_of(each, "SliceThickness"), number_of(each, "KVP"))
        slices[key] += 1
        series.setdefault(key, set()).add(each.SeriesInstanceUID)
    rows = [(*key, len(series[key]), count) for key, count in slices.items()]
    # as DuckDB sorts, with NULL after all else
    return sorted(rows, key=lambda row: (-row[5], *((v is None, v or 0) for v in row[:4])))


def training_cohort(_: list[Stored]) -> list[Row]:
    return [
        (series_uid("CT flipped"), "LAB-001", "Lab", "B30f/3", 100.0, None, 22, 2.0, 0.7),
        (series_uid("CT even"), "LAB-001", "Lab", "B30f/3", 120.0, "Iohexol", 20, 2.0, 0.7),
    ]


def weightings(_: list[Stored]) -> list[Row]:
    return [
        # MR T2, contrast, repeated, echoes, unplaced, localizer, broken off, before after
        (3.0, "Lab", "2D", "SE", "T2", 8, 3 + 12 + 6 + 6 + 3 + 3 + 8 + 4),
        # DWI of Philips, GE and by name, and the stranger
        (3.0, "Lab", "2D", "EP", "T2", 4, 13),
        # DWI standard and Siemens
        (3.0, "Lab", "2D", "EP", "DWI", 2, 6),
        (3.0, "Lab", "2D", "EP", "PD or other", 1, 3),
        (1.5, "Lab", "2D", "SE", "T1", 1, 2),
        (3.0, "Lab", "2D", "SE", "PD or other", 2, 2),
        (3.0, "Lab", "2D", "SE", None, 2, 2),
        (3.0, "Lab", "3D", "GR/IR", "T1", 1, 1),
        (3.0, "Lab", "2D", "SE", "FLAIR", 1, 1),
        (3.0, "Lab", "2D", "SE", "STIR", 1, 1),
    ]


def b_values(_: list[Stored]) -> list[Row]:
    rows = [
        (series_uid("DWI standard"), "Lab", [0.0, 800.0], 3, 3),
        (series_uid("DWI Siemens"), "Lab", [200.0, 1000.0], 3, 0),
        (series_uid("DWI Philips"), "Lab", [0.0, 800.0], 3, 0),
        (series_uid("DWI GE"), "Lab", [0.0, 800.0], 3, 0),
        (series_uid("DWI named"), "Lab", [0.0, 800.0], 3, 0),
    ]
    return [(series_uid("DWI enhanced"), "Lab", [0.0, 50.0, 1000.0], 5, 5), *sorted(rows)]


def dynamic_series(_: list[Stored]) -> list[Row]:
    return [
        # a minute over midnight, then twice 20 s
        (series_uid("MR contrast"), "Gadobutrol", 5, 4, 3, 20.0),
        (series_uid("MR repeated"), None, None, 3, 2, 10.0),
    ]


def suv_factors(_: list[Stored]) -> list[Row]:
    hour, days = 2 ** (-3600 / 6586.2), 2 ** (-(2 * 86400 + 3610) / 282240)
    start = ("BQML", "START", "^18^Fluorine", "FDG", 350.0, 70.0, 60.0)
    found = {
        "PT 1 start": (*start, 70e3 / (350e6 * hour)),
        "PT 2 midnight": (*start[:4], 370.0, 70.0, 60.0, 70e3 / (370e6 * hour)),
        "PT 3 admin": ("BQML", "ADMIN", *start[2:], 70e3 / 350e6),
        "PT 4 counts": ("CNTS", *start[1:], 0.0005),
        "PT 5 ready": ("GML", *start[1:], 1.0),
        "PT 6 processed": (*start, 70e3 / (350e6 * hour)),
        "PT 7 Philips": (*start, 70e3 / (350e6 * hour)),
        "PT 8 days": (*start[:6], 2940.2, 70e3 / (350e6 * days)),
    }
    found["PT 9 dynamic"] = (*start[:6], -0.1, 70e3 / (350e6 * 2 ** (6 / 6586.2)))
    refused = {
        "PT lean": ("GML", *start[1:], None),
        "PT uncorrected": (*start, None),
        "PT silent": (*start, None),
        "PT undecayed": ("BQML", "NONE", *start[2:], None),
        "PT unweighed": (*start[:5], None, 60.0, None),
        "PT zero": ("CNTS", *start[1:], None),
    }
    return [
        (
            series_uid(name),
            "Lab",
            *some[name][:-1],
            some[name][-1] and pytest.approx(some[name][-1]),
        )
        for some in (found, refused)
        for name in sorted(some, key=series_uid)
    ]


def base_levels(cohort: list[Stored]) -> list[Row]:
    def slide(name: str, objective: float, pixel: float, side: int, levels: int, base: int) -> Row:
        urls = sorted(each.url for each in of_series(cohort, name)[:base])
        glass = f"glass of {name}"
        return ("cookbook", glass, series_uid(name), objective, pixel, side, side, levels, urls)

    return [
        slide("SM table", 40.0, 0.5, 64, 1, 1),
        slide("SM pyramid", 20.0, 0.5, 64, 3, 1),
        slide("SM channels", 20.0, 1.0, 32, 2, 2),
    ]


def preparations(_: list[Stored]) -> list[Row]:
    stains = ["eosin", "hematoxylin stain"]
    said: dict[str, Row] = {
        "SM channels": (None, None, None),
        "SM pyramid": (["Formalin"], ["Paraffin wax"], stains),
        "SM table": (None, None, ["H&E", "eosin"]),
    }
    return [(f"glass of {name}", series_uid(name), *row) for name, row in said.items()]


def channels(_: list[Stored]) -> list[Row]:
    return [(series_uid("SM channels"), 3, ["3", "CD8", "DAPI"], ["Brightfield illumination"])]


def segmented(_: list[Stored]) -> list[Row]:
    anatomical, by = "Anatomical Structure", ("AUTOMATIC", "threshold")
    return [
        (anatomical, "Liver", None, *by, 4, 4, 2),
        (anatomical, "Spleen", None, *by, 3, 2, 1),
        (anatomical, "Neoplasm", "Liver", *by, 1, 1, 1),
        (anatomical, "Organ", None, "MANUAL", None, 1, 1, 1),
    ]


def livers(cohort: list[Stored]) -> list[Row]:
    def pair(seg: str, segment: int, ct: str, licence: str | None, *of_ct: Any) -> Row:
        url = of_series(cohort, seg)[0].url
        return (series_uid(seg), url, segment, series_uid(ct), "cookbook", licence, 20, *of_ct)

    rows = [
        pair("SEG liver", 1, "CT even", "CC BY 4.0", 2.0, "B30f/3"),
        pair("SEG old code", 1, "CT two kernels", "CC BY 3.0", 2.0, "B30f/3, B70f"),
        pair("SEG labelled", 3, "CT thick", None, 5.0, "B30f/3"),
    ]
    return sorted(rows, key=lambda row: str(row[1]))


def roi_names(_: list[Stored]) -> list[Row]:
    return [
        ("LUNG_LEFT", "ORGAN", 2, 2),
        ("COUCH", None, 1, 0),
        ("GTV_1", "GTV", 1, 1),
        ("PTV", "PTV", 1, 1),
    ]


def mammograms(_: list[Stored]) -> list[Row]:
    views = ["L-CC", "L-MLO", "R-CC", "R-MLO"]
    rows = [
        (str(uid("study", "MG codes")), "patient of MG codes", "Lab", 4, views),
        (
            str(uid("study", "MG complete")),
            "patient of MG complete",
            "Lab",
            7,
            ["L-CC", "L-MLO", "R-CC", "R-ML", "R-MLO"],
        ),
    ]
    return sorted(rows)


def measurable_clips(cohort: list[Stored]) -> list[Row]:
    def region(name: str, left: int, width: float, height: float, rate: float | None) -> Row:
        url = of_series(cohort, name)[0].url
        sides = (pytest.approx(width), pytest.approx(height))
        return (url, 3, left, 0, left + 99, 199, *sides, rate, "LINEAR")

    rows = [
        region("US clip", 0, 0.2, 0.25, 25.0),
        region("US clip", 100, 0.1, 0.3, 25.0),
        region("US vector", 0, 0.2, 0.25, 20.0),
        region("US rate", 0, 0.2, 0.25, 15.0),
        region("US untimed", 0, 0.2, 0.25, None),
    ]
    return sorted(rows, key=lambda row: (row[0], row[2]))


def changing(_: list[Stored]) -> list[Row]:
    # images; types, syntaxes, thicknesses, kernels, kVs, echo and repetition times
    rows = [
        (series_uid("CT with scout"), "CT", 21, 2, 1, 1, 1, 1, 1, 1),
        (series_uid("CT unplaced"), "CT", 21, 2, 1, 1, 1, 1, 1, 1),
        # the last slice does not say its voltage
        (series_uid("CT two kernels"), "CT", 20, 1, 1, 1, 2, 2, 1, 1),
        (series_uid("SM pyramid"), "SM", 4, 2, 1, 1, 1, 1, 1, 1),
    ]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def downloads(_: list[Stored]) -> list[Row]:
    alike = ("10.0000/cookbook", "CC BY 4.0")
    plain = ("CT even", "CT gap", "CT one place", "CT tilted", "CT drifting", "CT sinking")
    said: dict[str, Row] = {
        **dict.fromkeys(plain, (*alike, 20, "B30f")),
        **dict.fromkeys(("CT with scout", "CT unplaced"), (*alike, 21, "B30f")),
        "CT two kernels": ("10.0000/kernels", "CC BY 3.0", 20, "B30f, B70f"),
    }
    return sorted(
        (f"cp s3://idc-open-data/{series_uuid(name)}/* .", *row) for name, row in said.items()
    )


def lacking_images(_: list[Stored]) -> list[Row]:
    return [(series_uid("CT gap"), 4, 2)]


def colour_profiles(_: list[Stored]) -> list[Row]:
    return sorted(
        [
            # a label and three levels, one of these with a profile over 1 KiB
            (series_uid("SM pyramid"), 4, 3, 2000),
            (series_uid("SM table"), 1, 1, 600),
            (series_uid("SM channels"), 5, 0, None),
        ]
    )


def coils(_: list[Stored]) -> list[Row]:
    return [("HE1-4", 1, 2), ("BC", 1, 1)]


def region_bytes(cohort: list[Stored]) -> list[Row]:
    """Ranges of the tiles 2 to 4 of rows 1 and 2, found by their bytes in the file."""
    rows: list[Row] = []
    for each in readable(cohort):
        if each.dataset.get("Modality") != "SM" or each.dataset.NumberOfFrames < 4:
            continue
        side = each.dataset.TotalPixelMatrixColumns
        across = side // 16
        content = each.path.read_bytes()
        starts = [found.start() for found in re.finditer(ITEM_OF_A_TILE, content)]
        starts.append(content.index(b"\xfe\xff\xdd\xe0", starts[-1]))
        for row in range(2):
            first, last = row * across + 1, row * across + min(across, 4) - 1
            if each.series == "SM channels" and each.dataset.NumberOfFrames == 5:
                continue  # its table is wrong, and there are not so many fragments
            rows.append(
                (each.url, row + 1, first + 1, last + 1, starts[first], starts[last + 1] - 1)
            )
    return sorted(rows)


def segment_frames(cohort: list[Stored]) -> list[Row]:
    (found,) = of_series(cohort, "SEG liver")
    content = found.path.read_bytes()
    pixels = content.rindex(b"\xe0\x7f\x10\x00") + 12
    return [
        (found.url, number + 1, [-160.0, -160.0, height], pixels + number * 9 // 8, number * 9 % 8)
        for number, (segment, height) in enumerate(cookbook.SEGMENT_FRAMES)
        if segment == 1
    ]


ITEM_OF_A_TILE: Final = rb"(?s)\xfe\xff\x00\xe0.{4}\xff\xd8"

ANSWERS: Final[dict[str, Callable[[list[Stored]], list[Row]]]] = {
    "Which files have an offset table, by collection and modality?": offset_tables,
    "How many bytes of which slides need a frame index before they can be read lazily?": (
        without_frame_index
    ),
    "How many slices are there of each CT kernel, maker and thickness?": kernels,
    "Which CT series are axial, evenly spaced and thin, with or without contrast?": (
        training_cohort
    ),
    "Which MR is there, by field strength, kind of acquisition and weighting?": weightings,
    "Which diffusion b-values were measured, wherever the maker hides them?": b_values,
    "Which MR series are dynamic, and how much time lies between their phases?": (dynamic_series),
    "Can body-weight SUVs be computed from these PET series, and by which factor?": suv_factors,
    "Which slides are there, by objective and pixel size, and where is the base level of each?": (
        base_levels
    ),
    "How was each slide fixed, embedded and stained?": preparations,
    "Which slides are multiplexed, and which channels (optical paths) have they?": channels,
    "What has been segmented, and by what: property, anatomy, algorithm?": segmented,
    "Which livers are segmented, and on which CT?": livers,
    "Which ROI names do structure sets use, of which type, drawn on how many series?": roi_names,
    "Which mammography studies have all four standard views, for presentation, and no implants?": (
        mammograms
    ),
    "In which ultrasound clips can lengths be measured, and how large is a pixel?": (
        measurable_clips
    ),
    "Which attributes that one takes for constant change within a series?": changing,
    "What do I download with s5cmd, and whom do I cite?": downloads,
    "Which acquisitions lack images? An attribute that no profile has": lacking_images,
    "Which slides have a colour profile, and of how many bytes? An attribute in a sequence": (
        colour_profiles
    ),
    "Which coils did Siemens scanners use? A private element by its creator": coils,
    "Which bytes hold the tiles of a region, for every level of every slide?": region_bytes,
    "Where does each frame of a segment lie, in space and in the file?": segment_frames,
}


def test_all_queries_have_answers() -> None:
    assert _SECTION.count("```sql") == len(QUERIES) == 23
    assert set(QUERIES) == set(ANSWERS)


@pytest.mark.parametrize("title", ANSWERS)
def test_answer(title: str, cohort: list[Stored], run: Run) -> None:
    found = run(needs(title)).execute(QUERIES[title][1]).fetchall()
    assert found == ANSWERS[title](cohort)


def readable(cohort: list[Stored]) -> list[Stored]:
    return [each for each in cohort if each.readable]


def of_series(cohort: list[Stored], name: str) -> list[Stored]:
    return [each for each in readable(cohort) if each.series == name]


def number_of(dataset: Dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return None if value in (None, "") else float(value)


# --- real files ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real(scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> duckdb.DuckDBPyConnection:
    """Harvest all real files with all profiles and their whole headers."""
    output = tmp_path_factory.mktemp("real") / "out"
    profiles = sorted(path.stem for path in PROFILES.glob("*.yaml"))
    config = conftest.config_of(
        output,
        {"prefix": os.environ["HARVEST_CORPUS"]},
        scheduler=scheduler,
        read={"profile": profiles, "header": "json", "frames": "scan"},
    )
    harvest.run(config)
    return harvest.connect(str(output))


@pytest.fixture(scope="module")
def read_by_pydicom(real: duckdb.DuckDBPyConnection) -> list[Dataset]:
    """Read the objects that have a row without error; `tests.test_corpus` says which must."""
    urls = real.execute("SELECT url FROM instances WHERE status = 'ok'").fetchall()
    read = [read_without_force(Path(unquote(urlsplit(url).path))) for (url,) in urls]
    found = [each for each in read if each is not None]
    assert len(found) == len(urls) > 300
    return found


on_real_files = pytest.mark.skipif(
    "HARVEST_CORPUS" not in os.environ,
    reason="HARVEST_CORPUS names no folder of real files with a manifest.csv",
)


@on_real_files
@pytest.mark.parametrize("title", ANSWERS)
def test_query_runs_on_real_files(title: str, real: duckdb.DuckDBPyConnection) -> None:
    result = real.execute(QUERIES[title][1])
    names = [column[0] for column in result.description or []]
    assert len(set(names)) == len(names) >= 3
    assert all(len(row) == len(names) for row in result.fetchall())


@on_real_files
@pytest.mark.filterwarnings("ignore")  # real files are wrong in many ways, and pydicom says so
def test_answers_on_real_files(
    real: duckdb.DuckDBPyConnection, read_by_pydicom: list[Dataset]
) -> None:
    def answer(of: Callable[[list[Stored]], list[Row]]) -> list[Row]:
        (title,) = (title for title, each in ANSWERS.items() if each is of)
        rows: list[Row] = real.execute(QUERIES[title][1]).fetchall()
        assert rows
        return rows

    assert answer(kernels) == counted_kernels(read_by_pydicom)
    found = {row[:5]: row[5] for row in answer(segmented)}
    assert found == counted_segments(read_by_pydicom)
    assert {row[0]: row[2] for row in answer(coils)} == counted_coils(read_by_pydicom)
    found = {row[:2]: row[2] for row in answer(lacking_images)}
    assert found == counted_missing(read_by_pydicom)


def counted_segments(datasets: Iterable[Dataset]) -> Counter[Row]:
    def meaning(segment: Dataset, keyword: str) -> str | None:
        codes = segment.get(keyword) or [Dataset()]
        return codes[0].get("CodeMeaning") or None

    counted: Counter[Row] = Counter()
    for each in datasets:
        for segment in each.get("SegmentSequence", ()) if each.get("Modality") == "SEG" else ():
            algorithm = segment.get("SegmentAlgorithmName") or None
            if algorithm is not None and not isinstance(algorithm, str):
                algorithm = ", ".join(algorithm)
            counted[
                meaning(segment, "SegmentedPropertyCategoryCodeSequence"),
                meaning(segment, "SegmentedPropertyTypeCodeSequence"),
                meaning(segment, "AnatomicRegionSequence"),
                segment.get("SegmentAlgorithmType") or None,
                algorithm,
            ] += 1
    return counted


def counted_coils(datasets: Iterable[Dataset]) -> Counter[str]:
    counted: Counter[str] = Counter()
    for each in datasets:
        if each.get("Modality") != "MR" or cookbook.SIEMENS not in each.private_creators(0x0051):
            continue
        block = each.private_block(0x0051, cookbook.SIEMENS)
        if 0x0F in block:
            counted[str(block[0x0F].value)] += 1
    return counted


def counted_missing(datasets: Iterable[Dataset]) -> dict[Row, int]:
    counted: Counter[tuple[str, int | None, int]] = Counter()
    for each in datasets:
        if each.get("ImagesInAcquisition") not in (None, ""):
            acquisition = each.get("AcquisitionNumber")
            number = None if acquisition in (None, "") else int(acquisition)
            counted[each.SeriesInstanceUID, number, int(each.ImagesInAcquisition)] += 1
    return {
        (series, number): said - count
        for (series, number, said), count in counted.items()
        if count < said
    }
