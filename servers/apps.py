from django.apps import AppConfig


class ServersConfig(AppConfig):
    name = "servers"

    def ready(self) -> None:
        from accounts.actions import closings, departures, hindrances
        from accounts.adapter import running_places, signings_in, signings_out
        from accounts.rights import register_source
        from servers.actions import (
            know_default_server,
            stop_servers_at_sign_out,
            stop_servers_of,
            why_user_is_busy,
        )
        from servers.deletion import release_servers_of
        from servers.models import path_of_running
        from servers.rights import (
            NOT_OF_A_SERVER,
            read_shares,
            shared_with_groups,
            shared_with_user,
        )
        from tokens.actions import tokens_apart

        register_source(shared_with_user, read_shares)
        register_source(shared_with_groups, read_shares, sessions_only=True)
        if why_user_is_busy not in hindrances:
            hindrances.append(why_user_is_busy)
            closings.append(stop_servers_of)
            departures.append(release_servers_of)
            signings_out.append(stop_servers_at_sign_out)
            running_places.append(path_of_running)
            signings_in.append(know_default_server)
            tokens_apart.append(NOT_OF_A_SERVER)
