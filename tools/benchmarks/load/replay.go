package main

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/clientv3"
)

// replay watches everything from revision 1 on and measures until -count events have arrived; a request of its result
// is an event. It fails when revisions go backwards or the store holds fewer events.
func (o *options) replay(ctx context.Context) (*result, error) {
	if o.count < 1 {
		return nil, fmt.Errorf("-count must be the number of events to wait for")
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w := o.openWindow()
	seen, newest := int64(0), int64(0)
	for answer := range o.connections[0].Watch(ctx, "bench/", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := answer.Err(); err != nil {
			return nil, err
		}
		for _, event := range answer.Events {
			if event.Kv.ModRevision < newest {
				return nil, fmt.Errorf("an event of revision %d came after one of %d", event.Kv.ModRevision, newest)
			}
			newest = event.Kv.ModRevision
		}
		if seen += int64(len(answer.Events)); seen >= o.count {
			o.closeWindow(&w)
			return o.reportCount(seen, w), nil
		}
	}
	return nil, fmt.Errorf("%d of %d events came until the time was over", seen, o.count)
}
