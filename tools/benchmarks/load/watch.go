package main

import (
	"context"
	"fmt"
	"math/rand"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

const (
	watchPrefix = "bench-watch/"
	// Watchers share recorders, as one weighs 64 KiB.
	watchRecordersMost = 64
)

// fanOut is what the watchers of a run share. A delivered event counts as a request, so rate and latencies speak of
// deliveries.
type fanOut struct {
	started      time.Time
	watchers     sync.WaitGroup
	stop         context.CancelFunc
	puts         int64 // atomic; puts answered
	delivered    []int64
	deliveredAll int64 // atomic
	disordered   int64 // atomic
}

// sharedRecorder belongs to some watchers.
type sharedRecorder struct {
	mutex sync.Mutex
	*recorder
}

func (s *sharedRecorder) record(latency time.Duration, err error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.recorder.record(latency, err)
}

// openWatchers lets all watchers watch what the loops write.
func openWatchers(ctx context.Context, o *options, r *run) error {
	return watchAll(ctx, o, r, func(int) string { return watchPrefix })
}

// openIdleWatchers lets each watcher watch a prefix of its own, under which nothing is written.
func openIdleWatchers(ctx context.Context, o *options, r *run) error {
	return watchAll(ctx, o, r, func(i int) string { return fmt.Sprintf("bench-idle/%08d/", i) })
}

// watchAll creates all watchers and waits until the server says that each one watches.
func watchAll(ctx context.Context, o *options, r *run, prefix func(watcher int) string) error {
	ctx, stop := context.WithCancel(ctx)
	f := &fanOut{started: time.Now(), stop: stop, delivered: make([]int64, o.watchers)}
	r.fanOut = f
	var shared []*sharedRecorder
	for i := 0; i < o.watchers && i < watchRecordersMost; i++ {
		shared = append(shared, &sharedRecorder{recorder: newRecorder()})
		r.recorders = append(r.recorders, shared[i].recorder)
	}
	return inParallel(o.watchers, func(i int) error {
		events := o.client(i).Watch(ctx, prefix(i), clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		first, open := <-events
		if !open || !first.Created {
			return fmt.Errorf("watcher %d was not created: %v", i, first.Err())
		}
		f.watchers.Add(1)
		go f.watch(i, events, shared[i%len(shared)], r)
		return nil
	})
}

func (f *fanOut) watch(watcher int, events clientv3.WatchChan, into *sharedRecorder, r *run) {
	defer f.watchers.Done()
	newest := int64(0)
	for answer := range events {
		now := time.Since(f.started)
		counts := atomic.LoadInt32(&r.phase) == measuring
		for _, event := range answer.Events {
			if event.Kv.ModRevision <= newest {
				atomic.AddInt64(&f.disordered, 1)
			}
			newest = event.Kv.ModRevision
			put, err := strconv.ParseInt(string(event.Kv.Value[:19]), 10, 64)
			if counts {
				into.record(now-time.Duration(put), err)
			}
		}
		atomic.AddInt64(&f.delivered[watcher], int64(len(answer.Events)))
		atomic.AddInt64(&f.deliveredAll, int64(len(answer.Events)))
	}
}

// openWatched writes the moment of the put into the value; its own latency is not what this workload measures, so
// the loop's recorder is left empty.
func openWatched(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client, padding := o.client(loop), randomValue(random, o.valueSize)
	r.recorders[loop].skip = true
	return func(ctx context.Context) (time.Duration, error) {
		for o.ahead > 0 && r.fanOut.owed() > o.ahead*int64(o.watchers) && ctx.Err() == nil {
			time.Sleep(100 * time.Microsecond)
		}
		value := fmt.Sprintf("%019d%s", int64(time.Since(r.fanOut.started)), padding)
		_, err := client.Put(ctx, watchPrefix+strconv.Itoa(random.Intn(o.keys)), value)
		if err == nil {
			atomic.AddInt64(&r.fanOut.puts, 1)
		}
		return 0, err
	}, nil, nil
}

// finishWatch waits until every watcher has seen every put, and fails when one does not.
func finishWatch(ctx context.Context, o *options, r *run) (map[string]int64, error) {
	f := r.fanOut
	limit := time.Now().Add(30 * time.Second)
	for time.Now().Before(limit) && f.owed() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	missing := 0
	for i := range f.delivered {
		if atomic.LoadInt64(&f.delivered[i]) != atomic.LoadInt64(&f.puts) {
			missing++
		}
	}
	f.stop()
	f.watchers.Wait()
	if disordered := atomic.LoadInt64(&f.disordered); missing != 0 || disordered != 0 {
		return nil, fmt.Errorf("%d of %d watchers miss events or saw one twice; %d events out of order",
			missing, o.watchers, disordered)
	}
	return map[string]int64{"watchers": int64(o.watchers), "puts": atomic.LoadInt64(&f.puts)}, nil
}

// finishIdle fails when a watcher was told of a key that it does not watch.
func finishIdle(ctx context.Context, o *options, r *run) (map[string]int64, error) {
	r.fanOut.stop()
	r.fanOut.watchers.Wait()
	if delivered := atomic.LoadInt64(&r.fanOut.deliveredAll); delivered != 0 {
		return nil, fmt.Errorf("%d events went to watchers of other keys", delivered)
	}
	return map[string]int64{"watchers": int64(o.watchers)}, nil
}

// owed counts deliveries still to come; a doubled event makes it too small.
func (f *fanOut) owed() int64 {
	return atomic.LoadInt64(&f.puts)*int64(len(f.delivered)) - atomic.LoadInt64(&f.deliveredAll)
}
