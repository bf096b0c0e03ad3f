package main

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/mirror"
	"go.etcd.io/etcd/etcdserver/api/v3rpc/rpctypes"
	"go.etcd.io/etcd/mvcc/mvccpb"
)

// collect takes events until there are count.
func collect(channel clientv3.WatchChan, count int) ([]*clientv3.Event, error) {
	var events []*clientv3.Event
	for len(events) < count {
		response, isOpen := <-channel
		if !isOpen || response.Err() != nil {
			return nil, fmt.Errorf("watch ended after %d of %d events: %v", len(events), count, response.Err())
		}
		events = append(events, response.Events...)
	}
	return events, expect(len(events) == count, "%d events, expected %d", len(events), count)
}

func watchLive(ctx context.Context, client *clientv3.Client) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	channel := client.Watch(watching, "key/", clientv3.WithPrefix(), clientv3.WithPrevKV(), clientv3.WithCreatedNotify())
	if created := <-channel; !created.Created {
		return fmt.Errorf("not created: %v", created)
	}
	deletions := client.Watch(watching, "key/", clientv3.WithPrefix(), clientv3.WithFilterPut(), clientv3.WithRev(1))
	lease, err := client.Grant(ctx, 100)
	if err != nil {
		return err
	}
	for _, value := range []string{"one", "two"} {
		if _, err := client.Put(ctx, "key/a", value, clientv3.WithLease(lease.ID)); err != nil {
			return err
		}
	}
	if _, err := client.Revoke(ctx, lease.ID); err != nil {
		return err
	}
	events, err := collect(channel, 3)
	if err != nil {
		return err
	}
	deleted, err := collect(deletions, 1)
	if err != nil {
		return err
	}
	cancel()
	for range channel {
	}
	return first(
		expect(events[0].IsCreate() && events[0].PrevKv == nil, "created: %v", events[0]),
		expect(events[1].IsModify() && string(events[1].PrevKv.Value) == "one", "modified: %v", events[1]),
		expect(events[2].Type == mvccpb.DELETE && string(events[2].PrevKv.Value) == "two", "deleted: %v", events[2]),
		expect(deleted[0].Kv.ModRevision == events[2].Kv.ModRevision, "filtered: %v", deleted[0]),
	)
}

func watchHistory(ctx context.Context, client *clientv3.Client) error {
	const count = 3000
	for i := 0; i < count; i += 100 {
		var puts []clientv3.Op
		for j := i; j < i+100; j++ {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("key/%04d", j), "value"))
		}
		if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return err
		}
	}
	channel := client.Watch(ctx, "key/", clientv3.WithPrefix(), clientv3.WithRev(1), clientv3.WithFragment())
	events, err := collect(channel, count)
	if err != nil {
		return err
	}
	for i, event := range events {
		if err := expect(string(event.Kv.Key) == fmt.Sprintf("key/%04d", i), "event %d is of %s", i, event.Kv.Key); err != nil {
			return err
		}
	}
	if _, err := client.Compact(ctx, 20, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	lost := <-client.Watch(ctx, "key/", clientv3.WithPrefix(), clientv3.WithRev(10))
	return expect(lost.Err() == rpctypes.ErrCompacted && lost.CompactRevision == 20, "compacted: %v", lost)
}

func watchProgress(ctx context.Context, client *clientv3.Client) error {
	put, err := client.Put(ctx, "other", "value")
	if err != nil {
		return err
	}
	channel := client.Watch(ctx, "key", clientv3.WithCreatedNotify())
	<-channel
	if err := client.RequestProgress(ctx); err != nil {
		return err
	}
	progress := <-channel
	return expect(progress.IsProgressNotify() && progress.Header.Revision == put.Header.Revision, "progress: %v", progress)
}

// watchMany: a hundred watches share a stream, each gets its own key's events in order.
func watchMany(ctx context.Context, client *clientv3.Client) error {
	const watches, rounds = 100, 20
	var wait sync.WaitGroup
	errors := make(chan error, watches)
	for i := 0; i < watches; i++ {
		channel := client.Watch(ctx, fmt.Sprintf("key/%d", i), clientv3.WithRev(1))
		wait.Add(1)
		go func() {
			defer wait.Done()
			events, err := collect(channel, rounds)
			for round, event := range events {
				err = first(err, expect(string(event.Kv.Value) == fmt.Sprint(round), "%v in round %d", event, round))
			}
			errors <- err
		}()
	}
	for round := 0; round < rounds; round++ {
		var puts []clientv3.Op
		for i := 0; i < watches; i++ {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("key/%d", i), fmt.Sprint(round)))
		}
		if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return err
		}
	}
	wait.Wait()
	close(errors)
	for err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

// mirrored: clientv3/mirror reads a base in pages at one revision, then follows.
func mirrored(ctx context.Context, client *clientv3.Client) error {
	const count = 2500
	for i := 0; i < count; i += 100 {
		var puts []clientv3.Op
		for j := i; j < i+100; j++ {
			puts = append(puts, clientv3.OpPut(fmt.Sprintf("key/%04d", j), "value"))
		}
		if _, err := client.Txn(ctx).Then(puts...).Commit(); err != nil {
			return err
		}
	}
	syncer := mirror.NewSyncer(client, "key/", 0)
	pages, errors := syncer.SyncBase(ctx)
	seen := 0
	for page := range pages {
		seen += len(page.Kvs)
	}
	if err := <-errors; err != nil {
		return err
	}
	updates := syncer.SyncUpdates(ctx)
	if _, err := client.Delete(ctx, "key/0000"); err != nil {
		return err
	}
	update := <-updates
	return first(
		expect(seen == count, "%d keys of %d", seen, count),
		expect(len(update.Events) == 1 && update.Events[0].Type == mvccpb.DELETE, "update: %v", update),
	)
}
