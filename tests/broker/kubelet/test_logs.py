"""`/containerLogs`, which `kubectl logs` ends up at."""

import asyncio

import aiohttp
import pytest

from broker.kubelet import tail_logs as tail
from tests.broker.kubelet.conftest import Kubelet, Node, Start, both_kinds, with_extensions
from tests.postgres import free_port
from tests.stub_provider import LogProvider

STAMPED = "2026-11-22T08:59:00Z one\n2026-11-22T08:59:50Z two\n  and more of two\n2026-11-22T08:59:59Z three\n"


@both_kinds
async def test_no_option_means_all_lines(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.log = "".join(f"line {number}\n" for number in range(5000))
    answer = await kubelet.logs()
    assert (answer.status, answer.content_type) == (200, "text/plain")
    assert answer.body.decode() == stub.log


@both_kinds
@pytest.mark.parametrize(("lines", "text"), [("2", "b\nc\n"), ("0", ""), ("9", "a\nb\nc\n")])
async def test_tail_lines_are_the_last_ones(kubelet: Kubelet, stub: LogProvider, lines: str, text: str) -> None:
    stub.log = "a\nb\nc\n"
    assert (await kubelet.logs(tailLines=lines)).body.decode() == text


@both_kinds
@pytest.mark.parametrize(("limit", "text"), [("1", "a"), ("4", "a\nb\n"), ("6", "a\nb\nc\n"), ("99", "a\nb\nc\n")])
async def test_no_more_bytes_are_given_than_the_limit(
    kubelet: Kubelet, stub: LogProvider, limit: str, text: str
) -> None:
    stub.log = "a\nb\nc\n"
    assert (await kubelet.logs(limitBytes=limit)).body.decode() == text


@with_extensions
@pytest.mark.parametrize(
    ("asked", "passed_on"),
    [
        ({}, {}),
        ({"tailLines": "3"}, {"tail": "3"}),
        ({"sinceSeconds": "60"}, {"sinceSeconds": "60"}),
        ({"sinceTime": "2026-11-22T09:46:38+01:00"}, {"sinceTime": "2026-11-22T08:46:38.000000Z"}),
        ({"timestamps": "true", "previous": "true"}, {"timestamps": "true", "previous": "true"}),
        ({"timestamps": "false", "previous": "0", "follow": "false"}, {}),
    ],
)
async def test_a_provider_that_can_do_more_is_asked_for_it(
    kubelet: Kubelet, stub: LogProvider, asked: dict[str, str], passed_on: dict[str, str]
) -> None:
    assert (await kubelet.logs(**asked)).status == 200
    assert stub.queries == [{"namespace": "shop", "podName": "web", "containerName": "app", **passed_on}]


@with_extensions
async def test_what_is_followed_comes_as_it_is_written(kubelet: Kubelet, stub: LogProvider) -> None:
    async with kubelet.follow() as response:
        assert response.status == 200  # before there is a line
        for text in (b"first\n", b"half a", b" line\n"):
            stub.write(text)
            assert await response.content.readany() == text
    assert stub.queries[0]["follow"] == "true"


@with_extensions
async def test_a_client_that_goes_takes_the_request_to_the_provider_along(
    kubelet: Kubelet, stub: LogProvider
) -> None:
    async with kubelet.follow() as response:
        stub.write(b"a\n")
        await response.content.readany()
    await asyncio.wait_for(stub.left.wait(), 30)


@with_extensions
async def test_a_limit_that_is_reached_ends_what_is_followed(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.write(b"abcdef\n")
    assert (await kubelet.logs(follow="true", limitBytes="3")).body == b"abc"
    await asyncio.wait_for(stub.left.wait(), 30)


@with_extensions
async def test_a_provider_that_dies_is_no_end_of_the_log(kubelet: Kubelet, stub: LogProvider) -> None:
    async with kubelet.follow() as response:
        stub.write(b"a\n")
        assert await response.content.readany() == b"a\n"
        stub.break_off()
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


async def test_a_provider_with_tail_alone_is_followed_by_asking_again(
    kubelet: Kubelet, stub: LogProvider, node: Node
) -> None:
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


async def test_asking_again_leaves_the_provider_time(
    kubelet: Kubelet, stub: LogProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "INTERVAL", 1e6)
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        await kubelet.logs()
        assert len(stub.queries) == 2


async def test_following_begins_before_a_line_is_there(kubelet: Kubelet, stub: LogProvider, node: Node) -> None:
    node.put(state="waiting")
    async with kubelet.follow() as response:
        assert response.status == 200
        node.put()
        stub.log = "a\n"
        assert await response.content.readany() == b"a\n"


@pytest.mark.parametrize("end", ["restarted", "replaced", "failed", "gone", "forgotten"])
async def test_following_ends_with_this_run_of_the_container(
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


async def test_the_log_of_a_container_that_has_ended_is_not_waited_for(
    kubelet: Kubelet, stub: LogProvider, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "INTERVAL", 1e6)
    node.put(state="terminated")
    stub.log = "a\nb"
    assert (await kubelet.logs(follow="true")).body == b"a\nb\n"


async def test_an_outage_of_the_provider_does_not_end_what_is_followed(
    kubelet: Kubelet, stub: LogProvider
) -> None:
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        stub.answer = 503, "back in a moment"
        stub.asked.clear()
        await stub.asked.wait()
        stub.log += "b\n"
        stub.answer = None
        assert await response.content.readany() == b"b\n"


async def test_last_lines_that_cannot_be_had_are_no_end_of_the_log(
    kubelet: Kubelet, stub: LogProvider, node: Node
) -> None:
    stub.log = "a\n"
    async with kubelet.follow() as response:
        assert await response.content.readany() == b"a\n"
        stub.answer = 503, "back in a moment"
        node.put(state="terminated")
        with pytest.raises(aiohttp.ClientError):
            await response.content.read()


async def test_more_new_lines_than_are_asked_for_are_all_given(
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
    ("asked", "text"),
    [
        ({"timestamps": "true"}, STAMPED),
        ({"sinceSeconds": "15"}, STAMPED.partition("one\n")[2]),
        ({"sinceTime": "2026-11-22T08:59:55Z"}, "2026-11-22T08:59:59Z three\n"),
        ({"sinceTime": "2026-11-22T08:00:00Z", "tailLines": "1"}, "2026-11-22T08:59:59Z three\n"),
        ({"sinceTime": "2026-11-22T10:00:00Z"}, ""),
    ],
)
async def test_times_are_those_that_the_lines_begin_with(
    kubelet: Kubelet, stub: LogProvider, asked: dict[str, str], text: str
) -> None:
    stub.log = STAMPED
    assert (await kubelet.logs(**asked)).body.decode() == text


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"previous": "true"}, "previous: not supported"),
        ({"timestamps": "true"}, "has no times"),
        ({"sinceSeconds": "5"}, "has no times"),
        ({"sinceTime": "2026-11-22T08:59:55Z", "follow": "true"}, "has no times"),
    ],
)
async def test_what_a_provider_with_tail_alone_cannot_do_is_refused_in_words(
    kubelet: Kubelet, stub: LogProvider, asked: dict[str, str], word: str
) -> None:
    stub.log = "no time\n"
    answer = await kubelet.logs(**asked)
    assert answer.status == 400
    assert word in answer.body.decode()


@pytest.mark.parametrize(
    ("where", "missing"), [("shop/other/app", "other"), ("other/web/app", "other"), ("shop/web/other", "other")]
)
async def test_a_pod_or_container_that_is_not_there_is_named(
    kubelet: Kubelet, stub: LogProvider, where: str, missing: str
) -> None:
    answer = await kubelet.logs(where)
    assert answer.status == 404
    assert f'"{missing}"' in answer.body.decode()
    assert stub.queries == []


async def test_a_container_that_initializes_has_logs_too(kubelet: Kubelet, stub: LogProvider) -> None:
    stub.log = "done\n"
    assert (await kubelet.logs("shop/web/setup")).body == b"done\n"


@pytest.mark.parametrize(("status", "query"), [(400, {"tailLines": "x"}), (422, {"limitBytes": "0"})])
async def test_options_that_cannot_be_are_refused(kubelet: Kubelet, status: int, query: dict[str, str]) -> None:
    assert (await kubelet.logs(**query)).status == status


@both_kinds
@pytest.mark.parametrize(
    ("answer", "told"),
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
async def test_what_the_provider_answers_instead_is_told(
    kubelet: Kubelet, stub: LogProvider, answer: tuple[int, str], told: tuple[int, str]
) -> None:
    stub.answer = answer
    status, body, _ = await kubelet.logs()
    assert status == told[0]
    assert told[1] in body.decode()
    assert "stack trace" not in body.decode()


async def test_a_provider_that_is_down_is_told(start: Start) -> None:
    kubelet = await start(
        authentication=False, authorization=False, web_endpoint_url=f"http://127.0.0.1:{free_port()}"
    )
    answer = await kubelet.logs()
    assert (answer.status, b"unreachable" in answer.body) == (503, True)
