"""Teachers: whatever answers a request. One small protocol; each kind is one module.

A teacher is handed one request at a time and may have `concurrency` of them in flight; batching, connections and
caches are its own affair. Nothing heavy is loaded before the first request, so a run whose attempts are all in the
ledger never loads a model.
"""
