"""The page: models, features, distributions and alerts, live by server-sent events.

`server.create_app` builds it; `live.Hub` is where results enter; `history.History` is what it reads of the past.
"""
