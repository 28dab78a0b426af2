"""The constants on which every backend agrees."""

NORM_FLOOR = 1e-12
"""Smallest divisor when rows and columns are normalised."""

CANCELLATION = 0.03
"""The product form |q|² + |k|² - 2 q·k loses digits when it is small beside |q|² + |k|².

Where its share falls below this, the distance is taken again from differences: about 5 of 24 bits may go, no more.
"""

TIE_ULPS = 2
"""Distances that differ by no more than so many units of their rounding tie for an extremum.

The definition compares distances for equality. Two forms of one distance differ in their last bits, so that equal
distances, those of repeated tokens say, are recognised only with some room.
"""
