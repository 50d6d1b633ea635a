"""The users: one class for each way to ask, all with the same rows, the same pace and the same checks.

    Draw -> Row -> prepare -> exchange (timed) -> read -> Checker -> Tally, and locust's own statistics

Only `exchange` is timed. A user asks, waits for the answer and asks again when its next request is due: a closed loop.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import grpc
import grpc.experimental.gevent
import orjson
from locust import FastHttpUser, User, task

from loadtests.load import wire
from loadtests.load.checks import Checker
from loadtests.load.draw import Draw
from loadtests.load.options import Plan
from loadtests.load.rows import Known, Row
from loadtests.load.tally import Clock, Tally
from loadtests.load.typed import typed_of
from loadtests.load.wire import HEADER_LENGTH, Answer, NoAnswer, WrongAnswer

OK = 200
MOST_TEXT = 120
CATCH_UP = 2.0
"""Enough for a machine that stood still for a moment; a server that is too slow stays behind for good."""
NUMBER = re.compile(r"\d+")

HttpRequest = tuple[str, bytes, dict[str, str]]
"""Path, body, headers."""


@dataclass(frozen=True, slots=True)
class Run:
    """What all users of a process share."""

    plan: Plan
    known: Known
    checker: Checker
    tally: Tally
    clock: Clock


class Asking(User):
    """Asks for a row, again and again."""

    abstract = True
    kind: ClassVar[str]
    given: ClassVar[Run]
    """Set by `begin`, before the first user comes."""

    @staticmethod
    def begin(run: Run) -> None:
        """Everything that the users need to know."""
        Asking.given = run
        Http.network_timeout = Http.connection_timeout = run.plan.timeout

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        plan = self.given.plan
        self.name = f"{plan.model} {self.kind}"
        self.rows = self.pool()
        golden = [number for number, row in enumerate(self.rows) if row.golden]
        self.draw = Draw(len(self.rows), plan.zipf_share, plan.zipf_exponent, random.getrandbits(32), golden)
        self.asked = 0
        self.period = plan.users / plan.rate
        self.due = 0.0

    def pool(self) -> Sequence[Row]:
        """The rows that this kind of user sends."""
        return self.given.known.rows

    def on_start(self) -> None:
        """Users that come together must not ask together."""
        self.given.clock.started(self, self.name)
        time.sleep(random.random() * self.period)  # of gevent, as all sleep here
        self.due = time.perf_counter()

    def on_stop(self) -> None:
        self.given.clock.ended(self, self.given.tally)

    def wait_time(self) -> float:
        """Seconds until the next request is due. Of what was held up, no more than CATCH_UP seconds are made up for."""
        now = time.perf_counter()
        self.due = max(self.due + self.period, now - CATCH_UP)
        return max(0.0, self.due - now)

    @task
    def ask(self) -> None:
        """One request: timed, checked and counted."""
        number, changed = self.draw()
        row = self.rows[number]
        self.asked += 1
        marked = f"{id(self):x}-{self.asked}"
        request = self.prepare(replace(row, inputs=self.draw.changed(row.inputs)) if changed else row, marked)
        reply, length = None, 0
        fault: NoAnswer | WrongAnswer | None = None
        began = time.perf_counter()
        try:
            reply, length = self.exchange(request)
        except NoAnswer as error:
            fault = error
        took = time.perf_counter() - began
        fault = fault or self._fault(number, row, reply, marked, changed=changed)
        outcome = "good" if fault is None else "wrong" if isinstance(fault, WrongAnswer) else "error"
        self.given.tally.count(self.name, outcome, str(fault or ""))
        self.environment.events.request.fire(
            request_type=self.kind,
            name=self.name,
            response_time=took * 1000,
            response_length=length,
            exception=fault,
            context={},
        )

    def _fault(self, number: int, row: Row, reply: Any, marked: str, *, changed: bool) -> WrongAnswer | None:
        """What is wrong with an answer. Of a right one, whether it is the truth goes into the tally."""
        checker, tally = self.given.checker, self.given.tally
        try:
            answer = self.read(reply)
            if answer.id not in ("", marked):
                raise WrongAnswer("the answer to another request (by its id)")
            checker.check(number, row, answer, changed=changed)
        except WrongAnswer as error:
            return error
        right = checker.right(row, answer)
        if right is not None:
            tally.judged(number, right=right)
        return None

    def prepare(self, row: Row, marked: str) -> Any:
        """The request, whole; `marked` is its id, where it can carry one."""
        raise NotImplementedError

    def exchange(self, request: Any) -> tuple[Any, int]:
        """The reply, and its length in bytes. Raises NoAnswer."""
        raise NotImplementedError

    def read(self, reply: Any) -> Answer:
        """Raises WrongAnswer."""
        raise NotImplementedError


class Http(Asking, FastHttpUser):
    """Over HTTP, on one connection that is kept."""

    abstract = True

    def exchange(self, request: HttpRequest) -> tuple[tuple[bytes, str | None], int]:
        path, headers = request[0], request[2]
        body: Any = request[1]  # of bytes its types know nothing
        if self.given.plan.key:
            headers["authorization"] = f"Bearer {self.given.plan.key}"
        # Asked to wait for a verdict, locust reports nothing by itself: time and verdict are ours.
        response: Any = self.client.request(
            "POST", path, data=body, headers={"accept-encoding": "identity", **headers}, catch_response=True
        )
        content = response.content or b""
        if response.status_code != OK:
            raise NoAnswer(_refusal(response.status_code, content, response.error))
        return (content, response.headers.get(HEADER_LENGTH)), len(content)

    def read(self, reply: tuple[bytes, str | None]) -> Answer:
        return wire.http_answer(*reply)


class HttpJson(Http):
    """The inference protocol as JSON."""

    kind = "json"

    def prepare(self, row: Row, marked: str) -> HttpRequest:
        spec = self.given.known.spec
        return _path(spec.name), wire.json_body(spec, row.inputs, marked), {"content-type": "application/json"}


class HttpBinary(Http):
    """The inference protocol with its binary tensor extension."""

    kind = "binary"

    def prepare(self, row: Row, marked: str) -> HttpRequest:
        spec = self.given.known.spec
        body, length = wire.binary_body(spec, row.inputs, marked)
        return _path(spec.name), body, {"content-type": "application/octet-stream", HEADER_LENGTH: str(length)}


class HttpTyped(Http):
    """The service's own typed API."""

    kind = "typed"

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        api = typed_of(self.given.known.spec)
        if api is None:
            raise ValueError(f"{self.name}: there is no typed API")
        self.api = api

    def pool(self) -> Sequence[Row]:
        return self.given.known.texts or self.given.known.rows

    def prepare(self, row: Row, marked: str) -> HttpRequest:  # noqa: ARG002  its answers carry no id
        body = orjson.dumps(self.api.body(row))
        return self.api.path, body, {"content-type": "application/json"}

    def read(self, reply: tuple[bytes, str | None]) -> Answer:
        return wire.typed_answer(self.api, reply[0])


class Grpc(Asking):
    """The inference protocol over gRPC, on a channel of its own."""

    kind = "grpc"

    def on_start(self) -> None:
        """Not before: a process that forks its workers must not have begun with gRPC."""
        grpc.experimental.gevent.init_gevent()
        plan = self.given.plan
        # a connection for each user, and no proxy between it and the server
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        secure = grpc.ssl_channel_credentials() if plan.tls else None
        self.channel: Any = (
            grpc.secure_channel(plan.grpc, secure, options) if secure else grpc.insecure_channel(plan.grpc, options)
        )
        self.call = wire.grpc_call(self.channel)
        self.metadata = [("authorization", f"Bearer {plan.key}")] if plan.key else []
        super().on_start()

    def on_stop(self) -> None:
        super().on_stop()
        self.channel.close()

    def prepare(self, row: Row, marked: str) -> Any:
        return wire.grpc_message(self.given.known.spec, row.inputs, marked)

    def exchange(self, request: Any) -> tuple[Any, int]:
        try:
            reply = self.call(request, timeout=self.given.plan.timeout, metadata=self.metadata)
        except grpc.RpcError as error:
            raise NoAnswer(_shown(f"{error.code().name} {error.details()}")) from error
        return reply, reply.ByteSize()

    def read(self, reply: Any) -> Answer:
        return wire.grpc_answer(reply)


KINDS: Mapping[str, type[Asking]] = {each.kind: each for each in (HttpJson, HttpBinary, Grpc, HttpTyped)}


def kinds_for(known: Known) -> list[str]:
    """The ways in which this model can be asked."""
    json = wire.fits_json(known.spec)
    typed = json and typed_of(known.spec) is not None and (bool(known.texts) or known.spec.name != "embed")
    return [kind for kind, fits in (("json", json), ("binary", True), ("grpc", True), ("typed", typed)) if fits]


def _path(model: str) -> str:
    return f"/v2/models/{model}/infer"


def _refusal(status: int, content: bytes, error: Exception | None) -> str:
    if not status:
        return _shown(f"{type(error).__name__} {error}")
    try:
        text = orjson.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        text = content[:MOST_TEXT].decode("utf-8", "replace")
    return f"status {status}: {_shown(str(text))}"


def _shown(text: str) -> str:
    """Without its numbers: what differs by them alone is one kind of failure."""
    return NUMBER.sub("N", text)[:MOST_TEXT]
