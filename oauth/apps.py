from django.apps import AppConfig


class OauthConfig(AppConfig):
    name = "oauth"
    verbose_name = "OAuth"

    def ready(self) -> None:
        from oauth.actions import follow_service, leave_service
        from oauth.clients import column, read_clients
        from services.actions import post_create, pre_delete
        from tokens import clients

        clients.register(read_clients, column)
        post_create.connect(follow_service)
        pre_delete.connect(leave_service)
