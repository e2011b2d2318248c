"""Measure what one read of Slurm's queue costs the provider: the output of squeue for many jobs, parsed."""

import argparse
import time

from app.runtimes.slurm.job_queue import parse_queue
from benchmarks.table import Table

_LINE = "{n}|PENDING|10|N/A|N/A|n/a|1001|Resources|web-{n}.00000000-0000-4000-8000-{n:012}.{n}\n"


def main() -> None:
    """Parse the queue in rounds and print the CPU time of one."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slurm", description=__doc__)
    parser.add_argument("--jobs", type=int, default=5000, help="jobs in the queue (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=11, help="rounds (default: %(default)s)")
    options = parser.parse_args()
    output = "".join(_LINE.format(n=number) for number in range(options.jobs))
    table = Table(f"{options.jobs} jobs", ["provider"])
    for _ in range(options.rounds):
        begin = time.process_time()
        parse_queue(output)
        table.add("CPU ms", "provider", (time.process_time() - begin) * 1000)
    print(table)


if __name__ == "__main__":
    main()
