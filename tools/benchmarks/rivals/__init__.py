"""ZooKeeper, Redis and PostgreSQL, measured with the works that Berth and etcd are measured with.

Each is driven by its usual client and set so that a write is on the disk before it is answered. A measurement has a
fresh server with an empty data folder on a free loopback port; the machine's own services and their folders are never
touched. Figures come from a window of time that opens once the loops have warmed up.
"""
from .postgresql_server import PostgreSQL
from .redis_server import Redis
from .rival import Rival
from .server import Failed
from .zookeeper_server import ZooKeeper

RIVALS: dict[str, Rival] = {"zookeeper": ZooKeeper(), "redis": Redis(), "postgresql": PostgreSQL()}

__all__ = ["Failed", "RIVALS", "Rival"]
