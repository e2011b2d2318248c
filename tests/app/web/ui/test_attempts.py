"""The limit on attempts to sign in, shared by processes."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.web.ui.attempts import SignInAttempts

NOW = 1_800_000_000.0


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set the directory that the workers of a server share."""
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


def allowed(attempts: SignInAttempts, address: str, *, of: int = 30, now: float = NOW) -> int:
    return [attempts.take(address, now=now) for _ in range(of)].count(0)


def test_workers_share_a_limit(shared: Path) -> None:
    workers = [SignInAttempts(b"key") for _ in range(3)]

    with ThreadPoolExecutor(12) as threads:
        waits = list(threads.map(lambda n: workers[n % 3].take("10.0.0.1", now=NOW), range(60)))

    assert waits.count(0) == 10
    assert {wait for wait in waits if wait} == {6}


def test_a_process_alone_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    assert [allowed(SignInAttempts(b"key"), "10.0.0.1") for _ in range(2)] == [10, 10]


def test_many_addresses_take_no_more_memory(shared: Path) -> None:
    attempts = SignInAttempts(b"key")
    for number in range(20_000):
        attempts.take(f"10.0.{number // 256}.{number % 256}", now=NOW)

    [file] = shared.iterdir()
    assert file.stat().st_size <= 64 * 1024
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_network_of_ipv6_counts_as_one(shared: Path) -> None:
    attempts = SignInAttempts(b"key")

    assert allowed(attempts, "2001:db8::1") == 10
    assert allowed(attempts, "2001:db8::ffff:2") == 0
    assert allowed(attempts, "2001:db8:0:1::1") == 10
    assert allowed(attempts, "::ffff:10.0.0.1") == 10
    assert allowed(attempts, "10.0.0.1") == 0
    assert allowed(attempts, "") == 10


def test_attempts_are_forgotten_after_a_minute(shared: Path) -> None:
    attempts = SignInAttempts(b"key")

    assert allowed(attempts, "10.0.0.1") == 10
    assert allowed(attempts, "10.0.0.1", now=NOW + 30) == 5
    assert allowed(attempts, "10.0.0.1", now=NOW + 90) == 10
    assert allowed(attempts, "10.0.0.1", now=NOW - 3600) == 10  # the clock was set back


def test_slots_differ_from_key_to_key(shared: Path) -> None:
    assert allowed(SignInAttempts(b"key"), "10.0.0.1") == 10
    assert allowed(SignInAttempts(os.urandom(16)), "10.0.0.1") == 10
