"""One file per verb of the command line: the one place that puts training and analysis together.

``unknot VERB ...`` runs ``main(argv)`` of the module of that name; modules with a leading underscore are shared.
"""
