"""Processes that can be killed: for work that may hang, fill the memory or crash, such as a formula or code of the
user's. Each question has its limits, and a process that breaks them costs one question.

`child.py` is the process itself, `code.py` one that runs code of the user's, `pool.py` what their owner sees.
"""
