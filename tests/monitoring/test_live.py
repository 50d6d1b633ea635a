"""After the scripted drive every panel, annotation, variable, rule and alert operand has data in a real Prometheus."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from monitoring.observe.drive import Drive
from monitoring.observe.prometheus import Prometheus
from monitoring.observe.scene import Scene, scene
from monitoring.queries import Query, Window, alert_operands, annotation_queries, boards, panels, rule_documents, rules
from tests.integration.calls import until
from tests.monitoring.live import complaints
from tests.tools.prometheus import tool

BEAT_SECONDS = 2.5
DRIVE_SECONDS = 300.0
FIRED = {
    "AvailabilityBurnFast",
    "AvailabilityBurnSlow",
    "AvailabilityBurnLong",
    "CacheDown",
    "EngineBuildFailed",
    "FallbackActive",
    "FeatureDrift",
    "Shedding",
    "Watchdog",
}
"""What the drive must have set off, where holds are a second: the others need days, or what it does not do."""

NO_STORE = "alert StoreDown"
"""The drive serves from a folder; that servers of a store have its series, tests/integration/test_store_s3.py shows."""

pytestmark = pytest.mark.timeout(DRIVE_SECONDS + 120)


@dataclass(frozen=True)
class Watched:
    """A scene that has been driven and is under its usual load."""

    scene: Scene
    started: float

    @property
    def prometheus(self) -> Prometheus:
        """What watched it."""
        return self.scene.prometheus

    @property
    def window(self) -> Window:
        """The chosen time is that of the drive."""
        return Window(rate_interval="6s", range=f"{int(time.time() - self.started)}s")


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The drive goes on in a thread until the tests of this module are done."""
    done, leave = threading.Event(), threading.Event()
    failures: list[BaseException] = []
    with scene(tmp_path_factory.mktemp("scene")) as running:
        drive = Drive(running, BEAT_SECONDS, say=lambda _: None)

        async def go() -> None:
            async with drive.calm():
                done.set()
                await asyncio.to_thread(leave.wait)

        def main() -> None:
            try:
                asyncio.run(go())
            except BaseException as error:  # shown by the test's own thread
                failures.append(error)
                done.set()

        thread = threading.Thread(target=main)
        thread.start()
        try:
            assert done.wait(DRIVE_SECONDS), "the drive did not come to its end"
            assert not failures, failures
            yield Watched(running, drive.started)
        finally:
            leave.set()
            thread.join(30)


@pytest.mark.parametrize("board", boards(), ids=lambda board: str(board["uid"]))
def test_every_panel_and_annotation_has_data(watched: Watched, board: dict[str, object]) -> None:
    window = watched.window
    asked = list(panels(board, window))
    assert complaints(watched.prometheus, asked, watched.started) == []
    # An alert and a deployment are rare: their queries are read and their series known, more is luck.
    assert [
        line
        for line in complaints(watched.prometheus, annotation_queries(board, window), watched.started)
        if "there is no" in line
    ] == []


def test_every_rule_has_data(watched: Watched) -> None:
    assert complaints(watched.prometheus, rules(), watched.started) == []


def test_every_alert_operand_has_data(watched: Watched) -> None:
    asked = [query for query in alert_operands() if query.place != NO_STORE]
    assert complaints(watched.prometheus, asked, watched.started) == []


def test_a_typo_is_caught(watched: Watched) -> None:
    """The check itself: in a panel, in a rule, in a label, in the branch of an `or` that another branch hides."""
    window = watched.window
    good = next(panels(boards()[0], window))
    assert complaints(watched.prometheus, [good], watched.started) == []
    typos = {
        "a metric": replace(good, expr="sum(rate(modelyard_request_total[1m]))"),
        "a label": Query("typo", 'sum(rate(modelyard_requests_total{outcom="ok"}[1m]))'),
        "a value": Query("typo", 'sum(rate(modelyard_requests_total{outcome="okay"}[1m]))'),
        "behind or": Query("typo", "sum(modelyard_cache_ups) or vector(0)", instant=True),
        "NaN": Query("typo", "0 * sum(modelyard_cache_bytes) / 0", instant=True),
        "a join": Query("typo", "modelyard_cache_up * on (model) modelyard_model_swaps_total", instant=True),
    }
    for what, query in typos.items():
        assert len(complaints(watched.prometheus, [query], watched.started)) == 1, what


def test_prometheus_takes_every_rule(watched: Watched) -> None:
    """No rule has ever failed, and all were worked out."""
    groups = watched.prometheus.ask("rules")["groups"]
    standing = {(rule["name"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}
    names = {rule.get("record") or rule["alert"] for rule in rule_documents()}
    assert standing == {(name, "") for name in names}
    assert watched.prometheus.instant("sum(prometheus_rule_evaluation_failures_total)") in ([], [0.0])


def test_the_troubles_of_the_drive_have_fired(watched: Watched) -> None:
    def fired() -> set[str]:
        data = watched.prometheus.ask(
            "query", query='count by (alertname) (last_over_time(ALERTS{alertstate="firing"}[1h]))'
        )
        return {series["metric"]["alertname"] for series in data["result"]}

    until(lambda: fired() >= FIRED, f"all of {sorted(FIRED)} have fired", 15)


def test_what_alerts_say_is_filled_in(watched: Watched) -> None:
    for alert in watched.prometheus.ask("alerts")["alerts"]:
        for name, text in alert["annotations"].items():
            assert not re.search("error|<no value>|\\{\\{", text), f"{name}: {text}"


def test_promtool_takes_the_metrics(watched: Watched) -> None:
    for server in (watched.scene.loan, watched.scene.echo):
        body = server.get("/metrics")[1]
        done = subprocess.run(
            [tool("promtool"), "check", "metrics"], input=body, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
