"""The broker and the store of the demo, of laptops and of tests, each in a process of its own.

Nothing here is for production: the broker keeps little and forgets all of it when it stops.
"""
