package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of the waiters run. settleTime lets a server write out and free what the rush of arrivals left behind;
// quietTime is how long a second waiter is given to be woken by mistake.
const (
	settleTime     = 3 * time.Second
	quietTime      = 300 * time.Millisecond
	releasesTried  = 20
	openedAtOnce   = 64
	waitersTooMany = 100_000
)

// waiters puts -count clients in line behind a holder and reports what the server's memory grew by, and how many
// waiters each of some releases woke. It fails when a release wakes none, or more than one.
func (o *options) waiters(ctx context.Context) (*result, error) {
	const name = "bench-lock/waiters"
	if o.count < releasesTried || o.count > waitersTooMany {
		return nil, fmt.Errorf("-count must be %d to %d", releasesTried, waitersTooMany)
	}
	// What comes with the first of everything (pools, loops, caches) is not the waiters' doing.
	if err := o.oneOfEach(ctx, name+"-before"); err != nil {
		return nil, err
	}
	holder, endHolder, err := openPlace(ctx, o, 0, name)
	if err != nil {
		return nil, err
	}
	if endHolder != nil {
		defer endHolder()
	}
	if _, err := holder.take(ctx); err != nil {
		return nil, err
	}
	time.Sleep(settleTime)
	before, anonymousBefore := processMemory(o.serverPID)
	started, cpu := time.Now(), processCPU(o.serverPID)

	l := &waitingLine{granted: make(chan place, o.count)}
	defer l.stop()
	if err := l.fill(ctx, o, name); err != nil {
		return nil, err
	}
	queued := time.Since(started)
	cpu = processCPU(o.serverPID) - cpu
	time.Sleep(settleTime)
	after, anonymousAfter := processMemory(o.serverPID)

	res := &result{Workload: o.workload, Loops: int(o.count), Clients: o.clients, Seconds: queued.Seconds(),
		Requests: o.count, Rate: float64(o.count) / queued.Seconds(), ServerRSS: after,
		ServerCPU: cpu * 1e6 / float64(o.count)}
	woken := newRecorder()
	for i := 0; i < releasesTried; i++ {
		next, took, err := l.release(ctx, holder)
		if err != nil {
			return nil, err
		}
		woken.record(took, nil)
		holder = next
	}
	res.P50, res.P99, res.Max = woken.latencies.quantile(0.5), woken.latencies.quantile(0.99),
		float64(woken.latencies.max)/1000
	res.Extra = map[string]int64{
		"bytes_per_waiter":           (after - before) * 1024 / o.count,
		"anonymous_bytes_per_waiter": (anonymousAfter - anonymousBefore) * 1024 / o.count,
		"releases":                   releasesTried,
		"woken":                      atomic.LoadInt64(&l.woken),
		"queue_milliseconds":         queued.Milliseconds(),
	}
	return res, nil
}

// oneOfEach takes a lock and hands it over once on every connection.
func (o *options) oneOfEach(ctx context.Context, name string) error {
	for i := range o.connections {
		place, end, err := openPlace(ctx, o, i, name)
		if err != nil {
			return err
		}
		if end != nil {
			defer end()
		}
		if _, err := place.take(ctx); err != nil {
			return err
		}
		if err := place.give(ctx); err != nil {
			return err
		}
	}
	return nil
}

// waitingLine is the clients that wait.
type waitingLine struct {
	granted chan place
	woken   int64 // atomic
	failed  int64 // atomic
	failure atomic.Value
	waiting sync.WaitGroup
	cancel  context.CancelFunc
}

// fill lets all waiters in, some at once, and returns when the server counts every one of them.
func (l *waitingLine) fill(ctx context.Context, o *options, name string) error {
	ctx, l.cancel = context.WithCancel(ctx)
	var opening sync.WaitGroup
	gate := make(chan struct{}, openedAtOnce)
	for i := 1; i <= int(o.count); i++ {
		opening.Add(1)
		gate <- struct{}{}
		go func(loop int) {
			defer opening.Done()
			// Sessions are not closed one by one: the server is thrown away after this run.
			place, _, err := openPlace(ctx, o, loop, name)
			<-gate
			if err != nil {
				l.fail(err)
				return
			}
			l.waiting.Add(1)
			go l.wait(ctx, place)
		}(i)
		if atomic.LoadInt64(&l.failed) > 0 {
			break
		}
	}
	opening.Wait()
	for {
		if atomic.LoadInt64(&l.failed) > 0 {
			return fmt.Errorf("waiting failed: %v", l.failure.Load())
		}
		n, err := inLine(ctx, o.connections[0], name)
		if err != nil {
			return err
		}
		if n == o.count+1 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d stood in line in the end", n, o.count+1)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (l *waitingLine) wait(ctx context.Context, place place) {
	defer l.waiting.Done()
	if _, err := place.take(ctx); err != nil {
		l.fail(err)
		return
	}
	atomic.AddInt64(&l.woken, 1)
	l.granted <- place
}

func (l *waitingLine) fail(err error) {
	if atomic.AddInt64(&l.failed, 1) == 1 {
		l.failure.Store(err.Error())
	}
}

// release gives the lock back and waits for the next holder, then a while for one too many.
func (l *waitingLine) release(ctx context.Context, holder place) (place, time.Duration, error) {
	started := time.Now()
	if err := holder.give(ctx); err != nil {
		return nil, 0, err
	}
	var next place
	select {
	case next = <-l.granted:
	case <-time.After(60 * time.Second):
		return nil, 0, fmt.Errorf("a release woke nobody within a minute: %v", l.failure.Load())
	}
	took := time.Since(started)
	select {
	case <-l.granted:
		return nil, 0, fmt.Errorf("one release woke two")
	case <-time.After(quietTime):
	}
	if atomic.LoadInt64(&l.failed) > 0 {
		return nil, 0, fmt.Errorf("waiting failed: %v", l.failure.Load())
	}
	return next, took, nil
}

// stop ends all waiting, and gives the calls a moment to be cancelled before the connections close.
func (l *waitingLine) stop() {
	if l.cancel != nil {
		l.cancel()
	}
	ended := make(chan struct{})
	go func() { l.waiting.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
	}
}
