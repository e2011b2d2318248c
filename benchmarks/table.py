"""A table of samples: each cell is the median over the rounds, each ratio the median of the ratios per round."""

import statistics
from dataclasses import dataclass, field


@dataclass
class Table:
    """Samples, one per round, by row and column; the ratios divide the first column by each of the others."""

    title: str
    columns: list[str]
    rows: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    has_ratios: bool = True

    def add(self, row: str, column: str, sample: float) -> None:
        """Add the sample of a round."""
        self.rows.setdefault(row, {}).setdefault(column, []).append(sample)

    def add_latencies(self, row: str, column: str, seconds: list[float]) -> None:
        """Add the median and the 99th percentile of the latencies of a round, in milliseconds."""
        latencies = sorted(seconds)
        self.add(f"{row}p50 ms", column, statistics.median(latencies) * 1000)
        self.add(f"{row}p99 ms", column, latencies[-(-len(latencies) * 99 // 100) - 1] * 1000)

    def __str__(self) -> str:
        others = self.columns[1:] if self.has_ratios else []
        lines = [["", *self.columns, *(f"{self.columns[0]}/{other}" for other in others)]]
        for row, samples in self.rows.items():
            series = [samples.get(column, []) for column in self.columns]
            series += [
                [a / b for a, b in zip(series[0], other, strict=False) if b]
                for other in series[1 : 1 + len(others)]
            ]
            cells = [statistics.median(values) if values else None for values in series]
            texts = ["-" if cell is None else f"{cell:,.{0 if cell >= 1000 else 2}f}" for cell in cells]
            lines.append([row, *texts])
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
        return "\n".join([self.title, *map("  ".join, aligned)])
