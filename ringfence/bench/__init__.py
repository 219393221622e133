"""The benchmark: how many durable payments a second, beside what pgbench commits on the same server in the same minute.

``command`` is the command line, ``bench`` the order of a run, ``load`` the process that sends purchases, ``neighbour`` pgbench,
``verification`` the question asked afterwards whether every acknowledged payment is there exactly once.
"""
