"""Imitation learning from pixels on the real mGBA emulator.

Importing it registers the games as Gymnasium environments (``GBA/quest-v0``) and nothing else:
neither the emulator nor torch is loaded.
"""

from pipeline.emulator.registration import register_games

register_games()
