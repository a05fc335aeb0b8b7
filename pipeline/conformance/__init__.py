"""Tests of an expert, an agent or an executor of one's own, as classes for pytest.

A class that inherits one of these and says how one is made has all its tests::

    from pipeline.conformance import ExpertConformance

    class TestMyExpert(ExpertConformance):
        buttons = 10

        def make(self):
            return MyExpert()

        def questions(self):
            return Questions({"x": np.arange(5, dtype=np.int16)}, count=5)

The contracts themselves stand in `pipeline.experts.protocol.Expert`,
`pipeline.agents.protocol.Actor` and `concurrent.futures.Executor`; each test is named after what
must hold. The pipeline's own are held to them by ``tests/conformance``.
"""

from pipeline.conformance.agent import AgentConformance
from pipeline.conformance.executor import ExecutorConformance
from pipeline.conformance.expert import ExpertConformance

__all__ = ["AgentConformance", "ExecutorConformance", "ExpertConformance"]
