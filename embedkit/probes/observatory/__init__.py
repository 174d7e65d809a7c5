"""Eight properties that vectors of tables may have, each measured beside what chance gives: the Observatory.

One function a property, each from an encoder and data to a `Finding`.
"""
