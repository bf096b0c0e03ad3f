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

var workloads = map[string]workload{
	"put":              {about: "put a value under a random key", open: openPut, revisions: everyOne},
	"put-json":         {about: "the same over the JSON gateway, on HTTP/1.1", open: openPutJSON, revisions: everyOne},
	"get":              {about: "linearizable get of a random key", prepare: fillKeys, open: openGet(), revisions: none},
	"get-serializable": {about: "serializable get", prepare: fillKeys, open: openGet(clientv3.WithSerializable()), revisions: none},
	"range":            {about: "linearizable get of -span neighbouring keys", prepare: fillKeys, open: openRange, revisions: none},
	"mix":              {about: "seven gets to three puts", prepare: fillKeys, open: openMix, revisions: writesOnly},
	"txn":              {about: "compare a key's revision and swap its value", open: openTxn, finish: finishTxn, revisions: swapsOnly},
	"lease":            {about: "grant a lease and revoke it", open: openLease, revisions: none},
	"keep-alive":       {about: "keep -leases alive, a stream for each loop", prepare: grantLeases, open: openKeepAlive, revisions: none},
	"lock":             {about: "take a lock and give it back", open: openLock, finish: finishLocks},
	"handoff":          {about: "time from release to the next holder", open: openHandoff, finish: finishLocks},
	"watch":            {about: "time from put to each watcher", prepare: openWatchers, open: openWatched, finish: finishWatch, revisions: everyOne},
	"watch-idle":       {about: "put while watchers watch other keys", prepare: openIdleWatchers, open: openPut, finish: finishIdle, revisions: everyOne},
	"health":           {about: "an empty unary call", open: openHealth, revisions: none},
}

func everyOne(r *run) int64 { return atomic.LoadInt64(&r.total) }

func none(*run) int64 { return 0 }

func writesOnly(r *run) int64 { return atomic.LoadInt64(&r.writes) }

func swapsOnly(r *run) int64 { return atomic.LoadInt64(&r.total) - atomic.LoadInt64(&r.conflicts) }

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

// openRange reads -span keys from a random one on.
func openRange(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client := o.client(loop)
	return timed(func(ctx context.Context) error {
		first := random.Intn(o.keys - o.span + 1)
		answer, err := client.Get(ctx, keyName(first), clientv3.WithRange(keyName(first+o.span)))
		if err == nil && (len(answer.Kvs) != o.span || string(answer.Kvs[o.span-1].Key) != keyName(first+o.span-1)) {
			return fmt.Errorf("expected %d keys from %s on, got %d", o.span, keyName(first), len(answer.Kvs))
		}
		return err
	}), nil, nil
}

// openMix reads seven times in ten and else writes.
func openMix(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client, value := o.client(loop), randomValue(random, o.valueSize)
	return timed(func(ctx context.Context) error {
		key := keyName(random.Intn(o.keys))
		if random.Intn(10) < 3 {
			_, err := client.Put(ctx, key, value)
			if err == nil {
				atomic.AddInt64(&r.writes, 1)
			}
			return err
		}
		answer, err := client.Get(ctx, key)
		if err == nil && len(answer.Kvs) != 1 {
			return fmt.Errorf("expected 1 key, got %d", len(answer.Kvs))
		}
		return err
	}), nil, nil
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

// openHealth asks for the server's health: the least that a unary call can do.
func openHealth(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	health := grpc_health_v1.NewHealthClient(o.client(loop).ActiveConnection())
	return timed(func(ctx context.Context) error {
		_, err := health.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}), nil, nil
}
