"""Every route. Paths have no trailing slash; keys may contain slashes."""

from django.contrib import admin
from django.urls import include, path, re_path

from accounts.key_views import APIKeyRotationView, APIKeysView, APIKeyView
from accounts.people_views import AuditView, MembersView
from billing.invoice_views import InvoicePreviewView, InvoicesView, InvoiceView
from billing.usage_views import AccountView, TopEntriesView, UsageView
from cacheservice import metrics_page, openapi, views
from cacheservice.entries.views import BatchView, CollectionView, ItemView
from console.settings_views import SettingsView, WebhookRotationView, WebhookTestView, WebhookView
from console.team_views import InvitationSendingView, InvitationsView, InvitationView, MemberView
from gateway.budget_views import BudgetsView, BudgetView, PricesView, PriceView
from gateway.provider_views import ProvidersView, ProviderView
from gateway.spend_views import SpendPromptsView, SpendView

urlpatterns = [
    path("api/v1/cache", CollectionView.as_view(), name="collection"),
    re_path(r"^api/v1/cache/(?P<key>(?s:.*))$", ItemView.as_view(), name="item"),
    path("api/v1/batch", BatchView.as_view(), name="batch"),
    path("api/v1/account", AccountView.as_view(), name="account"),
    path("api/v1/usage", UsageView.as_view(), name="usage"),
    path("api/v1/usage/top", TopEntriesView.as_view(), name="top-entries"),
    path("api/v1/invoices", InvoicesView.as_view(), name="invoices"),
    path("api/v1/invoices/preview", InvoicePreviewView.as_view(), name="invoice-preview"),
    path("api/v1/invoices/<str:number>", InvoiceView.as_view(), name="invoice"),
    path("api/v1/keys", APIKeysView.as_view(), name="api-keys"),
    path("api/v1/keys/<str:id>", APIKeyView.as_view(), name="api-key"),
    path("api/v1/keys/<str:id>/rotate", APIKeyRotationView.as_view(), name="api-key-rotation"),
    path("api/v1/members", MembersView.as_view(), name="members"),
    path("api/v1/members/<str:id>", MemberView.as_view(), name="member"),
    path("api/v1/invitations", InvitationsView.as_view(), name="invitations"),
    path("api/v1/invitations/<str:id>", InvitationView.as_view(), name="invitation"),
    path("api/v1/invitations/<str:id>/send", InvitationSendingView.as_view(), name="invitation-sending"),
    path("api/v1/settings", SettingsView.as_view(), name="settings"),
    path("api/v1/webhooks", WebhookView.as_view(), name="webhook"),
    path("api/v1/webhooks/rotate", WebhookRotationView.as_view(), name="webhook-rotation"),
    path("api/v1/webhooks/test", WebhookTestView.as_view(), name="webhook-test"),
    path("api/v1/audit", AuditView.as_view(), name="audit"),
    path("api/v1/providers", ProvidersView.as_view(), name="gateway-providers"),
    path("api/v1/providers/<str:name>", ProviderView.as_view(), name="gateway-provider"),
    path("api/v1/budgets", BudgetsView.as_view(), name="gateway-budgets"),
    path("api/v1/budgets/<str:id>", BudgetView.as_view(), name="gateway-budget"),
    path("api/v1/prices", PricesView.as_view(), name="gateway-prices"),
    re_path(r"^api/v1/prices/(?P<provider>[^/]+)/(?P<model>(?s:.+))$", PriceView.as_view(), name="gateway-price"),
    path("api/v1/spend", SpendView.as_view(), name="gateway-spend"),
    path("api/v1/spend/prompts", SpendPromptsView.as_view(), name="gateway-spend-prompts"),
    path("api/v1/openapi.json", openapi.document_view, name="openapi"),
    path("console/account/", include("allauth.urls")),
    path("console/", include("console.urls")),
    path("staff/", admin.site.urls),
    path("docs", openapi.docs_view, name="docs"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
    path("metrics", metrics_page.metrics, name="metrics"),
]
handler403 = "console.problems.forbidden"
handler404 = "console.problems.not_found"
handler429 = "console.problems.too_many_requests"  # allauth's, for its throttles
handler500 = "console.problems.server_error"
