"""The OpenAPI description of API keys."""

from drf_spectacular.utils import OpenApiParameter, extend_schema

from accounts.key_answers import APIKeyPage, NewAPIKey, ShownAPIKey
from accounts.key_requests import CreateAPIKey, RotateAPIKey, UpdateAPIKey
from cacheservice.entries.schema import ID, answers, ref

COMPONENTS = (CreateAPIKey, UpdateAPIKey, RotateAPIKey, ShownAPIKey, NewAPIKey, APIKeyPage)


list_keys = extend_schema(
    operation_id="list_api_keys",
    summary="List API keys",
    description="Newest first, revoked ones too; never a secret. Follow `next_cursor` until it is null.",
    parameters=[
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
        OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
    ],
    responses=answers({200: (ref(APIKeyPage), "A page.")}),
)
create_key = extend_schema(
    operation_id="create_api_key",
    summary="Create an API key",
    description="The answer holds its token, which is shown only then.",
    request={"application/json": ref(CreateAPIKey)},
    responses=answers({201: (ref(NewAPIKey), "The API key and its token.")}, 413, 415),
)
get_key = extend_schema(
    operation_id="get_api_key",
    summary="Get an API key",
    parameters=[ID],
    responses=answers({200: (ref(ShownAPIKey), "The API key.")}, 404),
)
update_key = extend_schema(
    operation_id="update_api_key",
    summary="Rename an API key, or change its limits or networks",
    description="What is left out stays. It holds in every server process at once.",
    parameters=[ID],
    request={"application/json": ref(UpdateAPIKey)},
    responses=answers({200: (ref(ShownAPIKey), "The API key as it is now.")}, 404, 413, 415),
)
revoke_key = extend_schema(
    operation_id="revoke_api_key",
    summary="Revoke an API key",
    description="Every server process refuses it at once, and for ever. Revoking it again changes nothing.",
    parameters=[ID],
    responses=answers({200: (ref(ShownAPIKey), "The API key, with `revoked_at`.")}, 404),
)
rotate_key = extend_schema(
    operation_id="rotate_api_key",
    summary="Give an API key a new secret",
    description="The same key, with its meters and limits. The former secret works until the overlap ends.",
    parameters=[ID],
    request={"application/json": ref(RotateAPIKey)},
    responses=answers(
        {200: (ref(NewAPIKey), "The API key and its new token, which is shown only now.")}, 404, 413, 415
    ),
)
