"""The answer of one call over HTTP/2: headers, messages, and the status in the trailers."""

import contextlib

import grpc
import zttp

from modelyard.protocol.grpc import describe
from modelyard.protocol.grpc_wire import encode_text, framed

Status = list[tuple[bytes, bytes]]
OK: Status = [(b"grpc-status", b"0")]
_HEADERS = [(b"content-type", b"application/grpc"), (b"grpc-accept-encoding", b"identity,deflate,gzip")]


class Answer:
    def __init__(self, stream: zttp.Stream) -> None:
        self._stream = stream
        self._begun = False
        self.trailers: list[tuple[bytes, bytes]] = []
        """What is said beside the status."""

    def send(self, message: bytes) -> None:
        with contextlib.suppress(zttp.LocalProtocolError):  # the peer has just reset the stream
            self._begin()
            self._stream.send_data(framed(message))

    def end(self, status: Status) -> None:
        """A status without a message goes with the headers (Trailers-Only): such a call may be tried again."""
        said = [*status, *self.trailers] if self.trailers else status
        with contextlib.suppress(zttp.LocalProtocolError):  # as above
            if self._begun:
                self._stream.end_message(said)
            else:
                self._stream.send_response(200, [*_HEADERS, *said], end_stream=True)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._stream.send_response(200, _HEADERS)


def status_of(error: Exception) -> Status:
    """The trailers of a call that ends with an error."""
    return status(*describe(error))


def status(code: grpc.StatusCode, text: str) -> Status:
    found = [(b"grpc-status", b"%d" % code.value[0])]
    if text:
        found.append((b"grpc-message", encode_text(text)))
    return found
