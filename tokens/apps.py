from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class TokensConfig(AppConfig):
    name = "tokens"

    def ready(self) -> None:
        from django.contrib.admin import site

        autodiscover_modules("policy_admin", "request_admin", register_to=site)
