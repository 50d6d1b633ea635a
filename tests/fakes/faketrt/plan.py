"""A plan: what a builder writes and a runtime reads.

magic | length of the header | header (JSON) | the ONNX model | sha256 of all before
"""

import hashlib
import json
import struct
from dataclasses import asdict, dataclass

from tests.fakes.fakegpu.machine import machine
from tests.fakes.faketrt.version import VERSION

MAGIC = b"ftrtFAKE"
Shapes = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Of each input: least, best, most."""


class Unreadable(Exception):
    """No plan, or one that is not for here. The text is what TensorRT logs."""


def compute_capability() -> str:
    major, minor = machine.faults.get("compute", [9, 0])
    return f"{major}.{minor}"


@dataclass(frozen=True, slots=True)
class Plan:
    onnx: bytes
    profiles: list[Shapes]
    version: str
    compute: str

    @property
    def scratch(self) -> list[int]:
        """Bytes of working memory that each profile needs."""
        return [_scratch(profile) for profile in self.profiles] or [_scratch({})]


def _scratch(profile: Shapes) -> int:
    elements = 0
    for _, _, most in profile.values():
        product = 1
        for size in most:
            product *= size
        elements += product
    return 256 * (1 + (elements * 8 + 255) // 256)


def write_plan(onnx: bytes, profiles: list[Shapes]) -> bytes:
    plan = asdict(Plan(b"", profiles, VERSION, compute_capability()))
    del plan["onnx"]
    header = json.dumps(plan).encode()
    body = MAGIC + struct.pack("<I", len(header)) + header + onnx
    return body + hashlib.sha256(body).digest()


def read_plan(raw: bytes) -> Plan:
    """Raises Unreadable, with the words of the real library for each case."""
    body, digest = raw[:-32], raw[-32:]
    if not body.startswith(MAGIC) or hashlib.sha256(body).digest() != digest:
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion "
            "stdVersionRead == kSERIALIZATION_VERSION failed.Version tag does not match.)"
        )
    (length,) = struct.unpack_from("<I", body, len(MAGIC))
    start = len(MAGIC) + 4
    header = json.loads(body[start : start + length])
    profiles = [
        {name: (tuple(least), tuple(best), tuple(most)) for name, (least, best, most) in profile.items()}
        for profile in header["profiles"]
    ]
    plan = Plan(body[start + length :], profiles, header["version"], header["compute"])
    check_plan(plan.version, plan.compute)
    return plan


def check_plan(version: str, compute: str) -> None:
    if version != VERSION:
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is not compatible "
            f"with this version of TensorRT, expecting library version {VERSION} got {version}, please rebuild.)"
        )
    if compute != compute_capability():
        raise Unreadable(
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is generated on an "
            f"incompatible device, expecting compute {compute_capability()} got compute {compute}, please rebuild.)"
        )
