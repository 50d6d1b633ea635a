"""The OpenAPI document and the page of a service's typed API, made from what BentoML says of its methods.

BentoML's own document mixes two versions of OpenAPI, describes errors that are not sent, and its page calls a third
party. Pure functions: a document in, a document out.
"""

import inspect
from typing import Any

Document = dict[str, Any]

_FOREIGN = frozenset({"TaskStatusResponse", "InvalidArgument", "NotFound", "InternalServerError"})
"""Schemas of BentoML's that this document does not refer to."""
_ERROR: Document = {
    "type": "object",
    "title": "Error",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "what is wrong, and what to change"}},
}
_ERROR_RESPONSE: Document = {
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}

_CLASSES: Document = {"oneOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]}
_REFUSALS: Document = {
    "4XX": {"description": "The request is refused.", **_ERROR_RESPONSE},
    "5XX": {"description": "The request could not be answered.", **_ERROR_RESPONSE},
}
_ID_HEADER: Document = {
    "X-Request-Id": {"description": "for POST /feedback: as it was sent, or a new one", "schema": {"type": "string"}}
}
_FEEDBACK: Document = {
    "post": {
        "operationId": "feedback",
        "summary": "Say what would have been right.",
        "description": "The true class of what was answered to a request with this id (header X-Request-Id), one for "
        "each of its rows. It counts once, for the model and version that answered; models without classes refuse it.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "required": ["request_id", "value"],
                        "additionalProperties": False,
                        "properties": {"request_id": {"type": "string", "maxLength": 256}, "value": _CLASSES},
                    }
                }
            },
        },
        "responses": {
            "200": {
                "description": "How many rows were right and wrong, and whether this value was counted.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "404": {"description": "No answer to such a request is remembered.", **_ERROR_RESPONSE},
            **_REFUSALS,
        },
    }
}

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<title>TITLE</title>
<link rel="stylesheet" href="./static_content/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="./static_content/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "./docs.json", dom_id: "#swagger-ui"});</script>
</body>
</html>
"""


def document_of(bentoml_document: Document, name: str, text: str, version: str) -> Document:
    """A valid OpenAPI 3.1 document of the typed API alone; `text` says what the service does."""
    schemas = bentoml_document.get("components", {}).get("schemas", {})
    kept = {key: _clean(schema) for key, schema in schemas.items() if key not in _FOREIGN}
    paths = {
        path: {"post": _operation(item["post"])}
        for path, item in bentoml_document["paths"].items()
        if "x-bentoml-name" in item.get("post", {})
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"{text} The same model answers in the Open Inference Protocol at /v2/models/{name}.",
        },
        "servers": [{"url": "."}],
        "paths": {**paths, "/feedback": _FEEDBACK},
        "components": {"schemas": {**kept, "Error": _ERROR}},
    }


def _operation(operation: Document) -> Document:
    text = inspect.cleandoc(operation["description"])
    return {
        "operationId": operation["operationId"],
        "summary": text.partition("\n")[0],
        "description": text,
        "requestBody": {"required": True, **_clean(operation["requestBody"])},
        "responses": {
            "200": {
                **_clean({str(code): answer for code, answer in operation["responses"].items()}["200"]),
                "headers": _ID_HEADER,
            },
            **_REFUSALS,
        },
    }


def _clean(node: Any) -> Any:
    """Without BentoML's own keys, and without null as a default of what is no null."""
    if isinstance(node, dict):
        return {
            key: _clean(value)
            for key, value in node.items()
            if key != "root_input" and not (key == "default" and value is None)
        }
    return [_clean(item) for item in node] if isinstance(node, list) else node
