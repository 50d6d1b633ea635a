"""Every error that a caller can meet, in one tree; each owns its HTTP and its gRPC status.

    ModelyardError                 500 INTERNAL             says nothing of its cause to a client
    |-- InvalidInput               400 INVALID_ARGUMENT     the request is wrong; the text says what to change
    |-- Unauthenticated            401 UNAUTHENTICATED
    |-- PermissionDenied           403 PERMISSION_DENIED
    |-- NotFound                   404 NOT_FOUND            unknown model, version or path
    |-- MethodNotAllowed           405 UNIMPLEMENTED
    |-- ReceiveTimeout             408 DEADLINE_EXCEEDED    the request did not arrive in time
    |-- PayloadTooLarge            413 RESOURCE_EXHAUSTED
    |-- UnsupportedMediaType       415 INVALID_ARGUMENT
    |-- QuotaExceeded              429 RESOURCE_EXHAUSTED   retry_after seconds
    |-- HeadersTooLarge            431 RESOURCE_EXHAUSTED
    |-- Cancelled                  499 CANCELLED            nobody waits for the answer any more
    |-- Unimplemented              501 UNIMPLEMENTED
    |-- Unavailable                503 UNAVAILABLE          retry_after seconds
    |   |-- ModelNotReady
    |   `-- Overloaded             refused at once: the wait would exceed the limit
    |-- DeadlineExceeded           504 DEADLINE_EXCEEDED    the caller's time ran out while it waited
    |-- BackendError               500 INTERNAL             the model failed on this input
    `-- ConfigurationError         (never on the wire)      model.yaml, manifest, settings: fix before serving

The protocols translate in one place each: `protocol/rest.py` and `protocol/grpc.py`. gRPC codes are kept as names so
that this module imports nothing.
"""

from typing import ClassVar, Self


class ModelyardError(Exception):
    """Base of the tree. `public` is the text that a client may see."""

    http_status: ClassVar[int] = 500
    grpc_status: ClassVar[str] = "INTERNAL"
    outcome: ClassVar[str] = "error"
    """Value of the label `outcome` of modelyard_requests_total."""
    retry_after: float | None = None
    """Seconds after which a retry may succeed; sent as Retry-After."""

    @property
    def public(self) -> str:
        return str(self)

    def of(self, part: str) -> Self:
        """The same error, with a text that begins with the part of the whole where it happened."""
        told = type(self).__new__(type(self))
        told.__dict__.update(self.__dict__)
        told.args = (f"{part}: {self}",)
        return told


class InvalidInput(ModelyardError):
    http_status, grpc_status, outcome = 400, "INVALID_ARGUMENT", "client_error"

    def __init__(self, text: str, reason: str = "malformed") -> None:
        """`reason` is a value of the closed label set of modelyard_input_invalid_total."""
        super().__init__(text)
        self.reason = reason


class Unauthenticated(ModelyardError):
    http_status, grpc_status, outcome = 401, "UNAUTHENTICATED", "client_error"


class PermissionDenied(ModelyardError):
    http_status, grpc_status, outcome = 403, "PERMISSION_DENIED", "client_error"


class NotFound(ModelyardError):
    http_status, grpc_status, outcome = 404, "NOT_FOUND", "client_error"


class MethodNotAllowed(ModelyardError):
    http_status, grpc_status, outcome = 405, "UNIMPLEMENTED", "client_error"

    def __init__(self, allowed: str) -> None:
        super().__init__(f"method not allowed; use {allowed}")
        self.allowed = allowed


class ReceiveTimeout(ModelyardError):
    http_status, grpc_status, outcome = 408, "DEADLINE_EXCEEDED", "timeout"


class PayloadTooLarge(ModelyardError):
    http_status, grpc_status, outcome = 413, "RESOURCE_EXHAUSTED", "client_error"


class UnsupportedMediaType(ModelyardError):
    http_status, grpc_status, outcome = 415, "INVALID_ARGUMENT", "client_error"


class QuotaExceeded(ModelyardError):
    http_status, grpc_status, outcome = 429, "RESOURCE_EXHAUSTED", "shed"

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class HeadersTooLarge(ModelyardError):
    http_status, grpc_status, outcome = 431, "RESOURCE_EXHAUSTED", "client_error"


class Cancelled(ModelyardError):
    http_status, grpc_status, outcome = 499, "CANCELLED", "cancelled"


class Unimplemented(ModelyardError):
    http_status, grpc_status, outcome = 501, "UNIMPLEMENTED", "client_error"


class Unavailable(ModelyardError):
    http_status, grpc_status, outcome = 503, "UNAVAILABLE", "error"

    def __init__(self, text: str, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class ModelNotReady(Unavailable):
    pass


class Overloaded(Unavailable):
    outcome = "shed"


class DeadlineExceeded(ModelyardError):
    http_status, grpc_status, outcome = 504, "DEADLINE_EXCEEDED", "timeout"


class BackendError(ModelyardError):
    """The model failed while it ran. The cause goes to the log; the client reads a text that names the model only."""

    def __init__(self, model: str) -> None:
        super().__init__(f"the model '{model}' failed on this input")


class ConfigurationError(ModelyardError):
    """A model.yaml, a version folder or a setting is wrong. The text names the file, the place and the mend."""
