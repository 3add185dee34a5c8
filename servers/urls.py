from __future__ import annotations

app_name = "servers"
urlpatterns: list = []
