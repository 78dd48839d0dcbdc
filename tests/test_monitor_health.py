"""Probes of a detached container's health: docker's rules, as `state.json` tells them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from detached import Detached, start, wait_for

if TYPE_CHECKING:
    from pycontain import Engine


def probed(engine: Engine, busybox: str, probe: str, **options: Any) -> Detached:
    health = {"args": ["sh", "-c", probe], "interval": 50, "timeout": 10000, "retries": 3}
    health |= {"start_period": 0, "start_interval": 50} | options
    return start(engine, busybox, ["sleep", "1000"], {"health": health})


def test_health_follows_the_probe(engine: Engine, busybox: str) -> None:
    container = probed(engine, busybox, "echo looked; test -e /good")
    assert container.state["health"] == {"status": "starting", "failing_streak": 0, "log": []}
    wait_for(lambda: container.state["health"]["status"] == "unhealthy")
    health = container.state["health"]
    assert health["failing_streak"] >= 3
    assert {(entry["exit_code"], entry["output"]) for entry in health["log"]} == {(1, "looked\n")}
    container.monitor.stop().wait()


def test_success_is_healthy_and_five_are_kept(engine: Engine, busybox: str) -> None:
    container = probed(engine, busybox, "echo x >> /probes; wc -l < /probes")
    wait_for(lambda: len(container.state["health"]["log"]) == 5)
    wait_for(lambda: int(container.state["health"]["log"][-1]["output"]) > 6)
    health = container.state["health"]
    assert (health["status"], health["failing_streak"], len(health["log"])) == ("healthy", 0, 5)
    assert all(entry["start"] < entry["end"] for entry in health["log"])
    container.monitor.stop().wait()


def test_failures_in_the_beginning_do_not_count(engine: Engine, busybox: str) -> None:
    container = probed(engine, busybox, "false", start_period=3_600_000)
    wait_for(lambda: len(container.state["health"]["log"]) == 5)
    health = container.state["health"]
    assert (health["status"], health["failing_streak"]) == ("starting", 0)
    container.monitor.stop().wait()


def test_probe_that_takes_too_long_has_failed_and_is_killed(engine: Engine, busybox: str) -> None:
    container = probed(engine, busybox, "exec sleep 1000", timeout=100, retries=1)
    wait_for(lambda: container.state["health"]["status"] == "unhealthy")
    entry = container.state["health"]["log"][0]
    assert (entry["exit_code"], entry["output"]) == (-1, "Health check exceeded timeout (100 ms)")
    container.monitor.stop().wait()
