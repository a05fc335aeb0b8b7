"""For mypy alone: changes of settings that it must refuse, and one that it must not.

Were one of them no error any more, its ``ignore`` would be one (``strict`` warns of unused ones).
"""

from __future__ import annotations

from pipeline.settings.changing import change
from pipeline.settings.fields import Collect, Evaluate, Settings, Train

settings = Settings()

change(settings, "other", train=Train(steps=5), evaluate=Evaluate(checkpoint=None, mode="argmax"))

change(settings, evaluate=Evaluate(checkpont="final.pt"))  # type: ignore[call-arg]
change(settings, evaluate=Evaluate(episodes="many"))  # type: ignore[arg-type]
change(settings, evaluate=Evaluate(mode="likeliest"))  # type: ignore[arg-type]
change(settings, evaluate=Collect(episodes=5))  # type: ignore[arg-type]
change(settings, evaluate={"episodes": 5})  # type: ignore[arg-type]
change(settings, train=Train(steps=None))  # type: ignore[arg-type]
change(settings, training=Train(steps=5))  # type: ignore[call-arg]
change(settings, subtask="left_home")  # type: ignore[arg-type]
