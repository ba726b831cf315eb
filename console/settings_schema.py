"""The OpenAPI description of a tenant's settings and its webhook."""

from drf_spectacular.utils import extend_schema

from cacheservice.entries.schema import answers, conflict, ref
from console.alert_tests import TESTS_AN_HOUR
from console.settings_answers import DeletedWebhook, NewWebhookSecret, ShownSettings, ShownWebhook, TestedWebhook
from console.settings_requests import PutWebhook, UpdateSettings

COMPONENTS = (
    UpdateSettings,
    ShownSettings,
    PutWebhook,
    ShownWebhook,
    NewWebhookSecret,
    DeletedWebhook,
    TestedWebhook,
)

_CONFLICT = conflict(f"at most {TESTS_AN_HOUR} tests are sent an hour")

get_settings = extend_schema(
    operation_id="get_settings",
    summary="Get the tenant's settings",
    description="Its name, TTLs and alerts.",
    responses=answers({200: (ref(ShownSettings), "The settings.")}),
)
update_settings = extend_schema(
    operation_id="update_settings",
    summary="Change the tenant's settings",
    description="What is left out stays, within `alerts` too. All of it is changed, or nothing.",
    request={"application/json": ref(UpdateSettings)},
    responses=answers({200: (ref(ShownSettings), "The settings as they are now.")}, 413, 415),
)
get_webhook = extend_schema(
    operation_id="get_webhook",
    summary="Get the tenant's webhook",
    description="A tenant has one, or none: `url` is then null. Never its secret.",
    responses=answers({200: (ref(ShownWebhook), "The webhook.")}),
)
put_webhook = extend_schema(
    operation_id="put_webhook",
    summary="Set the tenant's webhook",
    description="A new one gets a signing secret, which is shown only then; another URL for it keeps the secret.",
    request={"application/json": ref(PutWebhook)},
    responses=answers(
        {200: (ref(ShownWebhook), "Another URL."), 201: (ref(NewWebhookSecret), "New, with its secret.")}, 413, 415
    ),
)
delete_webhook = extend_schema(
    operation_id="delete_webhook",
    summary="Delete the tenant's webhook",
    description="With its secret. Deleting what is not there is no error: `deleted` is then false.",
    responses=answers({200: (ref(DeletedWebhook), "Whether it was there.")}),
)
rotate_webhook = extend_schema(
    operation_id="rotate_webhook_secret",
    summary="Give the webhook a new signing secret",
    description="The former one signs nothing any more.",
    request=None,
    responses=answers({200: (ref(NewWebhookSecret), "The webhook and its new secret, which is shown only now.")}, 404),
)
test_webhook = extend_schema(
    operation_id="test_webhook",
    summary="Send a test to the webhook",
    description="An event of the type `test`, at once and once. The answer says what became of it.",
    request=None,
    responses={**answers({200: (ref(TestedWebhook), "It was tried.")}, 404), **_CONFLICT},
)
