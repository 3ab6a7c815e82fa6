"""Processes that can be killed: for work that may hang, fill the memory or crash, such as a formula or code of the
user's. Each question has its limits, and a process that breaks them costs one question.

`child.py` is the process itself, `process.py` one process as its owner sees it, `pool.py` several of them.
"""
