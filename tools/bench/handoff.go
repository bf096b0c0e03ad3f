package main

import (
	"context"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3/concurrency"
)

// handoffState watches the locks of a run from outside: who holds, and when the last holder let go.
type handoffState struct {
	mutex      sync.Mutex
	counters   []int64 // holders of each lock; more than one is the server's fault
	releasedAt int64   // atomic; nanoseconds since started, of the last release
	started    time.Time
}

func (h *handoffState) holders(lock, locks int) *int64 {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.counters == nil {
		h.counters, h.started = make([]int64, locks), time.Now()
	}
	return &h.counters[lock]
}

func (r *run) enter(holders *int64) {
	if atomic.AddInt64(holders, 1) != 1 {
		atomic.AddInt64(&r.heldAtOnce, 1)
	}
}

func (r *run) leave(holders *int64) { atomic.AddInt64(holders, -1) }

// openHandoff queues all loops for one lock and measures from the moment a holder asks to release it to the moment
// the next one in line is told that it holds.
func openHandoff(ctx context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	session, end, err := openSession(ctx, o, loop)
	if err != nil {
		return nil, nil, err
	}
	mutex := concurrency.NewMutex(session, "bench-lock/handoff")
	holders := r.handoff.holders(0, 1)
	return func(ctx context.Context) (time.Duration, error) {
		asked := time.Since(r.handoff.started)
		if err := mutex.Lock(ctx); err != nil {
			return 0, err
		}
		got := time.Since(r.handoff.started)
		// A lock that was free when it was asked for shows no handoff; the whole acquisition counts then.
		from := asked
		if released := time.Duration(atomic.LoadInt64(&r.handoff.releasedAt)); released > asked {
			from = released
		}
		r.enter(holders)
		r.leave(holders)
		atomic.StoreInt64(&r.handoff.releasedAt, int64(time.Since(r.handoff.started)))
		return got - from, mutex.Unlock(ctx)
	}, end, nil
}
