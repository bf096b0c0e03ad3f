"""The differential test: one random sequence of requests goes to Berth and to etcd, and every answer must be equal.

`generator` draws requests from a seed, `side` sends them to one server, `watches` knows which events each watch must
have seen, `normalise` holds everything that may differ and why, `run` puts them together. It knows nothing about how an
answer comes to be: etcd is the only authority.
"""
