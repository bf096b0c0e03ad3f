"""psycopg, as the worker processes use it."""
import zlib

import psycopg


class LockPlace:
    """A connection of its own at one advisory lock, which PostgreSQL grants in the order of asking."""

    def __init__(self, settings, name):
        self.connection = psycopg.connect(
            host="127.0.0.1", port=settings.port, user="postgres", dbname="postgres", autocommit=True)
        self.number = zlib.crc32(name.encode())

    def turn(self, inside):
        self.connection.execute("SELECT pg_advisory_lock(%s::bigint)", (self.number,), prepare=True)
        inside()
        released = self.connection.execute("SELECT pg_advisory_unlock(%s::bigint)", (self.number,), prepare=True)
        if not released.fetchone()[0]:
            raise RuntimeError("the lock to release was not held")


def open_place(settings, name):
    return LockPlace(settings, name)
