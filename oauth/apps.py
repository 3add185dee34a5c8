from django.apps import AppConfig


class OauthConfig(AppConfig):
    name = "oauth"
    verbose_name = "OAuth"

    def ready(self) -> None:
        from oauth.actions import follow_service, leave_service
        from oauth.clients import column, read_clients
        from services.actions import arrivals, departures
        from tokens import clients

        clients.register(read_clients, column)
        if follow_service not in arrivals:
            arrivals.append(follow_service)
        if leave_service not in departures:
            departures.append(leave_service)
