package main

import (
	"context"
	"fmt"
	"math/rand"

	"go.etcd.io/etcd/etcdserver/etcdserverpb"
)

// leaseSeconds outlives any run, so that no lease expires under a workload's feet.
const leaseSeconds = 120

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

// grantLeases grants the leases that the loops will keep alive.
func grantLeases(ctx context.Context, o *options, r *run) error {
	if o.leases < o.loops {
		return fmt.Errorf("-leases %d are too few for -loops %d, each of which keeps some of its own", o.leases, o.loops)
	}
	r.leases = make([]int64, o.leases)
	return inParallel(o.leases, func(i int) error {
		lease, err := o.client(i).Grant(ctx, leaseSeconds)
		if err == nil {
			r.leases[i] = int64(lease.ID)
		}
		return err
	})
}

// openKeepAlive keeps the loop's share of the leases alive, one after the other over one stream. The stream is that of
// etcd's generated client: its KeepAlive sends at a third of the time to live and cannot be driven, its KeepAliveOnce
// opens a stream for each request.
func openKeepAlive(ctx context.Context, o *options, loop int, random *rand.Rand, r *run) (operation, func(), error) {
	stream, err := etcdserverpb.NewLeaseClient(o.client(loop).ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, nil, err
	}
	next := loop
	return timed(func(ctx context.Context) error {
		id := r.leases[next]
		if next += o.loops; next >= len(r.leases) {
			next = loop
		}
		if err := stream.Send(&etcdserverpb.LeaseKeepAliveRequest{ID: id}); err != nil {
			return err
		}
		answer, err := stream.Recv()
		if err == nil && (answer.ID != id || answer.TTL != leaseSeconds) {
			return fmt.Errorf("lease %x was to live %d s, answered was %d s of %x", id, leaseSeconds, answer.TTL, answer.ID)
		}
		return err
	}), func() { _ = stream.CloseSend() }, nil
}
