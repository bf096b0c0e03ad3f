"""redis-py, as the worker processes use it."""
import redis

HELD_SECONDS = 60  # Redis drops a lock after that, as a lease would.
LOCK_SECONDS = 30


class LockPlace:
    """A connection of its own at one lock of redis-py's recipe, with the recipe's own pause between attempts."""

    def __init__(self, settings, name):
        client = redis.Redis(host="127.0.0.1", port=settings.port, single_connection_client=True)
        self.lock = client.lock(name, timeout=HELD_SECONDS, blocking_timeout=LOCK_SECONDS)

    def turn(self, inside):
        if not self.lock.acquire():
            raise TimeoutError(f"no lock within {LOCK_SECONDS} s")
        inside()
        self.lock.release()


def open_place(settings, name):
    return LockPlace(settings, name)
