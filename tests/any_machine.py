"""Hypothesis without its limits of real time, which fail on a busy machine.

`given` reads the settings when it decorates a test, so it is imported from here.
"""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

settings.register_profile("any machine", deadline=None,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

__all__ = ["given"]
