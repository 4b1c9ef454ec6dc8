"""Rows a second through one worker with everything on, beside what is possible and what others do.

`traffic` makes the events, `worker` runs and watches a process, `floors` are plain consumers of the
same topic, `stock` is a Faust agent as its documentation would have it, `run` puts them in one minute.
"""
