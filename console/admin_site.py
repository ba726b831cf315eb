"""Puts our own site in the place of Django's admin. Loaded before the models; the site itself is `staff_site.py`."""

from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class AdminConfig(DjangoAdminConfig):
    default_site = "console.staff_site.AdminSite"
