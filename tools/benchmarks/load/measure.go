package main

import (
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/status"
)

// histogram counts latencies in buckets less than 1 % wide: 128 for each power of two of nanoseconds.
type histogram struct {
	buckets [64 * 128]int64
	count   int64
	max     time.Duration
}

func bucketOf(nanoseconds uint64) int {
	if nanoseconds < 128 {
		return int(nanoseconds)
	}
	shift := bits.Len64(nanoseconds) - 8
	return (shift+1)*128 + int(nanoseconds>>uint(shift)) - 128
}

// lowest latency that falls into a bucket.
func lowest(bucket int) uint64 {
	if bucket < 128 {
		return uint64(bucket)
	}
	return uint64(bucket%128+128) << uint(bucket/128-1)
}

func (h *histogram) add(latency time.Duration) {
	if latency < 0 {
		latency = 0
	}
	h.buckets[bucketOf(uint64(latency))]++
	h.count++
	if latency > h.max {
		h.max = latency
	}
}

func (h *histogram) merge(other *histogram) {
	for i, n := range other.buckets {
		h.buckets[i] += n
	}
	h.count += other.count
	if other.max > h.max {
		h.max = other.max
	}
}

// quantile in microseconds; 0 when nothing was counted.
func (h *histogram) quantile(q float64) float64 {
	rank, seen := int64(q*float64(h.count)), int64(0)
	for i, n := range h.buckets {
		if seen += n; n > 0 && seen > rank {
			return float64(lowest(i)) / 1000
		}
	}
	return float64(h.max) / 1000
}

// recorder belongs to one goroutine until the run is done.
type recorder struct {
	latencies histogram
	errors    map[string]int64
	skip      bool // count errors only: the latencies that matter are another recorder's
}

func newRecorder() *recorder { return &recorder{errors: map[string]int64{}} }

func (r *recorder) record(latency time.Duration, err error) {
	if err == nil {
		if !r.skip {
			r.latencies.add(latency)
		}
		return
	}
	name := status.Code(err).String() + ": " + err.Error()
	if len(r.errors) >= 10 && r.errors[name] == 0 {
		name = "other"
	}
	r.errors[name]++
}

// window is the time in which answers counted, with the server's CPU time at both ends.
type window struct {
	started, ended       time.Time
	cpuStarted, cpuEnded float64 // the server's
	ownStarted, ownEnded float64
}

// openWindow notes the time and the CPU time spent so far.
func (o *options) openWindow() window {
	return window{started: time.Now(), cpuStarted: processCPU(o.serverPID), ownStarted: processCPU(os.Getpid())}
}

func (o *options) closeWindow(w *window) {
	w.ended, w.cpuEnded, w.ownEnded = time.Now(), processCPU(o.serverPID), processCPU(os.Getpid())
}

// result is what the command prints. Latencies are in microseconds.
type result struct {
	Workload       string           `json:"workload"`
	Loops          int              `json:"loops"`
	Clients        int              `json:"clients"`
	Seconds        float64          `json:"seconds"`
	Requests       int64            `json:"requests"`
	Rate           float64          `json:"rate"`
	P50            float64          `json:"p50_us"`
	P99            float64          `json:"p99_us"`
	P999           float64          `json:"p99_9_us"`
	Max            float64          `json:"max_us"`
	Errors         int64            `json:"errors"`
	ErrorTexts     map[string]int64 `json:"error_texts,omitempty"`
	TotalRequests  int64            `json:"total_requests"`
	RevisionBefore int64            `json:"revision_before"`
	RevisionAfter  int64            `json:"revision_after"`
	ServerCPU      float64          `json:"server_cpu_us_per_request"`
	ClientCPU      float64          `json:"client_cpu_us_per_request"`
	ServerRSS      int64            `json:"server_rss_kib,omitempty"`
	Extra          map[string]int64 `json:"extra,omitempty"`
}

func (o *options) report(r *run, w window) *result {
	var all histogram
	errors := map[string]int64{}
	var failed int64
	for _, one := range r.recorders {
		all.merge(&one.latencies)
		for name, n := range one.errors {
			errors[name] += n
			failed += n
		}
	}
	resident, _ := processMemory(o.serverPID)
	seconds := w.ended.Sub(w.started).Seconds()
	res := &result{
		Workload: o.workload, Loops: o.loops, Clients: o.clients, Seconds: seconds,
		Requests: all.count, Rate: float64(all.count) / seconds,
		P50: all.quantile(0.5), P99: all.quantile(0.99), P999: all.quantile(0.999), Max: float64(all.max) / 1000,
		Errors: failed, ErrorTexts: errors, ServerRSS: resident,
	}
	if all.count > 0 {
		res.ServerCPU = (w.cpuEnded - w.cpuStarted) * 1e6 / float64(all.count)
		res.ClientCPU = (w.ownEnded - w.ownStarted) * 1e6 / float64(all.count)
	}
	return res
}

// reportCount is the result of a run in which one thing happened so many times, without latencies.
func (o *options) reportCount(count int64, w window) *result {
	seconds := w.ended.Sub(w.started).Seconds()
	return &result{
		Workload: o.workload, Clients: o.clients, Seconds: seconds, Requests: count, TotalRequests: count,
		Rate: float64(count) / seconds, ServerCPU: (w.cpuEnded - w.cpuStarted) * 1e6 / float64(count),
		ClientCPU: (w.ownEnded - w.ownStarted) * 1e6 / float64(count),
	}
}

// processCPU is a process's user and system time in seconds, all threads together; 0 when no process was named.
func processCPU(pid int) float64 {
	if pid <= 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the program's name in brackets and may hold spaces; the rest counts from behind it.
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100 // Linux reports ticks of a hundredth of a second to every program.
}

// processMemory is a process's resident memory in KiB, and the part of it that no file backs; 0 when no process was
// named.
func processMemory(pid int) (resident, anonymous int64) {
	if pid <= 0 {
		return 0, 0
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(text), "\n") {
		if fields := strings.Fields(line); len(fields) > 1 {
			kib, _ := strconv.ParseInt(fields[1], 10, 64)
			switch fields[0] {
			case "VmRSS:":
				resident = kib
			case "RssAnon:":
				anonymous = kib
			}
		}
	}
	return resident, anonymous
}
