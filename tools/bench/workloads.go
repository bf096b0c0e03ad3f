package main

import (
	"context"
	"fmt"
	"math/rand"
	"strings"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// leaseSeconds outlives any run, so that no lease expires under a workload's feet.
const leaseSeconds = 120

var workloads = map[string]workload{
	"put":              {about: "put a value under a random key", open: openPut},
	"put-json":         {about: "the same over the JSON gateway, on HTTP/1.1", open: openPutJSON},
	"get":              {about: "linearizable get of a random key", prepare: fillKeys, open: openGet()},
	"get-serializable": {about: "serializable get", prepare: fillKeys, open: openGet(clientv3.WithSerializable())},
	"txn":              {about: "compare a key's revision and swap its value", open: openTxn, finish: finishTxn},
	"lease":            {about: "grant a lease and revoke it", open: openLease},
	"lock":             {about: "take a lock and give it back", open: openLock, finish: finishLocks},
	"handoff":          {about: "time from release to the next holder", open: openHandoff, finish: finishLocks},
	"watch":            {about: "time from put to each watcher", prepare: openWatchers, open: openWatched, finish: finishWatch},
	"health":           {about: "an empty unary call", open: openHealth},
}

func keyName(i int) string { return fmt.Sprintf("bench/%08d", i) }

// timed measures an operation from its start to its answer.
func timed(act func(ctx context.Context) error) operation {
	return func(ctx context.Context) (time.Duration, error) {
		started := time.Now()
		err := act(ctx)
		return time.Since(started), err
	}
}

func randomValue(random *rand.Rand, size int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789"
	var text strings.Builder
	for i := 0; i < size; i++ {
		text.WriteByte(letters[random.Intn(len(letters))])
	}
	return text.String()
}

func openPut(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client, value := o.client(loop), randomValue(random, o.valueSize)
	return timed(func(ctx context.Context) error {
		_, err := client.Put(ctx, keyName(random.Intn(o.keys)), value)
		return err
	}), nil, nil
}

// fillKeys writes the whole key space once, so that every get finds its key.
func fillKeys(ctx context.Context, o *options, r *run) error {
	client := o.connections[0]
	found, err := client.Get(ctx, "bench/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || found.Count >= int64(o.keys) {
		return err
	}
	value := randomValue(rand.New(rand.NewSource(0)), o.valueSize)
	for next := 0; next < o.keys; {
		var puts []clientv3.Op
		for ; next < o.keys && len(puts) < 100; next++ {
			puts = append(puts, clientv3.OpPut(keyName(next), value))
		}
		if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return err
		}
	}
	// etcd 3.4 copies, for every read, a buffer as large as its last batch of key writes, until a commit without
	// any key in it. To measure reads and not that, give it such commits: leases, further apart than its batches.
	for i := 0; i < 3; i++ {
		time.Sleep(200 * time.Millisecond)
		lease, err := client.Grant(ctx, leaseSeconds)
		if err != nil {
			return err
		}
		if _, err := client.Revoke(ctx, lease.ID); err != nil {
			return err
		}
	}
	return nil
}

func openGet(opts ...clientv3.OpOption) func(
	context.Context, *options, int, *rand.Rand, *run) (operation, func(), error) {
	return func(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
		client := o.client(loop)
		return timed(func(ctx context.Context) error {
			answer, err := client.Get(ctx, keyName(random.Intn(o.keys)), opts...)
			if err == nil && len(answer.Kvs) != 1 {
				return fmt.Errorf("expected 1 key, got %d", len(answer.Kvs))
			}
			return err
		}), nil, nil
	}
}

func openTxn(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client, value := o.client(loop), randomValue(random, o.valueSize)
	known := map[string]int64{}
	return timed(func(ctx context.Context) error {
		key := keyName(random.Intn(o.keys))
		answer, err := client.Txn(ctx).
			If(clientv3.Compare(clientv3.ModRevision(key), "=", known[key])).
			Then(clientv3.OpPut(key, value)).
			Else(clientv3.OpGet(key)).Commit()
		if err != nil {
			return err
		}
		if answer.Succeeded {
			known[key] = answer.Header.Revision
			return nil
		}
		atomic.AddInt64(&r.conflicts, 1)
		kvs := answer.Responses[0].GetResponseRange().Kvs
		if len(kvs) != 1 || kvs[0].ModRevision == known[key] {
			return fmt.Errorf("a compare failed though the key stands at the compared revision")
		}
		known[key] = kvs[0].ModRevision
		return nil
	}), nil, nil
}

func finishTxn(_ context.Context, _ *options, r *run) (map[string]int64, error) {
	return map[string]int64{"conflicts": atomic.LoadInt64(&r.conflicts)}, nil
}

func openLease(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client := o.client(loop)
	return timed(func(ctx context.Context) error {
		lease, err := client.Grant(ctx, leaseSeconds)
		if err != nil {
			return err
		}
		_, err = client.Revoke(ctx, lease.ID)
		return err
	}), nil, nil
}

// openHealth asks for the server's health: the least that a unary call can do.
func openHealth(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	health := grpc_health_v1.NewHealthClient(o.client(loop).ActiveConnection())
	return timed(func(ctx context.Context) error {
		_, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}), nil, nil
}
