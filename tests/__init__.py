"""The tests lie in the same rooms as what they test; what several rooms need lies here."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The checkout."""
