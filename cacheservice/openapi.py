"""The OpenAPI 3.1 document, made from the views once a process, and the page that shows it."""

from functools import lru_cache
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from accounts import key_schema, people_schema
from billing import invoice_schema, usage_schema
from cacheservice.entries import schema
from cacheservice.views import safe_methods
from console import settings_schema, team_schema
from gateway import budget_schema, provider_schema, spend_schema

COMPONENTS = (
    *schema.COMPONENTS,
    *usage_schema.COMPONENTS,
    *invoice_schema.COMPONENTS,
    *key_schema.COMPONENTS,
    *people_schema.COMPONENTS,
    *team_schema.COMPONENTS,
    *settings_schema.COMPONENTS,
    *provider_schema.COMPONENTS,
    *budget_schema.COMPONENTS,
    *spend_schema.COMPONENTS,
)
# Swagger UI sets style attributes; it needs no inline script.
DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key: `ck_live_…`"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}


class APIKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Tells drf-spectacular how an API key is sent."""

    target_class = "cacheservice.authentication.APIKeyAuthentication"
    name = list(SECURITY)

    def get_security_definition(self, auto_schema: AutoSchema) -> list[dict[str, str]]:
        return list(SECURITY.values())


@safe_methods
def document_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(msgspec.json.encode(document()), content_type="application/json")


@safe_methods
def docs_view(request: HttpRequest) -> HttpResponse:
    response = render(request, "cacheservice/docs.html")
    response["Content-Security-Policy"] = DOCS_POLICY
    return response


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The OpenAPI document as JSON-compatible objects."""
    generator: Any = SchemaGenerator
    schema: dict[str, Any] = generator().get_schema(request=None, public=True)
    return schema


def finish(result: dict[str, Any], generator: SchemaGenerator, **kwargs: Any) -> dict[str, Any]:
    """drf-spectacular's postprocessing hook: the structs' schemas, HEAD, and how to authenticate."""
    _, schemas = msgspec.json.schema_components(COMPONENTS, ref_template="#/components/schemas/{name}")
    for changes in ("PatchBody", "UpdateAPIKey", "UpdateBudget", "UpdateSettings", "UpdateAlerts"):
        schemas[changes]["minProperties"] = 1
    result["components"] = {"schemas": schemas, "securitySchemes": SECURITY}
    result["security"] = [{name: []} for name in SECURITY]
    for path in result["paths"].values():
        for operation in path.values():
            operation.pop("security", None)
            if "requestBody" in operation:
                operation["requestBody"]["required"] = True
        if path.get("get", {}).get("operationId") == "get_entry":
            path["head"] = _head(path["get"])
    return result


def _head(get: dict[str, Any]) -> dict[str, Any]:
    """HEAD of an entry: 200 or 404 without a body, never charged."""
    statuses = {status: {"description": response["description"]} for status, response in get["responses"].items()}
    statuses.pop("304", None)
    return {
        **get,
        "operationId": "head_entry",
        "summary": "Ask whether a value is there; never charged",
        "parameters": [parameter for parameter in get["parameters"] if parameter["in"] == "path"],
        "responses": statuses | {"404": {"description": "No live entry."}},
    }
