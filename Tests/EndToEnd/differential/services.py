"""The part of a run that is about etcd's Lock and Election services, cluster and maintenance calls, and health."""

from harness.api import pb

LINES = [b"lock/a", b"lock/b", b"", b"key/", b"\0line"]


class ServiceOperations:
    def line_lease(self):
        """A lease whose id both know, or one that does not exist."""
        known = sorted(self.draw.leases - self.draw.picked)
        return self.draw.random.choice(known) if known and self.draw.chance(0.95) else 4242

    def do_lock(self):
        """A free lock, taken and let go, or taken twice by the same lease. Nobody else is in line."""
        request = pb.LockRequest(name=self.draw.random.choice(LINES), lease=self.line_lease())
        root = self.root_caller()
        if not self.line_is_free(request.name):
            return
        answer = self.both("lock.Lock", request, root)
        if isinstance(answer, tuple):
            return
        if self.draw.chance(0.3):
            self.both("lock.Lock", request, root)
        self.both("lock.Unlock", pb.UnlockRequest(key=answer.key), root)
        if self.draw.chance(0.1):
            self.both("lock.Unlock", pb.UnlockRequest(key=self.draw.random.choice([b"", b"no such key"])), root)

    def line_is_free(self, name):
        """Other operations may have put keys under the line's prefix, behind which a call would wait for ever."""
        prefix = name + b"/"
        found = self.both("kv.Range", pb.RangeRequest(key=prefix, range_end=name + b"0"), self.root_caller())
        return not isinstance(found, tuple) and found.count == 0

    def do_election(self):
        name, lease = self.draw.random.choice(LINES), self.line_lease()
        root = self.root_caller()
        if not self.line_is_free(name):
            return
        if self.draw.chance(0.3):
            self.both("election.Leader", pb.LeaderRequest(name=name), root)
        answer = self.both("election.Campaign", pb.CampaignRequest(name=name, lease=lease, value=b"one"), root)
        if isinstance(answer, tuple):
            return
        leader = answer.leader
        wrong = pb.LeaderKey(name=leader.name, key=leader.key, rev=leader.rev + 1, lease=leader.lease)
        for _ in range(self.draw.random.randint(0, 4)):
            draw = self.draw.random.randrange(7)
            if draw == 0:
                self.both("election.Campaign", pb.CampaignRequest(name=name, lease=lease, value=b"two"), root)
            elif draw == 1:
                self.both("election.Proclaim", pb.ProclaimRequest(leader=leader, value=b"three"), root)
            elif draw == 2:
                self.both("election.Proclaim", pb.ProclaimRequest(leader=wrong, value=b"four"), root)
            elif draw == 3:
                self.both("election.Proclaim", pb.ProclaimRequest(value=b"five"), root)
            elif draw == 4:
                self.both("election.Resign", pb.ResignRequest(leader=wrong), root)
            elif draw == 5:
                self.both("election.Resign", pb.ResignRequest(), root)
            else:
                self.both("election.Leader", pb.LeaderRequest(name=name), root)
        self.both("election.Resign", pb.ResignRequest(leader=leader), root)

    def do_maintenance(self):
        """Calls on which two members that are alone must agree, allowed and refused."""
        draw = self.draw.random.randrange(8)
        if draw == 0 and not self.rules.alarm_without_header:
            self.both("maintenance.Alarm", pb.AlarmRequest(action=self.draw.random.choice([0, 2]), alarm=2), self.root_caller())
        elif draw == 1:
            self.both("maintenance.MoveLeader", pb.MoveLeaderRequest(targetID=4242))
        elif draw == 2:
            self.both("maintenance.Defragment", pb.DefragmentRequest())
        elif draw == 3 and not self.rules.lacks_downgrade:
            version = self.draw.random.choice(["", "x", "3", "3.5.0", "3.6.0", "2.0.0", "3.5.0.1"])
            self.both("maintenance.Downgrade", pb.DowngradeRequest(action=0, version=version))
        elif draw == 4 and not self.rules.lacks_downgrade:
            self.both("maintenance.Downgrade", pb.DowngradeRequest(action=self.draw.random.choice([2, 7])))
        elif draw == 5:
            self.both("cluster.MemberRemove", pb.MemberRemoveRequest(ID=4242))
        elif draw == 6:
            self.both("cluster.MemberPromote", pb.MemberPromoteRequest(ID=4242))
        else:
            urls = self.draw.random.choice([[], ["not a url"], [""]])
            self.both("cluster.MemberAdd", pb.MemberAddRequest(peerURLs=urls), self.root_caller())

    def do_health(self):
        service = self.draw.random.choice(["", "nothing"])  # Berth knows its services by name too, etcd does not.
        self.both("health.Check", pb.HealthCheckRequest(service=service))
