"""The query of `/containerLogs`, as a kubelet reads it."""

from datetime import UTC, datetime

import pytest

from broker.kubelet.log_options import LogOptions, LogsError, parse_options

SINCE = datetime(2026, 11, 22, 8, 46, 38, tzinfo=UTC)


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ({}, LogOptions()),
        ({"tailLines": "20"}, LogOptions(tail=20)),
        ({"tailLines": "0"}, LogOptions(tail=0)),
        ({"tail": "5", "tailLines": "20"}, LogOptions(tail=5)),
        ({"tail": "all", "tailLines": "20"}, LogOptions()),
        ({"tail": "", "tailLines": "20"}, LogOptions(tail=20)),
        ({"follow": "true"}, LogOptions(follow=True)),
        ({"follow": ""}, LogOptions(follow=True)),
        ({"follow": "False", "previous": "0"}, LogOptions()),
        ({"previous": "1", "timestamps": "true"}, LogOptions(previous=True, timestamps=True)),
        ({"sinceSeconds": "60"}, LogOptions(since_seconds=60)),
        ({"sinceTime": "2026-11-22T08:46:38Z"}, LogOptions(since_time=SINCE)),
        ({"sinceTime": "2026-11-22T09:46:38.000000000+01:00"}, LogOptions(since_time=SINCE)),
        ({"sinceTime": ""}, LogOptions()),
        ({"limitBytes": "1"}, LogOptions(limit_bytes=1)),
        ({"stream": "All"}, LogOptions()),
        ({"container": "web", "whatever": "it is"}, LogOptions()),
    ],
)
def test_the_query_is_parsed_as_a_kubelet_does(query: dict[str, str], options: LogOptions) -> None:
    assert parse_options(query) == options


@pytest.mark.parametrize(
    ("status", "field", "query"),
    [
        (400, "tailLines", {"tailLines": "ten"}),
        (400, "tailLines", {"tailLines": ""}),
        (400, "tailLines", {"tailLines": "1_0"}),
        (400, "tailLines", {"tailLines": "9223372036854775808"}),
        (400, "tailLines", {"tail": "some"}),
        (400, "limitBytes", {"limitBytes": "1.5"}),
        (400, "sinceSeconds", {"sinceSeconds": "1h"}),
        (400, "sinceTime", {"sinceTime": "yesterday"}),
        (400, "sinceTime", {"sinceTime": "2026-11-22T08:46:38"}),
        (400, "sinceTime", {"sinceTime": "0001-01-01T00:00:00+01:00"}),
        (400, "stream", {"stream": "Stderr"}),
        (422, "stream", {"stream": "stdin"}),
        (422, "tailLines", {"tailLines": "-1"}),
        (422, "limitBytes", {"limitBytes": "0"}),
        (422, "sinceSeconds", {"sinceSeconds": "0"}),
        (422, "sinceTime", {"sinceSeconds": "5", "sinceTime": "2026-11-22T08:46:38Z"}),
    ],
)
def test_an_invalid_option_is_named_in_the_error(status: int, field: str, query: dict[str, str]) -> None:
    with pytest.raises(LogsError, match=field) as refusal:
        parse_options(query)
    assert refusal.value.status == status
