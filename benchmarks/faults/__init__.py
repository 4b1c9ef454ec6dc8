"""What faults do to the line: a schedule drawn from a seed, the line under it, and what was lost or done twice.

`schedule` says what happens when, `traffic` what is sent and what it truly holds, `fleet` runs the roles,
`outside` is what stands around them and misbehaves, `progress` watches the positions, `reference` is the
uninterrupted run, in a process of its own, `compare` counts, `run` puts one seed together, and `broken`
is an engine with a defect, to show that one is caught.
"""
