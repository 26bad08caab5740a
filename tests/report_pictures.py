"""``python -m tests.report_pictures``: the pictures of a report in the README, from real audits.

The lab's series are audited three times, each time more of them, and a browser takes the pictures.
"""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
from PIL import Image

from harvest.audit.auditor import audit
from harvest.config import Config
from harvest.output.snapshots import PAGE
from tests.lab import lab as running_lab
from tests.lab import servers
from tests.lab.files import corpus_from_environment
from tests.support.browser import screenshot

FOLDER: Final = Path(__file__).parent / "pictures"
SIZES: Final = {"wide": (1200, 2100), "narrow": (390, 1500)}
SHARES: Final = (0.7, 0.85, 1.0)
"""Of the lab's series, one audit each."""
SETS: Final = ("completeness", "geometry", "identity", "licence", "offset_tables")


def main() -> None:
    """Audit, and take the pictures."""
    servers.bypass_proxies()
    with tempfile.TemporaryDirectory(prefix="harvest-pictures-") as name:
        folder = Path(name)
        page = _report(folder)
        FOLDER.mkdir(exist_ok=True)
        for size, (width, height) in SIZES.items():
            picture = Image.open(BytesIO(screenshot(page, folder / "profile", width, height)))
            # few colours: a tenth of the bytes, and no difference to be seen
            few = picture.convert("RGB").quantize(colors=256, dither=Image.Dither.NONE)
            few.save(FOLDER / f"report_{size}.png", optimize=True)


def _report(folder: Path) -> Path:
    with running_lab(folder / "lab", corpus=corpus_from_environment()) as lab:
        series = pq.read_table(lab.index)
        for share in SHARES:
            index = folder / "index.parquet"
            pq.write_table(series.slice(0, round(share * series.num_rows)), index)
            config = {
                "cohort": {"sql": "SELECT SeriesInstanceUID FROM index", "index": str(index)},
                "source": {"endpoint": lab.s3.endpoint},
                "read": {"profile": ["core", "ct", "mr", "pt", "sm"]},
                "output": str(folder / "audits"),
                "cluster": {"workers": 2},
                "limits": {"max_error_rate": 0.1},
                "audit": {"rule_sets": list(SETS)},
            }
            ended = audit(Config.model_validate(config))
    return Path(ended.report.location) / PAGE


if __name__ == "__main__":
    main()
