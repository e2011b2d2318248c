"""The restarts of a container."""

from app.runtimes.process.shim.container import BackOff


def test_back_off_doubles_and_resets_after_long_runs() -> None:
    back_off = BackOff(10, 300)
    pauses, now = [], 0.0
    for _ in range(8):
        pauses.append(back_off.pause(now))
        restarted = now + pauses[-1]
        back_off.restart(now, restarted)
        now = restarted + 1  # it runs for a second
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.pause(now + 598) == 300
    assert back_off.pause(now + 600) == 0
    back_off.restart(now + 600, now + 600)
    assert back_off.pause(now + 601) == 10
