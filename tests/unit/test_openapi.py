"""The OpenAPI document: what BentoML says of a service, made valid."""

from __future__ import annotations

import json

from modelyard.openapi import document_of

SAID = {
    "paths": {
        "/livez": {"get": {"responses": {"200": {"description": "ok"}}}},
        "/classify": {
            "post": {
                "x-bentoml-name": "classify",
                "operationId": "digits__classify",
                "description": "Say it.\n\n        In full.\n        ",
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {"properties": {"png": {"default": None, "type": "string"}}, "root_input": True}
                        }
                    }
                },
                "responses": {200: {"description": "ok"}, "400": {"description": "theirs"}},
            }
        },
    },
    "components": {"schemas": {"Digit": {"type": "object"}, "NotFound": {"type": "object"}}},
}


def test_only_the_typed_api_is_described_and_nothing_foreign_is_left() -> None:
    document = document_of(SAID, "digits", "Reads digits.", "1.2.3")
    assert document["openapi"] == "3.1.0"
    assert document["info"]["version"] == "1.2.3"
    assert document["info"]["description"].startswith("Reads digits.")
    assert set(document["paths"]) == {"/classify", "/feedback"}
    operation = document["paths"]["/classify"]["post"]
    assert operation["summary"] == "Say it."
    assert operation["description"] == "Say it.\n\nIn full."
    assert operation["requestBody"]["required"] is True
    assert set(operation["responses"]) == {"200", "4XX", "5XX"}
    assert set(document["components"]["schemas"]) == {"Digit", "Error"}
    text = json.dumps(document)
    assert "root_input" not in text
    assert "null" not in text
