from django.apps import AppConfig


class ServersConfig(AppConfig):
    name = "servers"

    def ready(self) -> None:
        from accounts.actions import hindrances
        from accounts.rights import register_source
        from servers.actions import why_user_is_busy
        from servers.rights import read_shares, shared_with_groups, shared_with_user

        register_source(shared_with_user, read_shares)
        register_source(shared_with_groups, read_shares, sessions_only=True)
        if why_user_is_busy not in hindrances:
            hindrances.append(why_user_is_busy)
