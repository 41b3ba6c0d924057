"""Media looked at on the nodes of a Ray cluster, for one run of indexing (extra ``[ray]``).

``seer`` is what the flow knows: the seam of ``index_seeing``, in the process that holds ledger and
stores. It starts ``conductor``, a process of its own in which alone Ray is loaded, and which hands
groups of media to the actors of Ray Data: those are ``worker``, on the nodes. What goes between
them stands in ``orders``.
"""
