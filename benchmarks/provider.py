"""Measure a web provider over HTTP, and compare it with others in the same run.

One process drives all connections in one loop; each connection sends its next request after the response to the
last one (a closed loop). The servers are measured alternately, round by round (A B A B ...). A cell is the median
over the rounds, a ratio is the median of the ratios per round: variations in the speed of the machine affect
neither.

Pod names are unique to the run, in the namespace "benchmark"; all pods are deleted at the end, also after Ctrl-C.
For a provider that keeps deleted pods, use an empty database and one --only per run. To compare databases, let A
run on SQLite and B on PostgreSQL.
"""

import argparse
import contextlib
import itertools
import json
import signal
import sqlite3
import sys
import time
from pathlib import Path

from benchmarks.load import NOT_OFFERED, BenchmarkError, Target, log
from benchmarks.long_scenarios import measure_growth, measure_idle, measure_soak
from benchmarks.scenarios import measure_batch, measure_create, measure_list, measure_scale, measure_status
from benchmarks.table import Table

SCENARIOS = {
    "create": measure_create,
    "batch": measure_batch,
    "status": measure_status,
    "list": measure_list,
    "scale": measure_scale,
    "idle": measure_idle,
    "growth": measure_growth,
    "soak": measure_soak,
}
_DEFAULT = "create,batch,status,list,scale"


def main() -> int:
    """Run the scenarios, delete their pods, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.epilog = "\n".join(f"{name}: {measure.__doc__}" for name, measure in SCENARIOS.items())
    add = parser.add_argument
    add("url", nargs="?", default="http://127.0.0.1:3000", help="server to measure, A (%(default)s)")
    add("--peer", action="append", default=[], metavar="URL", help="server to compare with: B, C ...")
    add("--only", default=_DEFAULT, metavar="NAME[,NAME]", help="scenarios to run (%(default)s)")
    add("--pods", type=int, default=5000, help="pods stored in status, list, idle and soak (%(default)s)")
    add("--connections", type=_numbers, default="1,8,16", help="numbers of concurrent connections (%(default)s)")
    add("--batch", type=int, default=100, help="pods per request in batch (%(default)s)")
    add("--rounds", type=int, default=5, help="rounds per server (%(default)s)")
    add("--seconds", type=float, default=3.0, help="duration of a round in create and status (%(default)s)")
    add(
        "--calls",
        type=int,
        default=200,
        help="requests per round in scale; growth creates a quarter (%(default)s)",
    )
    add("--small", type=int, default=100, help="smallest number of pods in scale (%(default)s)")
    add("--large", type=int, default=50_000, help="largest number of pods in scale (%(default)s)")
    add("--idle", type=int, default=30, help="seconds to measure in idle (%(default)s)")
    add("--minutes", type=float, default=10.0, help="duration of soak (%(default)s)")
    add("--scratch", metavar="DIR", help="directory of the bare SQLite database, on the same disk as the server's")
    add("--token", help="bearer token to send")
    add("--json", metavar="FILE", help="write the samples of every round to FILE")
    add("--allow-remote", action="store_true", help="also measure servers that are not on a loopback address")
    options, tables, targets = parser.parse_args(), list[Table](), list[Target]()
    names = options.only.split(",")
    if not set(names) <= set(SCENARIOS):
        parser.error(f"--only: expected {', '.join(SCENARIOS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for number, url in enumerate([options.url, *options.peer]):
            targets.append(Target(chr(ord("A") + number), url, options))
            print(f"{targets[-1].label} is {url}", flush=True)
            targets[-1].probe()
        for table in itertools.chain(*(SCENARIOS[name](options, targets) for name in names)):
            tables.append(table)
            print(f"\n{table}", flush=True)
    except (BenchmarkError, OSError, sqlite3.Error, KeyboardInterrupt) as error:
        log(f"stopped: {str(error) or 'interrupted'}")
        time.sleep(1)  # an interrupted create may still be stored
        return 1
    finally:
        for target in targets:
            target.accepted = NOT_OFFERED
            with contextlib.suppress(BenchmarkError):
                target.fill(0)
            if target.stored:
                log(f"{target.url}: pods named bench-{target.run}-* may remain in the namespace benchmark")
        if options.json:
            record = vars(options) | {"token": None, "tables": {table.title: table.rows for table in tables}}
            Path(options.json).write_text(json.dumps(record, indent=1))
    return 0


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
