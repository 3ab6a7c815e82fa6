"""Runs code that a model wrote, with limits, and on Linux without a network and without the user's files.

`worker.py` is the process that serves, `running.py` one run in it, `namespaces.py` what takes the network and the
files away, `harness.py` the script that runs an answer's code with the tests. What is prevented, and what is not:

                                        namespaces                          none
    network                             none, not even loopback             open
    files of the user                   not there; system and Python        open, with the user's rights
                                        are read-only
    own files                           in memory, `files_mb` in all        in a temporary folder, `files_mb` a file
    other processes                     not visible                         visible; the user's own can be killed
    environment                         no keys                             no keys, but they can be read elsewhere
    processes, memory, time             limited, all are killed             limited, all that can be found are killed

In both, memory is limited by process by the kernel, and in all by a look every 50 ms. System calls are not filtered:
a hole in the kernel is a way out. Code that was written against the harness can claim that its tests passed, since it
runs in the same process as they do.
"""
