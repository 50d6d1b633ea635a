"""The body of POST /feedback and its answer, and what may be a request's id in a header.

{"request_id": "a1", "value": 7}            the class that would have been right
{"request_id": "a1", "value": [7, 0, 3]}    of a request of three rows
"""

import msgspec

from modelyard.errors import InvalidInput
from modelyard.observing.predictions import MOST_ID, Judged


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    request_id: str
    value: int | list[int]


_decoder = msgspec.json.Decoder(_Body)


def feedback_of(body: bytes) -> tuple[str, list[int]]:
    """The request's id and its true values, one for each row. Raises InvalidInput."""
    try:
        parsed = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"feedback is a request_id and a value, a class or a list of classes: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is no JSON: {error}") from None
    if not 0 < len(parsed.request_id) <= MOST_ID:
        raise InvalidInput(f"request_id has 1 to {MOST_ID} characters", "value")
    values = [parsed.value] if isinstance(parsed.value, int) else parsed.value
    if any(abs(value) >= 2**63 for value in values):
        raise InvalidInput("a value is no class: it has more than 64 bits", "value")
    return parsed.request_id, values


def feedback_answer(request_id: str, judged: Judged) -> dict[str, object]:
    """`counted` is false where a value had been given before: the first one stands."""
    return {
        "request_id": request_id,
        "model_name": judged.model,
        "model_version": judged.version,
        "predicted": judged.answers,
        "correct": judged.correct,
        "wrong": len(judged.answers) - judged.correct,
        "counted": not judged.repeated,
    }


def request_id_of(header: str) -> str:
    """That of an X-Request-Id header; empty for what no id should be: too long, or no printable ASCII."""
    return header if len(header) <= MOST_ID and header.isascii() and header.isprintable() else ""
