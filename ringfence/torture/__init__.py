"""The torture suite: payments over HTTP while processes die, and afterwards three witnesses who must agree.

``command`` is the command line, ``trial`` the order of a run, ``load`` the merchants' clients and ``shops`` what they do, ``receiver``
where they are told, ``service`` the sandbox that is tortured, ``killer`` who dies and when, ``judge`` the verdict, ``tally`` what many
runs add up to, ``report`` what is printed.
"""
