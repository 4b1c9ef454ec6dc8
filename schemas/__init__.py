"""What crosses a boundary: messages, topics and their encodings.

Pure data and codecs; imports nothing of ours. `detectors` and `streams` build on it.
"""
