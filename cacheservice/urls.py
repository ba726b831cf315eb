"""Every route. Paths have no trailing slash; keys may contain slashes."""

from django.urls import path, re_path

from billing.invoice_views import InvoicePreviewView, InvoicesView, InvoiceView
from billing.usage_views import AccountView, TopEntriesView, UsageView
from cacheservice import openapi, views
from cacheservice.entries.views import BatchView, CollectionView, ItemView

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
    path("api/v1/openapi.json", openapi.document_view, name="openapi"),
    path("docs", openapi.docs_view, name="docs"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
handler404 = views.not_found
handler500 = views.server_error
