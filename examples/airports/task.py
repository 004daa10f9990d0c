"""What time is it at the airports of a country, and which lies highest? A plain program: it reads a folder and writes a folder.

Usage: task.py INPUTS OUTPUTS [KEY]

Reads ``airports`` (a CSV file), ``zones`` (the IANA time zone tree), ``country`` and ``above_m`` (one value a file).
Writes ``airports_found`` (an integer), ``highest`` (a text), ``mean_elevation_m`` (a number), ``report`` (a CSV file) and
``by_zone`` (a folder with one CSV a time zone). With a file KEY it signs the report with what is in it: ``signature`` is an
HMAC-SHA256 in hex. It knows nothing of stores, types, pods or secret managers.
"""

import csv
import hmac
import sys
import zoneinfo
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

FOOT_M = 0.3048
COLUMNS = ("iata", "name", "city", "elevation_m", "tz", "utc_offset_h")


def main(inputs: Path, outputs: Path, key_file: Path | None = None) -> None:
    """Reads, computes, writes."""
    country = (inputs / "country").read_text()
    above_m = int((inputs / "above_m").read_text())
    key = key_file.read_text() if key_file else ""
    print(f"settings: country={country} above_m={above_m} signing_key={key}")  # as careless as programs are
    zoneinfo.reset_tzpath([str(inputs / "zones")])
    now = datetime.now(tz=UTC)
    found, by_zone = [], defaultdict(list)
    with (inputs / "airports").open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            elevation_m = round(float(row["elevation"] or 0) * FOOT_M)
            if row["country"] != country or elevation_m < above_m:
                continue
            offset = now.astimezone(zoneinfo.ZoneInfo(row["tz"])).utcoffset()
            line = (row["iata"], row["name"], row["city"], elevation_m, row["tz"], offset.total_seconds() / 3600)
            found.append(line)
            by_zone[row["tz"]].append(line)
    if not found:
        (outputs / "_ERROR").write_text(f"no airport of {country!r} lies above {above_m} m")
        raise SystemExit(3)
    found.sort(key=lambda line: -line[3])
    (outputs / "airports_found").write_text(str(len(found)))
    (outputs / "highest").write_text(f"{found[0][1]} ({found[0][3]} m)")
    (outputs / "mean_elevation_m").write_text(f"{sum(line[3] for line in found) / len(found):.1f}")
    write(outputs / "report", found)
    if key:
        (outputs / "signature").write_text(hmac.digest(key.encode(), (outputs / "report").read_bytes(), "sha256").hex())
    for zone, lines in by_zone.items():
        write(outputs / "by_zone" / f"{zone}.csv", lines)
    print(f"{len(found)} airports of {country} above {above_m} m, in {len(by_zone)} time zones")


def write(path: Path, lines: list[tuple[object, ...]]) -> None:
    """One CSV file with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as sink:
        table = csv.writer(sink)
        table.writerow(COLUMNS)
        table.writerows(lines)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
