"""The OpenAPI description of providers."""

from drf_spectacular.utils import OpenApiParameter, extend_schema

from cacheservice.entries.schema import answers, ref
from gateway.provider_answers import DeletedProvider, Providers, ShownProvider
from gateway.provider_requests import PutProvider
from gateway.providers import MOST_PROVIDERS, NAME

COMPONENTS = (PutProvider, ShownProvider, Providers, DeletedProvider)

_NAME = OpenApiParameter(
    "name",
    {"type": "string", "pattern": NAME},
    OpenApiParameter.PATH,
    description="As in the gateway's URLs: /gateway/<name>/…",
)

list_providers = extend_schema(
    operation_id="list_providers",
    summary="List the gateway's providers",
    description=f"All of the tenant's, at most {MOST_PROVIDERS}; never a credential.",
    responses=answers({200: (ref(Providers), "The providers, by name.")}),
)
get_provider = extend_schema(
    operation_id="get_provider",
    summary="Get a provider",
    parameters=[_NAME],
    responses=answers({200: (ref(ShownProvider), "The provider.")}, 404),
)
put_provider = extend_schema(
    operation_id="put_provider",
    summary="Set a provider",
    description=(
        "Makes the provider, or replaces what was said of it. The credential is kept sealed, is never shown, and "
        "stays when it is left out. It holds in every server process within a second."
    ),
    parameters=[_NAME],
    request={"application/json": ref(PutProvider)},
    responses=answers({200: (ref(ShownProvider), "Replaced."), 201: (ref(ShownProvider), "New.")}, 413, 415),
)
delete_provider = extend_schema(
    operation_id="delete_provider",
    summary="Delete a provider",
    description="With its credential and its prices. Deleting what is not there is no error: `deleted` is then false.",
    parameters=[_NAME],
    responses=answers({200: (ref(DeletedProvider), "Whether it was there.")}),
)
