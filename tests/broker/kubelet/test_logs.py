"""`/containerLogs`, which `kubectl logs` requests."""

import asyncio

import aiohttp
import pytest

from broker.kubelet import tail_logs as tail
from tests.broker.kubelet.conftest import Kubelet, Node, Start, both_kinds, with_extensions
from tests.postgres import free_port
from tests.stub_provider import LogProvider

STAMPED = "2026-11-22T08:59:00Z one\n2026-11-22T08:59:50Z two\n  and more of two\n2026-11-22T08:59:59Z three\n"


@both_kinds
async def test_without_options_all_lines_are_returned(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.log = "".join(f"line {number}\n" for number in range(5000))
    answer = await kubelet.logs()
    assert (answer.status, answer.content_type) == (200, "text/plain")
    assert answer.body.decode() == stub.log


@both_kinds
@pytest.mark.parametrize(("lines", "text"), [("2", "b\nc\n"), ("0", ""), ("9", "a\nb\nc\n")])
async def test_tail_lines_limits_to_the_last_lines(
    kubelet: Kubelet, stub: LogProvider, lines: str, text: str
) -> None:
    stub.log = "a\nb\nc\n"
    assert (await kubelet.logs(tailLines=lines)).body.decode() == text


@both_kinds
@pytest.mark.parametrize(("limit", "text"), [("1", "a"), ("4", "a\nb\n"), ("6", "a\nb\nc\n"), ("99", "a\nb\nc\n")])
async def test_limit_bytes_limits_the_response(kubelet: Kubelet, stub: LogProvider, limit: str, text: str) -> None:
    stub.log = "a\nb\nc\n"
    assert (await kubelet.logs(limitBytes=limit)).body.decode() == text


@with_extensions
@pytest.mark.parametrize(
    ("query", "passed_on"),
    [
        ({}, {}),
        ({"tailLines": "3"}, {"tail": "3"}),
        ({"sinceSeconds": "60"}, {"sinceSeconds": "60"}),
        ({"sinceTime": "2026-11-22T09:46:38+01:00"}, {"sinceTime": "2026-11-22T08:46:38.000000Z"}),
        ({"timestamps": "true", "previous": "true"}, {"timestamps": "true", "previous": "true"}),
        ({"timestamps": "false", "previous": "0", "follow": "false"}, {}),
    ],
)
async def test_options_are_forwarded_to_a_provider_with_extensions(
    kubelet: Kubelet, stub: LogProvider, query: dict[str, str], passed_on: dict[str, str]
) -> None:
    assert (await kubelet.logs(**query)).status == 200
    assert stub.queries == [{"namespace": "shop", "podName": "web", "containerName": "app", **passed_on}]


@with_extensions
async def test_a_followed_log_is_streamed(kubelet: Kubelet, stub: LogProvider) -> None:
    async with kubelet.follow() as response:
        assert response.status == 200  # before there is a line
        for text in (b"first\n", b"half a", b" line\n"):
            stub.write(text)
            assert await response.content.readany() == text
    assert stub.queries[0]["follow"] == "true"


@with_extensions
async def test_a_client_disconnect_closes_the_provider_request(kubelet: Kubelet, stub: LogProvider) -> None:
    async with kubelet.follow() as response:
        stub.write(b"a\n")
        await response.content.readany()
    await asyncio.wait_for(stub.left.wait(), 30)


@with_extensions
async def test_the_byte_limit_ends_a_followed_log(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.write(b"abcdef\n")
    assert (await kubelet.logs(follow="true", limitBytes="3")).body == b"abc"
    await asyncio.wait_for(stub.left.wait(), 30)


@with_extensions
async def test_a_broken_provider_connection_aborts_the_response(kubelet: Kubelet, stub: LogProvider) -> None:
    async with kubelet.follow() as response:
        stub.write(b"a\n")
        assert await response.content.readany() == b"a\n"
        stub.break_off()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


async def test_a_provider_without_follow_is_polled(kubelet: Kubelet, stub: LogProvider, node: Node) -> None:
    stub.log = "a\nb\nc\n"
    async with kubelet.session.get(
        kubelet.url + "/containerLogs/shop/web/app?follow=true&tailLines=2"
    ) as response:
        assert await response.content.readany() == b"b\nc\n"
        stub.log += "c\n"
        assert await response.content.readany() == b"c\n"
        stub.log += "d\nand the last, without an end"
        node.put(state="terminated")
        assert await response.content.read() == b"d\nand the last, without an end\n"


async def test_polling_waits_between_requests(
    kubelet: Kubelet, stub: LogProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "INTERVAL", 1e6)
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        await kubelet.logs()
        assert len(stub.queries) == 2


async def test_following_can_start_before_the_first_line(kubelet: Kubelet, stub: LogProvider, node: Node) -> None:
    node.put(state="waiting")
    async with kubelet.follow() as response:
        assert response.status == 200
        node.put()
        stub.log = "a\n"
        assert await response.content.readany() == b"a\n"


@pytest.mark.parametrize("end", ["restarted", "replaced", "failed", "gone", "forgotten"])
async def test_following_ends_with_the_run_of_the_container(
    kubelet: Kubelet, stub: LogProvider, node: Node, end: str
) -> None:
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        match end:
            case "restarted":
                node.put(restarts=1)
            case "replaced":
                node.by_name["shop", "web"]["metadata"]["uid"] = "another"
            case "failed":
                node.by_name["shop", "web"]["status"] = {"phase": "Failed", "reason": "DeadlineExceeded"}
            case "gone":
                node.by_name.clear()
            case "forgotten":
                stub.answer = 404, "no such pod"
        assert await response.content.read() == b""


async def test_following_an_ended_container_returns_at_once(
    kubelet: Kubelet, stub: LogProvider, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "INTERVAL", 1e6)
    node.put(state="terminated")
    stub.log = "a\nb"
    assert (await kubelet.logs(follow="true")).body == b"a\nb\n"


async def test_following_continues_after_a_provider_outage(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        stub.answer = 503, "back in a moment"
        stub.asked.clear()
        await stub.asked.wait()
        stub.log += "b\n"
        stub.answer = None
        assert await response.content.readany() == b"b\n"


async def test_unreadable_last_lines_abort_the_response(kubelet: Kubelet, stub: LogProvider, node: Node) -> None:
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        stub.answer = 503, "back in a moment"
        node.put(state="terminated")
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


async def test_new_lines_beyond_the_window_are_all_returned(
    kubelet: Kubelet, stub: LogProvider, node: Node
) -> None:
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        many = "".join(f"line {number}\n" for number in range(5 * tail.WINDOW))
        stub.log += many
        node.put(state="terminated")
        assert (await response.content.read()).decode() == many


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"timestamps": "true"}, STAMPED),
        ({"sinceSeconds": "15"}, STAMPED.partition("one\n")[2]),
        ({"sinceTime": "2026-11-22T08:59:55Z"}, "2026-11-22T08:59:59Z three\n"),
        ({"sinceTime": "2026-11-22T08:00:00Z", "tailLines": "1"}, "2026-11-22T08:59:59Z three\n"),
        ({"sinceTime": "2026-11-22T10:00:00Z"}, ""),
    ],
)
async def test_times_are_read_from_the_lines(
    kubelet: Kubelet, stub: LogProvider, query: dict[str, str], text: str
) -> None:
    stub.log = STAMPED
    assert (await kubelet.logs(**query)).body.decode() == text


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"previous": "true"}, "previous: not supported"),
        ({"timestamps": "true"}, "has no times"),
        ({"sinceSeconds": "5"}, "has no times"),
        ({"sinceTime": "2026-11-22T08:59:55Z", "follow": "true"}, "has no times"),
    ],
)
async def test_unsupported_options_return_400_with_the_reason(
    kubelet: Kubelet, stub: LogProvider, query: dict[str, str], reason: str
) -> None:
    stub.log = "no time\n"
    answer = await kubelet.logs(**query)
    assert answer.status == 400
    assert reason in answer.body.decode()


@pytest.mark.parametrize(
    ("where", "missing"), [("shop/other/app", "other"), ("other/web/app", "other"), ("shop/web/other", "other")]
)
async def test_a_404_names_the_missing_pod_or_container(
    kubelet: Kubelet, stub: LogProvider, where: str, missing: str
) -> None:
    answer = await kubelet.logs(where)
    assert answer.status == 404
    assert f'"{missing}"' in answer.body.decode()
    assert stub.queries == []


async def test_init_containers_have_logs(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.log = "done\n"
    assert (await kubelet.logs("shop/web/setup")).body == b"done\n"


@pytest.mark.parametrize(("status", "query"), [(400, {"tailLines": "x"}), (422, {"limitBytes": "0"})])
async def test_invalid_options_are_rejected(kubelet: Kubelet, status: int, query: dict[str, str]) -> None:
    assert (await kubelet.logs(**query)).status == status


@both_kinds
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((404, "no such pod"), (400, "does not have the pod yet")),
        (
            (400, '{"error": {"message": "previous: no run before this"}}'),
            (400, "previous: no run"),
        ),
        ((500, "a stack trace"), (503, "the provider answers 500")),
        ((429, ""), (503, "the provider answers 429")),
    ],
)
async def test_an_error_of_the_provider_is_reported(
    kubelet: Kubelet, stub: LogProvider, answer: tuple[int, str], expected: tuple[int, str]
) -> None:
    stub.answer = answer
    status, body, _ = await kubelet.logs()
    assert status == expected[0]
    assert expected[1] in body.decode()
    assert "stack trace" not in body.decode()


async def test_a_pod_that_has_ended_is_not_expected_at_the_provider(
    kubelet: Kubelet, node: Node, stub: LogProvider
) -> None:
    node.by_name["shop", "web"]["status"] = {"phase": "Failed", "reason": "DeadlineExceeded"}
    stub.answer = 404, "no such pod"
    answer = await kubelet.logs()
    assert (answer.status, answer.body.decode().strip()[-34:]) == (400, "the provider does not have the pod")


async def test_an_unreachable_provider_returns_503(start: Start) -> None:
    kubelet = await start(
        authentication=False, authorization=False, web_endpoint_url=f"http://127.0.0.1:{free_port()}"
    )
    answer = await kubelet.logs()
    assert (answer.status, b"unreachable" in answer.body) == (503, True)
