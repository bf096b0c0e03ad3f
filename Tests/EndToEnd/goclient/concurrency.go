package main

import (
	"context"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
	"go.etcd.io/etcd/etcdserver/api/v3rpc/rpctypes"
)

func useLeases(ctx context.Context, client *clientv3.Client) error {
	lease, err := client.Grant(ctx, 3)
	if err != nil {
		return err
	}
	keys := []string{"a", "b"}
	for _, key := range keys {
		if _, err := client.Put(ctx, key, "value", clientv3.WithLease(lease.ID)); err != nil {
			return err
		}
	}
	kept, cancel := context.WithCancel(ctx)
	defer cancel()
	alive, err := client.KeepAlive(kept, lease.ID)
	if err != nil {
		return err
	}
	for i := 0; i < 4; i++ { // One each second: longer than the lease would live by itself.
		if answer, isOpen := <-alive; !isOpen || answer.TTL != 3 {
			return fmt.Errorf("keep-alive %d: %v", i, answer)
		}
	}
	about, err := client.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil {
		return err
	}
	all, err := client.Leases(ctx)
	if err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	for range alive { // Closed when the lease is found gone.
	}
	after, err := client.TimeToLive(ctx, lease.ID)
	if err != nil {
		return err
	}
	left, err := client.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	_, once := client.KeepAliveOnce(ctx, lease.ID)
	return first(
		expect(about.GrantedTTL == 3 && len(about.Keys) == 2, "about: %v", about),
		expect(len(all.Leases) == 1 && all.Leases[0].ID == lease.ID, "all: %v", all),
		expect(after.TTL == -1 && left.Count == 0, "after: %v, %v", after, left),
		expect(once == rpctypes.ErrLeaseNotFound, "once: %v", once),
	)
}

func letExpire(ctx context.Context, client *clientv3.Client) error {
	began := time.Now()
	lease, err := client.Grant(ctx, 2)
	if err != nil {
		return err
	}
	channel := client.Watch(ctx, "key", clientv3.WithRev(1))
	if _, err := client.Put(ctx, "key", "value", clientv3.WithLease(lease.ID)); err != nil {
		return err
	}
	events, err := collect(channel, 2)
	if err != nil {
		return err
	}
	took := time.Since(began)
	return first(
		expect(events[1].Type == clientv3.EventTypeDelete, "%v", events[1]),
		expect(took >= 2*time.Second, "the lease of 2 s ended after %v", took),
	)
}

func sessionEnds(ctx context.Context, client *clientv3.Client) error {
	session, err := concurrency.NewSession(client, concurrency.WithTTL(5))
	if err != nil {
		return err
	}
	if _, err := client.Put(ctx, "mine", "value", clientv3.WithLease(session.Lease())); err != nil {
		return err
	}
	if _, err := client.Revoke(ctx, session.Lease()); err != nil {
		return err
	}
	<-session.Done() // It learns that its lease is gone.
	other, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	about, err := client.TimeToLive(ctx, other.Lease())
	if err != nil {
		return err
	}
	if err := other.Close(); err != nil {
		return err
	}
	after, err := client.TimeToLive(ctx, other.Lease())
	if err != nil {
		return err
	}
	return expect(about.GrantedTTL == 60 && after.TTL == -1, "%v, %v", about, after)
}

// mutexCounts: workers with a session each add one to a plain key under a mutex; none is lost.
func mutexCounts(ctx context.Context, client *clientv3.Client) error {
	const workers, rounds = 8, 10
	errors := make(chan error, workers)
	work := func() error {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
		if err != nil {
			return err
		}
		defer session.Close()
		mutex := concurrency.NewMutex(session, "mutex")
		for i := 0; i < rounds; i++ {
			if err := mutex.Lock(ctx); err != nil {
				return err
			}
			got, err := client.Get(ctx, "counter")
			if err != nil {
				return err
			}
			count := 0
			if len(got.Kvs) > 0 {
				count, _ = strconv.Atoi(string(got.Kvs[0].Value))
			}
			fenced, err := client.Txn(ctx).If(mutex.IsOwner()).
				Then(clientv3.OpPut("counter", strconv.Itoa(count+1))).Commit()
			if err := first(err, expect(fenced != nil && fenced.Succeeded, "not the owner")); err != nil {
				return err
			}
			if err := mutex.Unlock(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	for i := 0; i < workers; i++ {
		go func() { errors <- work() }()
	}
	for i := 0; i < workers; i++ {
		if err := <-errors; err != nil {
			return err
		}
	}
	got, err := client.Get(ctx, "counter")
	if err != nil {
		return err
	}
	// One that gives up while it waits leaves nothing behind.
	holder, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer holder.Close()
	waiter, err := concurrency.NewSession(client)
	if err != nil {
		return err
	}
	defer waiter.Close()
	if err := concurrency.NewMutex(holder, "mutex").Lock(ctx); err != nil {
		return err
	}
	soon, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	gaveUp := concurrency.NewMutex(waiter, "mutex").Lock(soon)
	queue, err := client.Get(ctx, "mutex/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	return first(
		expect(string(got.Kvs[0].Value) == strconv.Itoa(workers*rounds), "counted %s", got.Kvs[0].Value),
		expect(gaveUp == context.DeadlineExceeded && queue.Count == 1, "gave up with %v, %d in line", gaveUp, queue.Count),
	)
}

func elect(ctx context.Context, client *clientv3.Client) error {
	candidate := func() (*concurrency.Session, *concurrency.Election, error) {
		session, err := concurrency.NewSession(client, concurrency.WithTTL(30))
		if err != nil {
			return nil, nil, err
		}
		return session, concurrency.NewElection(session, "election"), nil
	}
	session, one, err := candidate()
	if err != nil {
		return err
	}
	defer session.Close()
	otherSession, two, err := candidate()
	if err != nil {
		return err
	}
	defer otherSession.Close()
	_, none := one.Leader(ctx)
	seen := two.Observe(ctx)
	if err := one.Campaign(ctx, "one"); err != nil {
		return err
	}
	elected := <-seen
	if err := one.Proclaim(ctx, "one again"); err != nil {
		return err
	}
	again := <-seen
	won := make(chan error, 1)
	go func() { won <- two.Campaign(ctx, "two") }()
	for count := int64(0); count < 2; { // Both stand for it before the first resigns.
		got, err := client.Get(ctx, "election/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		count = got.Count
	}
	if err := one.Resign(ctx); err != nil {
		return err
	}
	if err := <-won; err != nil {
		return err
	}
	next := <-seen
	leader, err := two.Leader(ctx)
	if err != nil {
		return err
	}
	resumed := concurrency.ResumeElection(otherSession, "election", string(leader.Kvs[0].Key), leader.Kvs[0].CreateRevision)
	late := one.Proclaim(ctx, "too late")
	return first(
		expect(none == concurrency.ErrElectionNoLeader, "none: %v", none),
		expect(string(elected.Kvs[0].Value) == "one" && string(again.Kvs[0].Value) == "one again", "%v %v", elected, again),
		expect(string(next.Kvs[0].Value) == "two" && string(leader.Kvs[0].Value) == "two", "%v %v", next, leader),
		expect(late == concurrency.ErrElectionNotLeader, "late: %v", late),
		resumed.Proclaim(ctx, "resumed"),
		resumed.Resign(ctx),
	)
}

// moveMoney: software transactional memory at each level; no money is made or lost.
func moveMoney(ctx context.Context, client *clientv3.Client) error {
	const accounts, workers, moves = 5, 6, 15
	account := func(i int) string { return fmt.Sprintf("account/%d", i) }
	for i := 0; i < accounts; i++ {
		if _, err := client.Put(ctx, account(i), "100"); err != nil {
			return err
		}
	}
	levels := []concurrency.Isolation{
		concurrency.SerializableSnapshot, concurrency.Serializable, concurrency.RepeatableReads,
	}
	var wait sync.WaitGroup
	errors := make(chan error, workers)
	for worker := 0; worker < workers; worker++ {
		wait.Add(1)
		go func(worker int) {
			defer wait.Done()
			random := rand.New(rand.NewSource(int64(worker)))
			for i := 0; i < moves; i++ {
				from, to := account(random.Intn(accounts)), account(random.Intn(accounts))
				if from == to {
					continue
				}
				_, err := concurrency.NewSTM(client, func(stm concurrency.STM) error {
					left, _ := strconv.Atoi(stm.Get(from))
					right, _ := strconv.Atoi(stm.Get(to))
					amount := left / 2
					stm.Put(from, strconv.Itoa(left-amount))
					stm.Put(to, strconv.Itoa(right+amount))
					return nil
				}, concurrency.WithAbortContext(ctx), concurrency.WithIsolation(levels[worker%len(levels)]))
				if err != nil {
					errors <- err
					return
				}
			}
			errors <- nil
		}(worker)
	}
	wait.Wait()
	close(errors)
	for err := range errors {
		if err != nil {
			return err
		}
	}
	all, err := client.Get(ctx, "account/", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	sum := 0
	for _, kv := range all.Kvs {
		value, _ := strconv.Atoi(string(kv.Value))
		sum += value
	}
	return expect(sum == accounts*100, "%d left of %d", sum, accounts*100)
}
