"""``make demo``: the main job, end to end, on servers that run here.

Starts the lab, harvests it from its S3 and from its GCS server with the command that a user
types, and asks DuckDB about both outputs.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import duckdb

from tests.lab import Lab, lab
from tests.lab.configs import lab_config
from tests.lab.files import corpus_from_environment

OUTPUT: Final = Path("out/demo")
CLOUDS: Final = ("aws", "gcs")

OFFSET_TABLES: Final = f"""
SELECT Modality, offset_table,
       count(*) FILTER (url LIKE 's3://%') AS objects_on_s3,
       count(*) FILTER (url LIKE 'gs://%') AS objects_on_gcs,
       max(NumberOfFrames) AS most_frames
FROM '{OUTPUT}/*/instances/*.parquet'
WHERE status = 'ok'
GROUP BY ALL ORDER BY ALL
"""
COSTS: Final = f"""
SELECT Modality, split_part(url, ':', 1) AS store, count(*) AS objects,
       round(avg(size) / 1e3, 1) AS object_kB,
       round(avg(header_bytes) / 1e3, 1) AS header_kB,
       round(avg(bytes_read) / 1e3, 1) AS read_kB,
       round(avg(requests), 2) AS requests
FROM '{OUTPUT}/*/instances/*.parquet'
WHERE status = 'ok'
GROUP BY ALL ORDER BY ALL
"""


def main() -> int:
    """Run the demo; return an exit code."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    say("Starting a real S3 server and a real GCS server, filled with DICOM files ...")
    with lab(corpus=corpus_from_environment()) as running:
        objects = sum(len(series.instances) for series in running.series)
        say(f"... {len(running.series)} series, {objects} objects on each.\n")
        for cloud in CLOUDS:
            code = harvest(running, cloud)
            if code:
                return code
    for question, sql in (
        ("Which objects have an offset table, by modality, on both clouds?", OFFSET_TABLES),
        ("What did reading their headers take, per object, beside the objects' sizes?", COSTS),
    ):
        say(question)
        duckdb.sql(sql).show(max_rows=200, max_width=160)
    say(f'Ask more:  .venv/bin/harvest query {OUTPUT}/aws "SELECT * FROM series"')
    return 0


def harvest(running: Lab, cloud: str) -> int:
    """Harvest one of the lab's clouds; return the command's exit code."""
    path = OUTPUT / f"{cloud}.yaml"
    path.write_text(lab_config(running, cloud, OUTPUT / cloud), encoding="utf-8")
    say(f"$ harvest run {path}")
    code = subprocess.run(
        [sys.executable, "-m", "harvest", "run", str(path)], check=False
    ).returncode
    say("")
    return code


def say(text: str) -> None:
    """Print a line at once, before a child process prints its own."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
