"""How long from an event to the verdict, the page and the Slack message, above the end of its window.

`traffic` sends rows at a steady pace in event time that runs faster than the clock, `line` runs the roles,
`heard` notes when results, events of the page and messages arrive, `logging` times the client's `log`.
"""
