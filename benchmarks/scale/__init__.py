"""Many models and many features on one worker: memory, pauses, and the end of a window of all of them."""
