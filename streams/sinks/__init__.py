"""Where results leave for: storage, metrics and people. One file a destination.

A sink takes rows or messages that are already decided; it retries what is temporary and raises what is not.
"""
