"""Load tests of every service, with workers of their own, of a user's own model; and what the command line says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
import pytest

from tests.integration.families import family
from tests.integration.harness import Server, free_port, modelyard, serve
from tests.integration.load_runs import KINDS, Run, against, run, start
from tests.integration.onnx_models import two_inputs

FAMILIES = ("digits", "digits_ensemble", "digits_vae", "embed", "next_item")


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """The service, and the repository that it serves."""
    repository = family("wine", tmp_path_factory)
    with serve(repository, "wine") as server:
        yield server, repository


def held(done: Run, model: str, kinds: Sequence[str] = KINDS) -> None:
    """The run passed, and every kind of user got answers that were looked at."""
    assert done.code == 0, done.out
    answered = done.answered()
    assert list(answered) == [f"{model} {kind}" for kind in kinds]
    assert all(answered.values()), done.out


@pytest.mark.parametrize("name", FAMILIES)
def test_every_service_of_the_project_is_asked_in_every_way(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    repository = family(name, tmp_path_factory)
    held(run(tmp_path, "--model", name, "--repository", repository, "-t", "2s"), name)


def test_a_model_of_a_user_is_asked_by_its_golden_rows(tmp_path: Path) -> None:
    onnx.save(two_inputs(), tmp_path / "own.onnx")
    made = modelyard("new", "own", "--from", "own.onnx", cwd=tmp_path)
    assert made.code == 0, made.err
    done = run(tmp_path / "run", "--model", "own", "-t", "2s", cwd=tmp_path)
    held(done, "own")
    assert "no row has a known truth" in done.out


def test_two_workers_of_one_command(wine: tuple[Server, Path], tmp_path: Path) -> None:
    port = str(free_port())
    ports = ["--master-bind-port", port, "--master-port", port]
    done = run(tmp_path, *against(*wine), "-t", "4s", "--processes", "2", *ports)
    held(done, "wine")
    assert "workers" in {verdict["threshold"] for verdict in done.summary["thresholds"]}


def test_a_master_and_two_workers(wine: tuple[Server, Path], tmp_path: Path) -> None:
    port = str(free_port())
    workers = [start("--worker", "--master-port", port, cwd=tmp_path) for _ in range(2)]
    try:
        master = ["--master", "--master-bind-port", port, "--expect-workers", "2", "--expect-workers-max-wait", "60"]
        master += ["--users", "8", "--rate", "40"]  # they have to reach the workers
        done = run(tmp_path, *against(*wine), *master, "-t", "4s", "--p99", "30000,wine typed=0.001")
        assert [worker.wait(60) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert [line.partition(":")[0] for line in done.broken] == ["p99 of wine typed"], done.out
    assert done.code == 1
    assert all(done.answered().values()), done.out
    assert sum(kind["due"] for kind in done.summary["kinds"]) > 0.8 * 4 * 40


def test_help_shows_the_options_and_what_is_wrong_is_refused(tmp_path: Path) -> None:
    with start("--help") as process:
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    for option in ("--zipf-share", "--shape", "--achieved", "--p99", "--host", "--processes", "LOADTEST_RATE"):
        assert option in out, option
    for arguments, code, text in (
        (["--zipf-sahre", "1"], 2, "unrecognized arguments"),
        (["--model", "nobody"], 1, "error: there is no model 'nobody'"),
        (["--zipf-share", "3"], 2, "error: --zipf-share: 3 is no ratio from 0 to 1"),
        (["-u", "-3"], 2, "error: --users: -3 is too little"),
        (["-t", "0"], 2, "error: --run-time: 0 seconds are too little"),
        (["--p99", "5000,digits jsn=0.001"], 2, "error: --p99: no requests are called 'digits jsn'"),
        (["--host", "", "--model", "../x"], 2, "error: --model: '../x' cannot name a model"),
    ):
        done = run(tmp_path, "--host", "http://127.0.0.1:9", *arguments)
        assert (done.code, text in done.out) == (code, True), done.out
        assert "Traceback" not in done.out
