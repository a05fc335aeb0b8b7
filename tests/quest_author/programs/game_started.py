def act(state):
    """START leaves the title; anything else there does nothing."""
    return "START" if state["screen"] == 0 else "A"
