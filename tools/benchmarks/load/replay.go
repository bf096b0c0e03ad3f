package main

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/clientv3"
)

// replay watches everything from revision 1 on until it has seen what is newest now; a request of its result is an
// event. It fails when revisions go backwards, or when other than -keys keys were made.
func (o *options) replay(ctx context.Context) (*result, error) {
	last, err := revision(ctx, o.connections[0])
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := o.openWindow()
	seen, made, newest := int64(0), 0, int64(0)
	for answer := range o.connections[0].Watch(ctx, "bench/", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := answer.Err(); err != nil {
			return nil, err
		}
		for _, event := range answer.Events {
			if event.Kv.ModRevision < newest {
				return nil, fmt.Errorf("an event of revision %d came after one of %d", event.Kv.ModRevision, newest)
			}
			newest = event.Kv.ModRevision
			if event.IsCreate() {
				made++
			}
		}
		seen += int64(len(answer.Events))
		if newest < last {
			continue
		}
		o.closeWindow(&w)
		if made != o.keys {
			return nil, fmt.Errorf("events up to revision %d make %d keys, but %d were written", last, made, o.keys)
		}
		return o.reportCount(seen, w), nil
	}
	return nil, fmt.Errorf("the watch ended at revision %d of %d, after %d events", newest, last, seen)
}
