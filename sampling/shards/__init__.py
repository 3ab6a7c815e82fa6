"""One run on several processes or machines: its tasks in shards, each with a worker and a ledger.

    core = ShardedCore(Shards(4), job, run_ledger, prompt=…, meter=…)      # in the place of a Core
    await core.run(tasks, outcomes.append)

A worker runs the ordinary core on the tasks of its shard, through a ledger in `shards/<n>/` of the run's folder. When
all have ended, their ledgers are added to the run's, and the ordinary core goes over all tasks once more, with every
answer on record: so the outcomes, and all that follows from them, are those of one process.
"""
