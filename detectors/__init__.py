"""Rows become counts and counts become verdicts.

Pure: no I/O, no clock, no logging, no global random state; time is an argument.
"""
