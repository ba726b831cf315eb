"""The console's URLs. What is a tenant's lies under `t/<tenant>/`, and each such view is an `access.page`."""

from django.urls import include, path

from console import (
    api_keys,
    audit,
    billing,
    deletion,
    entries,
    first_run,
    gateway_budgets,
    gateway_prices,
    gateway_providers,
    gateway_spend,
    home,
    overview,
    settings,
    team,
    tenants,
    usage,
)

app_name = "console"
TENANT_PAGES = (
    overview,
    first_run,
    entries,
    api_keys,
    usage,
    gateway_spend,
    gateway_providers,
    gateway_budgets,
    gateway_prices,
    billing,
    team,
    audit,
    settings,
    deletion,
)

urlpatterns = [
    *home.urls,
    *tenants.urls,
    *team.entrance_urls,
    path("t/<str:tenant>/", include([url for module in TENANT_PAGES for url in module.urls])),
]
