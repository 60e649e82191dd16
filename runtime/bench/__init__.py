"""Speed and memory of a bundle on this machine: the engine behind `embed bench`.

Everything is measured in fresh worker processes, one per contestant, that take turns: a slow
moment of the machine then hits all of them, and start-up and memory belong to one model only.
"""
