"""Constants on which every backend agrees."""

NORM_FLOOR = 1e-12
"""Smallest divisor when rows and columns are normalized."""

CANCELLATION = 0.003
"""Smallest ratio of |q - k|² to |q|² + |k|² at which the product form |q|² + |k|² - 2 q·k is accurate enough.

Below it, more than about 8 of 24 bits cancel, and the distance is computed from differences instead.
"""

TIE_ULPS = 2
"""Distances that differ by at most this many units in the last place tie for an extremum.

The definition compares distances for equality. Two ways to compute one distance differ in the last bits, so equal
distances (of repeated tokens, for example) are found only with a tolerance.
"""
