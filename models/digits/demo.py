"""Serve digits and show what it answers: `make demo`, or `make run` to keep it serving.

    held-out images -> HTTP (JSON) or gRPC -> modelyard serve digits -> label, and whether the cache answered

Trains and exports first when there is no version. The server is a process of its own, as in production; it is
stopped on every way out of here. Ports: MODELYARD_HTTP_PORT and MODELYARD_GRPC_PORT, 0 for any that is free.
"""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import dataset
import grpc
import httpx
from clients import Answer, GrpcClient, HttpClient
from server import Server, StartError, ports

FOLDER = Path(__file__).resolve().parent
SHADES = " ░▒▓█"
BRIGHTEST = 16
# Each image, and the wires it goes over: what one wire asked, the cache answers on the other.
VISITS = [("HTTP", "gRPC"), ("gRPC", "HTTP"), ("HTTP",), ("gRPC",), ("HTTP",), ("gRPC",)]


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        http_port, grpc_port = ports()
        _ensure_version()
        _, held_out = dataset.load()
        with Server(http_port, grpc_port) as server:
            server.wait_until_ready()
            _show(server, held_out)
            _print_addresses(server, held_out.images[0])
            if options.serve:
                _serve_on(server)
    except (StartError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (httpx.HTTPError, grpc.RpcError, LookupError, ValueError) as error:
        print(f"error: a prediction could not be had: {error!r}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="go on serving until Ctrl-C")
    return parser.parse_args()


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ensure_version() -> None:
    if any((FOLDER / "versions").glob("[!.]*/manifest.json")):
        return
    print("digits has no version yet: training and exporting one", flush=True)
    for script in ("train.py", "export.py"):
        subprocess.run([sys.executable, str(FOLDER / script)], check=True)


def _show(server: Server, held_out: dataset.Rows) -> None:
    with HttpClient(server.url) as over_http, GrpcClient(server.grpc_address) as over_grpc:
        infer: dict[str, Callable[[dataset.Image], Answer]] = {"HTTP": over_http.infer, "gRPC": over_grpc.infer}
        for image, label, wires in zip(held_out.images, held_out.labels, VISITS, strict=False):
            notes = [f"true label   {label}"]
            for wire in wires:
                answer = infer[wire](image)
                notes.append(f"over {wire}    {answer.label}  ({answer.probability:.1%})  cache: {answer.cache}")
            print("\n" + _picture(image, notes), flush=True)


def _picture(image: dataset.Image, notes: list[str]) -> str:
    """The image in block characters, two to a pixel so that it is square, with the notes to its right."""
    rows = ["".join(SHADES[round(pixel / BRIGHTEST * (len(SHADES) - 1))] * 2 for pixel in row) for row in image[0]]
    beside = ["", *notes] + [""] * len(rows)
    return "\n".join(f"  |{row}|  {note}".rstrip() for row, note in zip(rows, beside, strict=False))


def _print_addresses(server: Server, image: dataset.Image) -> None:
    pixels = image.astype(int)
    flat, rows = (json.dumps(array.tolist(), separators=(",", ":")) for array in (pixels.ravel(), pixels[0]))
    print(f"""
HTTP  {server.url}  (/v2, /classify, /docs.json, /metrics, /readyz)
gRPC  {server.grpc_address}  (inference.GRPCInferenceService, health, reflection)
log   {server.log}

Try:
  curl -s {server.url}/v2/models/digits
  curl -s {server.url}/v2/models/digits/infer -d '{{"inputs":[{{"name":"image","datatype":"FP32",\
"shape":[1,1,8,8],"data":{flat}}}]}}'
  curl -s {server.url}/classify -H 'content-type: application/json' -d '{{"image":{rows}}}'
""")


def _serve_on(server: Server) -> None:
    print("serving until Ctrl-C", flush=True)
    try:
        server.wait()
    except KeyboardInterrupt:
        print()
        return
    raise StartError(f"the server ended by itself; its log: {server.log}")


if __name__ == "__main__":
    sys.exit(main())
