"""Some walks of the random operator; `crash.test_model` has many more, with faults."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from lifecycle.machine import LifecycleMachine

TestLifecycleMachine = LifecycleMachine.TestCase
TestLifecycleMachine.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
