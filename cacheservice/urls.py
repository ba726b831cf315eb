"""Every route. Paths have no trailing slash; keys may contain slashes."""

from django.urls import path

from cacheservice import views
from cacheservice.entries.views import BatchView, CollectionView, ItemView

urlpatterns = [
    path("api/v1/cache", CollectionView.as_view(), name="collection"),
    path("api/v1/cache/", ItemView.as_view(), name="item-without-key"),
    path("api/v1/cache/<path:key>", ItemView.as_view(), name="item"),
    path("api/v1/batch", BatchView.as_view(), name="batch"),
    path("healthz", views.healthz, name="healthz"),
    path("readyz", views.readyz, name="readyz"),
]
handler404 = views.not_found
handler500 = views.server_error
