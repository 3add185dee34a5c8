from django.apps import AppConfig


class OauthConfig(AppConfig):
    name = "oauth"
    verbose_name = "OAuth"

    def ready(self) -> None:
        from oauth.actions import create_client, delete_client
        from oauth.clients import column, read_clients
        from services.actions import post_create, pre_delete
        from tokens import clients

        clients.register(read_clients, column)
        post_create.connect(create_client)
        pre_delete.connect(delete_client)
