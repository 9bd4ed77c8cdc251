"""Runs language models on this computer without any other program installed.

core/providers/local.py is its only user in the program. `process` finds or starts an engine and
`keeper` is the process it starts; `models` lists model files and `download` downloads them
(`package` through pip); `machine` checks this computer's abilities; `tiny` computes a toy model.
"""
