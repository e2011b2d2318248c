"""Tables of samples."""

from benchmarks.table import Table


def test_ratio_is_the_median_of_ratios_per_round() -> None:
    table = Table("speed", ["A", "B"])
    for a, b in ((100, 50), (10, 20), (30, 30)):
        table.add("pods/s", "A", a)
        table.add("pods/s", "B", b)
    assert str(table).splitlines()[-1].split() == ["pods/s", "30.00", "30.00", "1.00"]


def test_99th_percentile_leaves_out_the_slowest_hundredth() -> None:
    table = Table("latency", ["A"])
    table.add_latencies("", "A", [0.001] * 99 + [9.0])
    table.add_latencies("", "A", [0.001] * 98 + [9.0] * 2)
    assert table.rows["p99 ms"]["A"] == [1.0, 9000.0]
    assert table.rows["p50 ms"]["A"] == [1.0, 1.0]


def test_missing_samples_are_shown_as_dashes() -> None:
    table = Table("CPU", ["A", "B"])
    table.add("CPU %", "A", 0.2)
    assert str(table).splitlines()[-1].split() == ["CPU", "%", "0.20", "-", "-"]
