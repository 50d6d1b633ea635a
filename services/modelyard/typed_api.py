"""BentoML's application of a service's typed API, with our errors, our OpenAPI document and our page."""

import inspect
import secrets

from _bentoml_impl.server.app import ServiceAppFactory
from bentoml.exceptions import BentoMLException
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from modelyard import __version__, openapi
from modelyard.auth import current_request
from modelyard.errors import InvalidInput, ModelyardError
from modelyard.protocol.feedback import request_id_of
from modelyard.protocol.rest import failure


class TypedApi(ServiceAppFactory):  # type: ignore[misc]  # untyped library
    """BentoML's application with our errors (an object with a text, our status), our OpenAPI document, our page."""

    def __call__(self) -> Starlette:
        app: Starlette = super().__call__()
        app.add_exception_handler(HTTPException, _respond_to_http)
        return app

    async def index_page(self, _: Request) -> Response:
        return HTMLResponse(openapi.PAGE.replace("TITLE", self.service.name))

    async def openapi_spec_view(self, _: Request) -> Response:
        text = inspect.getdoc(self.service.inner) or ""
        described = self.service.openapi_spec.asdict()
        return JSONResponse(openapi.document_of(described, self.service.name, text, __version__))

    async def api_endpoint(self, name: str, request: Request) -> Response:
        """The caller learns the id by which feedback finds the answer: the one it sent, or a new one."""
        request_id = request_id_of(request.headers.get("x-request-id", "")) or secrets.token_hex(8)
        current_request.set(request_id)
        response = await self._answer(name, request)
        response.headers["x-request-id"] = request_id
        return response

    async def _answer(self, name: str, request: Request) -> Response:
        try:
            response: Response = await super().api_endpoint(name, request)
        except ModelyardError as error:
            return _respond(error)
        except ValidationError as error:
            return _respond(InvalidInput(_faults(error)))
        except BentoMLException as error:
            status = error.error_code.value
            if status < 500:
                return JSONResponse({"error": str(error)}, status)
            return _respond(error)
        except (UnicodeDecodeError, RecursionError) as error:
            return _respond(InvalidInput(f"the body is no JSON: {type(error).__name__}"))
        except Exception as error:
            return _respond(error)
        return response


def _faults(error: ValidationError) -> str:
    """What pydantic found, one fault after the other: place and text."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    texts = [(".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")) for fault in faults]
    return "; ".join(f"{place}: {text}" if place else text for place, text in texts)


async def _respond_to_http(_: Request, error: Exception) -> Response:
    """An unknown path or a wrong method of the typed API."""
    if not isinstance(error, HTTPException):
        return _respond(error)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _respond(error: Exception) -> Response:
    answer = failure(error)
    headers = {name.decode(): value.decode() for name, value in answer.headers}
    return Response(b"".join(answer.parts), answer.status, headers, answer.content_type.decode())
