// The load driver drives a server that speaks etcd's v3 API with closed loops: each loop sends its next request
// when the last one was answered. It uses etcd's own Go client, prints one JSON object, and stops by itself.
//
// It never starts, stops or configures a server; tools/bench does.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.uber.org/zap"
)

// options are the command's flags, and the clients that all workloads share.
type options struct {
	endpoint  string
	workload  string
	loops     int
	clients   int
	seconds   float64
	warmUp    float64
	count     int64
	keys      int
	valueSize int
	watchers  int
	ahead     int64
	span      int
	from      int
	leases    int
	locks     int
	by        string
	serverPID int
	authority string

	tls         *tls.Config
	connections []*clientv3.Client
}

// client spreads loops evenly over the connections.
func (o *options) client(loop int) *clientv3.Client { return o.connections[loop%len(o.connections)] }

// operation performs one request and says how long it took.
type operation func(ctx context.Context) (time.Duration, error)

// workload is one kind of request. prepare runs once before the loops; open runs once for each loop, with a source
// of randomness of its own, and returns the loop's operation and what to do when the loop ends; finish adds what
// only this workload knows to the result, and fails when the server's answers contradict each other.
type workload struct {
	about   string
	prepare func(ctx context.Context, o *options, r *run) error
	open    func(ctx context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error)
	finish  func(ctx context.Context, o *options, r *run) (map[string]int64, error)
	// revisions is by how much the store's revision must have moved when no request failed; nil: there is no telling.
	revisions func(r *run) int64
}

// single are the workloads that no closed loops perform.
var single = map[string]func(o *options, ctx context.Context) (*result, error){
	"waiters": (*options).waiters,
	"fill":    (*options).fillOnly,
	"replay":  (*options).replay,
}

// phases of a run; only what is answered while measuring counts.
const (
	warming int32 = iota
	measuring
	done
)

// run is the state that the loops of one run share.
type run struct {
	phase     int32 // atomic
	remaining int64 // atomic; requests still to start, when a count was asked for
	total     int64 // atomic; requests answered without an error, in any phase
	recorders []*recorder
	fanOut    *fanOut
	handoff   handoffState
	conflicts int64 // atomic; compare-and-swaps that lost
	writes    int64 // atomic; puts answered, of a mix
	leases    []int64
}

func main() {
	o := &options{}
	flag.StringVar(&o.endpoint, "endpoint", "127.0.0.1:2379", "server address")
	flag.StringVar(&o.workload, "workload", "put", "one of: "+workloadNames())
	flag.IntVar(&o.loops, "loops", 16, "closed loops")
	flag.IntVar(&o.clients, "clients", 0, "connections; 0: one for each loop, at most 16")
	flag.Float64Var(&o.seconds, "seconds", 5, "seconds measured")
	flag.Float64Var(&o.warmUp, "warm-up", 1, "seconds before measuring")
	flag.Int64Var(&o.count, "count", 0, "stop after this many requests instead of by time; no warm-up")
	flag.IntVar(&o.keys, "keys", 10000, "key space")
	flag.IntVar(&o.valueSize, "value-size", 128, "bytes in a value")
	flag.IntVar(&o.watchers, "watchers", 100, "watchers, for the watch workload")
	flag.Int64Var(&o.ahead, "ahead", 0, "puts that may be undelivered before writers wait, for the watch workload; 0: any")
	flag.IntVar(&o.span, "span", 10, "keys in a range")
	flag.IntVar(&o.from, "from", 0, "first key that the fill workload writes")
	flag.IntVar(&o.leases, "leases", 1, "leases that the loops keep alive")
	flag.IntVar(&o.locks, "locks", 1, "locks that the loops share, for the lock workload")
	flag.StringVar(&o.by, "by", "mutex", "how to stand in a line: "+interfaceNames())
	flag.IntVar(&o.serverPID, "server-pid", 0, "process whose CPU time and memory to report")
	flag.StringVar(&o.authority, "cacert", "", "TLS, trusting the certificate in this file")
	flag.Parse()
	// The client shares the machine with the server; memory is cheaper here than the collector's CPU time.
	debug.SetGCPercent(800)
	result, err := o.start()
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
	text, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
	fmt.Println(string(text))
}

func workloadNames() string {
	names := []string{"revision"}
	for name := range single {
		names = append(names, name)
	}
	for name := range workloads {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// start connects, performs the run and returns its result.
func (o *options) start() (*result, error) {
	if o.loops < 1 || o.keys < 1 || o.valueSize < 0 || o.locks < 1 || o.watchers < 1 || o.leases < 1 || o.seconds <= 0 {
		return nil, fmt.Errorf("loops, keys, locks, watchers, leases and seconds must be positive")
	}
	if o.span < 1 || o.span > o.keys || o.from < 0 || o.from >= o.keys {
		return nil, fmt.Errorf("-span must be 1 to %d and -from 0 to %d, as there are -keys %d", o.keys, o.keys-1, o.keys)
	}
	if o.clients <= 0 {
		o.clients = o.loops
		if o.clients > 16 {
			o.clients = 16
		}
	}
	// The whole run has one deadline, so that a server that stops answering cannot hold it for ever.
	limit := time.Duration((o.warmUp+o.seconds)*float64(time.Second)) + 60*time.Second
	if _, known := single[o.workload]; known || o.count > 0 {
		limit = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	quiet := zap.NewProductionConfig()
	quiet.Level = zap.NewAtomicLevelAt(zap.FatalLevel)
	var err error
	if o.tls, err = security(o.authority); err != nil {
		return nil, err
	}
	for i := 0; i < o.clients; i++ {
		c, err := clientv3.New(clientv3.Config{
			Endpoints: []string{o.endpoint}, DialTimeout: 5 * time.Second, LogConfig: &quiet, TLS: o.tls})
		if err != nil {
			return nil, err
		}
		defer c.Close()
		o.connections = append(o.connections, c)
	}
	before, err := revision(ctx, o.connections[0])
	if err != nil {
		return nil, fmt.Errorf("no answer from %s: %v", o.endpoint, err)
	}
	if o.workload == "revision" {
		return &result{Workload: o.workload, RevisionAfter: before}, nil
	}
	if perform, known := single[o.workload]; known {
		return perform(o, ctx)
	}
	w, known := workloads[o.workload]
	if !known {
		return nil, fmt.Errorf("unknown workload %q; known: %s", o.workload, workloadNames())
	}
	return o.perform(ctx, w)
}

// revision asks for the store's current revision with a linearizable read.
func revision(ctx context.Context, c *clientv3.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := c.Get(ctx, "bench/no such key", clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return answer.Header.Revision, nil
}

func (o *options) perform(ctx context.Context, w workload) (*result, error) {
	r := &run{phase: warming, remaining: o.count}
	for i := 0; i < o.loops; i++ {
		r.recorders = append(r.recorders, newRecorder())
	}
	if w.prepare != nil {
		if err := w.prepare(ctx, o, r); err != nil {
			return nil, fmt.Errorf("preparing %s: %v", o.workload, err)
		}
	}
	operations := make([]operation, o.loops)
	for i := range operations {
		random := rand.New(rand.NewSource(int64(i) + 1))
		op, end, err := w.open(ctx, o, i, random, r)
		if err != nil {
			return nil, fmt.Errorf("opening loop %d of %s: %v", i, o.workload, err)
		}
		if end != nil {
			defer end()
		}
		operations[i] = op
	}
	before, err := revision(ctx, o.connections[0])
	if err != nil {
		return nil, err
	}
	var loops sync.WaitGroup
	for i, op := range operations {
		loops.Add(1)
		go func(op operation, into *recorder) {
			defer loops.Done()
			r.loop(ctx, op, into, o.count > 0)
		}(op, r.recorders[i])
	}
	window := o.measure(r, &loops)
	loops.Wait()
	after, err := revision(ctx, o.connections[0])
	if err != nil {
		return nil, err
	}
	var extra map[string]int64
	if w.finish != nil {
		if extra, err = w.finish(ctx, o, r); err != nil {
			return nil, err
		}
	}
	res := o.report(r, window)
	res.RevisionBefore, res.RevisionAfter, res.TotalRequests = before, after, atomic.LoadInt64(&r.total)
	res.Extra = extra
	// A failed request may or may not have changed something, so then there is no telling.
	if w.revisions != nil && res.Errors == 0 && after-before != w.revisions(r) {
		return nil, fmt.Errorf("%d requests were answered, so the revision must have moved by %d, but it moved by %d",
			res.TotalRequests, w.revisions(r), after-before)
	}
	return res, nil
}

// loop sends requests one after the other until the run is done.
func (r *run) loop(ctx context.Context, op operation, into *recorder, counted bool) {
	for atomic.LoadInt32(&r.phase) != done && ctx.Err() == nil {
		if counted && atomic.AddInt64(&r.remaining, -1) < 0 {
			return
		}
		latency, err := op(ctx)
		if err == nil {
			atomic.AddInt64(&r.total, 1)
		}
		if atomic.LoadInt32(&r.phase) == measuring {
			into.record(latency, err)
		}
	}
}

// measure lets the loops warm up, opens the window in which answers count, and closes it.
func (o *options) measure(r *run, loops *sync.WaitGroup) window {
	if o.count == 0 {
		time.Sleep(time.Duration(o.warmUp * float64(time.Second)))
	}
	w := o.openWindow()
	atomic.StoreInt32(&r.phase, measuring)
	if o.count == 0 {
		time.Sleep(time.Duration(o.seconds * float64(time.Second)))
	} else {
		loops.Wait()
	}
	atomic.StoreInt32(&r.phase, done)
	o.closeWindow(&w)
	return w
}
