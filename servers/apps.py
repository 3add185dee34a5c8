from django.apps import AppConfig


class ServersConfig(AppConfig):
    name = "servers"

    def ready(self) -> None:
        from accounts.actions import hindrances
        from accounts.rights import register_source
        from servers.actions import why_user_is_busy
        from servers.rights import read_shares, shared_with

        register_source(shared_with, read_shares)
        if why_user_is_busy not in hindrances:
            hindrances.append(why_user_is_busy)
