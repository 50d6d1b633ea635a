"""`python -m loadtests.load`: a load test with its reports; against --host, or else a service that is started for it.

    (modelyard serve MODEL, trained if it has no version) <- locust -f loadtests/locustfile.py -> build/loadtests/<time>

All options are locust's and those of the locustfile: --help shows them. The exit code is locust's: 0 when every
threshold held, 1 when one was broken or nothing could be asked, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from loadtests.load.options import WrongUsage, check_model, help_text

LOCUSTFILE = Path(__file__).resolve().parents[1] / "locustfile.py"
REPORTS = Path("build") / "loadtests"
LOCUST = (sys.executable, "-m", "locust", "-f", str(LOCUSTFILE))
SHOWS = ("-V", "--version", "-l", "--list")
INTERRUPTED = 130


def main(arguments: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    known, _ = _parser().parse_known_args(arguments)
    try:
        if known.help:
            # locust's own help comes before it has read a locustfile, and knows nothing of its options.
            print(f"{help_text()}\nlocust's own options, which go as well:\n", flush=True)
        if known.help or known.shows or known.worker:
            return _run([*LOCUST, *arguments])
        with ExitStack() as stack:
            given = list(arguments)
            if not known.host:
                # Not above: where there is a host, as in the image, what starts a server is not installed.
                from loadtests.load.service import serving

                check_model(known.model)
                host, over_grpc = stack.enter_context(serving(known.model, Path(known.repository)))
                given += ["--host", host, *([] if known.grpc else ["--grpc", over_grpc])]
            return _report(given, _folder(known.reports), headless=not known.web)
    except KeyboardInterrupt:
        return INTERRUPTED
    except ImportError as error:
        print(f"error: nothing to start a service with ({error}): name one with --host", file=sys.stderr)
        return 1
    except WrongUsage as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _report(arguments: Sequence[str], folder: Path, *, headless: bool) -> int:
    """Run locust with its reports below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    # with a file of figures locust prints no tables of its own at the end
    files = ["--html", f"{folder}/report.html", "--json-file", f"{folder}/locust", "--reports", str(folder)]
    quiet = ["--headless", "--only-summary", "--loglevel", "WARNING"] if headless else []
    code = _run([*LOCUST, *quiet, *files, *arguments])
    if (folder / "report.html").exists():  # there is none of a run that was refused
        print(f"report: {folder}/report.html (and summary.txt, requests.csv, failures.csv, history.csv)", flush=True)
    print(f"exit code {code}", flush=True)
    return code


def _run(command: Sequence[str]) -> int:
    """The exit code. What is sent to us goes on to locust, which ends its run and judges it.

    In a session of its own: Ctrl-C would reach it twice, and the second one would cut its report off.
    """
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                process.send_signal(signal.SIGINT)


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    """The options that matter here; locust gets all of them."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-H", "--host", default=os.environ.get("LOCUST_HOST", ""))
    parser.add_argument("--model", default=os.environ.get("LOADTEST_MODEL", "digits"))
    default = os.environ.get("LOADTEST_REPOSITORY") or os.environ.get("MODELYARD_REPOSITORY") or "models"
    parser.add_argument("--repository", default=default)
    parser.add_argument("--grpc", default=os.environ.get("LOADTEST_GRPC", ""))
    parser.add_argument("--reports", default=os.environ.get("LOADTEST_REPORTS", ""))
    parser.add_argument("--headful", "--autostart", dest="web", action="store_true")
    parser.add_argument("--worker", action="store_true")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument(*SHOWS, dest="shows", action="store_true")
    return parser


def _folder(given: str) -> Path:
    return Path(given) if given else REPORTS / f"{datetime.now().astimezone():%Y-%m-%dT%H-%M-%S}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
