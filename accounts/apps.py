from django.apps import AppConfig
from django.conf import settings

from scopes.definitions import register_custom_scopes


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from accounts.hosting.account_hooks import connect

        register_custom_scopes(settings.HUB.custom_scopes)
        connect()
