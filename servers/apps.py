from django.apps import AppConfig


class ServersConfig(AppConfig):
    name = "servers"

    def ready(self) -> None:
        from accounts.actions import delete_blockers, pre_deactivate, pre_delete
        from accounts.adapter import post_login, post_logout
        from accounts.landing import landing_pages
        from accounts.rights import register_source
        from servers.actions import (
            know_default_server,
            stop_servers_at_sign_out,
            stop_servers_of,
            why_user_is_busy,
        )
        from servers.deletion import release_servers_of
        from servers.models import path_of_running
        from servers.rights import read_shares, shared_with_groups, shared_with_user
        from servers.suggestions import names_of_servers
        from tokens.suggestions import suggesters

        register_source(shared_with_user, read_shares)
        register_source(shared_with_groups, read_shares, sessions_only=True)
        delete_blockers.connect(why_user_is_busy)
        pre_deactivate.connect(stop_servers_of)
        pre_delete.connect(release_servers_of)
        post_logout.connect(stop_servers_at_sign_out)
        landing_pages.connect(path_of_running)
        post_login.connect(know_default_server)
        suggesters["server"] = names_of_servers
