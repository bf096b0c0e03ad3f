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

const watchPrefix = "bench-watch/"

// fanOut is what the watchers of a run share. Each watcher has a recorder of its own, and a delivered event counts
// as a request, so rate and latencies speak of deliveries.
type fanOut struct {
	started    time.Time
	watchers   sync.WaitGroup
	stop       context.CancelFunc
	puts       int64 // atomic; puts answered
	delivered  []int64
	disordered int64 // atomic
}

// openWatchers creates all watchers and waits until the server says that each one watches.
func openWatchers(ctx context.Context, o *options, r *run) error {
	ctx, stop := context.WithCancel(ctx)
	f := &fanOut{started: time.Now(), stop: stop, delivered: make([]int64, o.watchers)}
	r.fanOut = f
	for i := 0; i < o.watchers; i++ {
		events := o.client(i).Watch(ctx, watchPrefix, clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		first, open := <-events
		if !open || !first.Created {
			return fmt.Errorf("watcher %d was not created: %v", i, first.Err())
		}
		into := newRecorder()
		r.recorders = append(r.recorders, into)
		f.watchers.Add(1)
		go f.watch(i, events, into, r)
	}
	return nil
}

func (f *fanOut) watch(watcher int, events clientv3.WatchChan, into *recorder, r *run) {
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
			atomic.AddInt64(&f.delivered[watcher], 1)
		}
	}
}

// openWatched writes the moment of the put into the value; its own latency is not what this workload measures, so
// the loop's recorder is left empty.
func openWatched(_ context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	client, padding := o.client(loop), randomValue(random, o.valueSize)
	r.recorders[loop].skip = true
	return func(ctx context.Context) (time.Duration, error) {
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
	for time.Now().Before(limit) && f.missing() > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	missing := f.missing()
	f.stop()
	f.watchers.Wait()
	if disordered := atomic.LoadInt64(&f.disordered); missing != 0 || disordered != 0 {
		return nil, fmt.Errorf("watchers: %d events missing or doubled, %d out of order", missing, disordered)
	}
	return map[string]int64{"watchers": int64(o.watchers), "puts": atomic.LoadInt64(&f.puts)}, nil
}

// missing counts deliveries that are still owed; a doubled event makes it negative.
func (f *fanOut) missing() (owed int64) {
	puts := atomic.LoadInt64(&f.puts)
	for i := range f.delivered {
		owed += puts - atomic.LoadInt64(&f.delivered[i])
	}
	return owed
}
