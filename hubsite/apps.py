from django.apps import AppConfig
from django.contrib.admin import apps as admin


class HubsiteConfig(AppConfig):
    name = "hubsite"
    default = True


class HubAdminConfig(admin.AdminConfig):
    """Django's admin, on our site."""

    default_site = "hubsite.admin.HubAdminSite"
    default = False
