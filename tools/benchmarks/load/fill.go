package main

import (
	"context"
	"fmt"
	"math/rand"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/clientv3"
)

// Bounds of preparations: keys written by one transaction (etcd's own limit is 128), and calls under way at once.
const (
	fillKeysAtOnce   = 100
	preparingAtOnce  = 64
	fillTransactions = 16
)

// inParallel calls act for 0 to count-1, some at once, and returns the first error.
func inParallel(count int, act func(i int) error) error {
	return inParallelBy(preparingAtOnce, count, act)
}

func inParallelBy(width, count int, act func(i int) error) error {
	var group sync.WaitGroup
	var next, failed int64
	var failure error
	var once sync.Once
	for i := 0; i < width; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for atomic.LoadInt64(&failed) == 0 {
				n := int(atomic.AddInt64(&next, 1)) - 1
				if n >= count {
					return
				}
				if err := act(n); err != nil {
					once.Do(func() { failure = err })
					atomic.StoreInt64(&failed, 1)
				}
			}
		}()
	}
	group.Wait()
	return failure
}

// writeKeys puts the keys from one number up to another, by transactions, and returns their number.
func writeKeys(ctx context.Context, o *options, from, to int) (transactions int, err error) {
	value := randomValue(rand.New(rand.NewSource(0)), o.valueSize)
	transactions = (to - from + fillKeysAtOnce - 1) / fillKeysAtOnce
	return transactions, inParallelBy(fillTransactions, transactions, func(i int) error {
		first := from + i*fillKeysAtOnce
		var puts []clientv3.Op
		for key := first; key < to && key < first+fillKeysAtOnce; key++ {
			puts = append(puts, clientv3.OpPut(keyName(key), value))
		}
		_, err := o.client(i).Txn(ctx).Then(puts...).Commit()
		return err
	})
}

// fillKeys writes the whole key space once, so that every get finds its key.
func fillKeys(ctx context.Context, o *options, r *run) error {
	client := o.connections[0]
	found, err := client.Get(ctx, "bench/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || found.Count >= int64(o.keys) {
		return err
	}
	if _, err := writeKeys(ctx, o, 0, o.keys); err != nil {
		return err
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

// fillOnly writes the keys from -from up to -keys; a request of its result is a key.
func (o *options) fillOnly(ctx context.Context) (*result, error) {
	before, err := revision(ctx, o.connections[0])
	if err != nil {
		return nil, err
	}
	w := o.openWindow()
	transactions, err := writeKeys(ctx, o, o.from, o.keys)
	if err != nil {
		return nil, err
	}
	o.closeWindow(&w)
	after, err := revision(ctx, o.connections[0])
	if err != nil {
		return nil, err
	}
	if after-before != int64(transactions) {
		return nil, fmt.Errorf("%d transactions were answered but the revision moved by %d", transactions, after-before)
	}
	res := o.reportCount(int64(o.keys-o.from), w)
	res.RevisionBefore, res.RevisionAfter = before, after
	return res, nil
}
