package main

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"
)

// line watches one lock of a run from outside: who holds, when the last holder let go, and whether grants follow the
// order of the places.
type line struct {
	holders    int64 // atomic; more than one is the server's fault
	releasedAt int64 // atomic; nanoseconds since the run's start, of the last release
	newest     int64 // atomic; the greatest token seen
}

// handoffState is what the loops of a run know of their locks.
type handoffState struct {
	mutex      sync.Mutex
	lines      map[string]*line
	started    time.Time
	heldAtOnce int64 // atomic; times two loops held one lock
	disordered int64 // atomic; grants of a place that came before one granted earlier
}

func (h *handoffState) line(name string) *line {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if h.lines == nil {
		h.lines, h.started = map[string]*line{}, time.Now()
	}
	if h.lines[name] == nil {
		h.lines[name] = &line{}
	}
	return h.lines[name]
}

func (h *handoffState) enter(l *line, token int64) {
	if atomic.AddInt64(&l.holders, 1) != 1 {
		atomic.AddInt64(&h.heldAtOnce, 1)
	}
	if token != 0 && atomic.SwapInt64(&l.newest, token) >= token {
		atomic.AddInt64(&h.disordered, 1)
	}
}

func (h *handoffState) leave(l *line) { atomic.AddInt64(&l.holders, -1) }

// openLock takes a lock and gives it back; loops share as many locks as the flags say.
func openLock(ctx context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	name := fmt.Sprintf("bench-lock/%d", loop%o.locks)
	place, end, err := openPlace(ctx, o, loop, name)
	if err != nil {
		return nil, nil, err
	}
	seen := r.handoff.line(name)
	return timed(func(ctx context.Context) error {
		token, err := place.take(ctx)
		if err != nil {
			return err
		}
		r.handoff.enter(seen, token)
		r.handoff.leave(seen)
		return place.give(ctx)
	}), end, nil
}

// openHandoff queues all loops in one line and measures from the moment a holder asks to release it to the moment
// the next one in line is told that it holds.
func openHandoff(ctx context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	const name = "bench-lock/handoff"
	place, end, err := openPlace(ctx, o, loop, name)
	if err != nil {
		return nil, nil, err
	}
	seen := r.handoff.line(name)
	return func(ctx context.Context) (time.Duration, error) {
		asked := time.Since(r.handoff.started)
		token, err := place.take(ctx)
		if err != nil {
			return 0, err
		}
		got := time.Since(r.handoff.started)
		// A lock that was free when it was asked for shows no handoff; the whole acquisition counts then.
		from := asked
		if released := time.Duration(atomic.LoadInt64(&seen.releasedAt)); released > asked {
			from = released
		}
		r.handoff.enter(seen, token)
		r.handoff.leave(seen)
		atomic.StoreInt64(&seen.releasedAt, int64(time.Since(r.handoff.started)))
		return got - from, place.give(ctx)
	}, end, nil
}

func finishLocks(_ context.Context, o *options, r *run) (map[string]int64, error) {
	if n := atomic.LoadInt64(&r.handoff.heldAtOnce); n > 0 {
		return nil, fmt.Errorf("two loops held one lock at the same time, %d times", n)
	}
	if n := atomic.LoadInt64(&r.handoff.disordered); n > 0 {
		return nil, fmt.Errorf("%d grants went to a place that stood before one granted earlier", n)
	}
	return map[string]int64{"locks": int64(len(r.handoff.lines))}, nil
}
