package main

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/leasing"
	"go.etcd.io/etcd/clientv3/namespace"
	"go.etcd.io/etcd/etcdserver/api/v3rpc/rpctypes"
)

func readAndWrite(ctx context.Context, client *clientv3.Client) error {
	for i := 0; i < 20; i++ {
		if _, err := client.Put(ctx, fmt.Sprintf("key/%02d", i), fmt.Sprint(i)); err != nil {
			return err
		}
	}
	put, err := client.Put(ctx, "key/00", "again", clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	first10, err := client.Get(ctx, "key/", clientv3.WithPrefix(), clientv3.WithLimit(10),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil {
		return err
	}
	newest, err := client.Get(ctx, "key/", clientv3.WithLastRev()...)
	if err != nil {
		return err
	}
	past, err := client.Get(ctx, "key/00", clientv3.WithRev(2))
	if err != nil {
		return err
	}
	recent, err := client.Get(ctx, "key/", clientv3.WithPrefix(), clientv3.WithMinModRev(20), clientv3.WithKeysOnly())
	if err != nil {
		return err
	}
	counted, err := client.Get(ctx, "key/10", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	deleted, err := client.Delete(ctx, "key/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil {
		return err
	}
	return first(
		expect(string(put.PrevKv.Value) == "0", "previous value %q", put.PrevKv.Value),
		expect(len(first10.Kvs) == 10 && first10.More && first10.Count == 20, "limited: %v", first10),
		expect(string(first10.Kvs[0].Key) == "key/19", "descending: %s", first10.Kvs[0].Key),
		expect(string(newest.Kvs[0].Key) == "key/00", "newest: %s", newest.Kvs[0].Key),
		expect(string(past.Kvs[0].Value) == "0" && past.Header.Revision == put.Header.Revision, "past: %v", past),
		expect(len(recent.Kvs) == 3 && len(recent.Kvs[0].Value) == 0, "recent: %v", recent),
		expect(counted.Count == 10, "counted: %v", counted),
		expect(deleted.Deleted == 20 && len(deleted.PrevKvs) == 20, "deleted: %v", deleted),
	)
}

func transact(ctx context.Context, client *clientv3.Client) error {
	create := func(value string) (*clientv3.TxnResponse, error) {
		return client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("key"), "=", 0)).
			Then(clientv3.OpPut("key", value)).Else(clientv3.OpGet("key")).Commit()
	}
	created, err := create("one")
	if err != nil {
		return err
	}
	taken, err := create("two")
	if err != nil {
		return err
	}
	held := taken.Responses[0].GetResponseRange().Kvs[0]
	updated, err := client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision("key"), "=", held.ModRevision),
			clientv3.Compare(clientv3.Value("key"), "=", "one"),
			clientv3.Compare(clientv3.Version("key"), "<", 2),
			clientv3.Compare(clientv3.Version("none/").WithPrefix(), "=", 0)).
		Then(clientv3.OpPut("key", "two", clientv3.WithPrevKV()),
			clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut("other", "value"), clientv3.OpGet("key")}, nil),
			clientv3.OpDelete("none")).Commit()
	if err != nil {
		return err
	}
	nested := updated.Responses[1].GetResponseTxn()
	return first(
		expect(created.Succeeded && !taken.Succeeded && updated.Succeeded, "branches"),
		expect(string(held.Value) == "one", "held: %v", held),
		expect(nested.Succeeded && string(nested.Responses[1].GetResponseRange().Kvs[0].Value) == "two",
			"nested: %v", nested),
		expect(updated.Responses[2].GetResponseDeleteRange().Deleted == 0, "deleted nothing"),
	)
}

// typedErrors: the client knows errors by their text.
func typedErrors(ctx context.Context, client *clientv3.Client) error {
	expectError := func(err error, wanted error) error {
		return expect(err == wanted, "got %v, expected %v", err, wanted)
	}
	if _, err := client.Put(ctx, "key", "value"); err != nil {
		return err
	}
	lease, err := client.Grant(ctx, 100)
	if err != nil {
		return err
	}
	_, empty := client.Put(ctx, "", "value")
	_, noLease := client.Put(ctx, "key", "value", clientv3.WithLease(77))
	_, noKey := client.Put(ctx, "none", "", clientv3.WithIgnoreValue())
	_, future := client.Get(ctx, "key", clientv3.WithRev(100))
	_, twice := client.Txn(ctx).Then(clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2")).Commit()
	_, tooLarge := client.Put(ctx, "key", string(make([]byte, 1600*1024)))
	_, noRevoke := client.Revoke(ctx, 77)
	_, tooLong := client.Grant(ctx, 9000000001)
	_, gone := client.KeepAliveOnce(ctx, 77)
	ops := make([]clientv3.Op, 129)
	for i := range ops {
		ops[i] = clientv3.OpPut(fmt.Sprint("k", i), "")
	}
	_, tooMany := client.Txn(ctx).Then(ops...).Commit()
	if _, err := client.Compact(ctx, 2); err != nil {
		return err
	}
	_, compacted := client.Get(ctx, "key", clientv3.WithRev(1))
	_, again := client.Compact(ctx, 2)
	_, noMember := client.MemberRemove(ctx, 77)
	_, badLeader := client.MoveLeader(ctx, 77)
	return first(
		expectError(empty, rpctypes.ErrEmptyKey),
		expectError(noLease, rpctypes.ErrLeaseNotFound),
		expectError(noKey, rpctypes.ErrKeyNotFound),
		expectError(future, rpctypes.ErrFutureRev),
		expectError(twice, rpctypes.ErrDuplicateKey),
		expectError(tooLarge, rpctypes.ErrRequestTooLarge),
		expectError(tooMany, rpctypes.ErrTooManyOps),
		expectError(noRevoke, rpctypes.ErrLeaseNotFound),
		expectError(tooLong, rpctypes.ErrLeaseTTLTooLarge),
		expectError(gone, rpctypes.ErrLeaseNotFound),
		expectError(compacted, rpctypes.ErrCompacted),
		expectError(again, rpctypes.ErrCompacted),
		expectError(noMember, rpctypes.ErrMemberNotFound),
		expectError(badLeader, rpctypes.ErrBadLeaderTransferee),
		expect(lease.TTL == 100, "granted %v", lease),
	)
}

func namespaced(ctx context.Context, client *clientv3.Client) error {
	kv := namespace.NewKV(client.KV, "team/")
	watcher := namespace.NewWatcher(client.Watcher, "team/")
	defer watcher.Close()
	events := watcher.Watch(ctx, "a", clientv3.WithRev(1))
	if _, err := kv.Put(ctx, "a", "1"); err != nil {
		return err
	}
	event := (<-events).Events[0]
	all, err := client.Get(ctx, "", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	own, err := kv.Get(ctx, "a", clientv3.WithPrefix())
	if err != nil {
		return err
	}
	return first(
		expect(string(event.Kv.Key) == "a", "event of %s", event.Kv.Key),
		expect(string(all.Kvs[0].Key) == "team/a" && string(own.Kvs[0].Key) == "a", "%v, %v", all, own),
	)
}

// cached: clientv3/leasing keeps keys at the client and gives them up when another writes.
func cached(ctx context.Context, client *clientv3.Client) error {
	one, closeOne, err := leasing.NewKV(client, "leasing/")
	if err != nil {
		return err
	}
	defer closeOne()
	other, closeOther, err := leasing.NewKV(client, "leasing/")
	if err != nil {
		return err
	}
	defer closeOther()
	for i := 0; i < 10; i++ {
		value := fmt.Sprint(i)
		if _, err := other.Put(ctx, "key", value); err != nil {
			return err
		}
		for _, kv := range []clientv3.KV{one, one, other} {
			got, err := kv.Get(ctx, "key")
			if err != nil {
				return err
			}
			if err := expect(string(got.Kvs[0].Value) == value, "read %s, expected %s", got.Kvs[0].Value, value); err != nil {
				return err
			}
		}
	}
	return nil
}

func maintain(ctx context.Context, client *clientv3.Client) error {
	endpoint := client.Endpoints()[0]
	if _, err := client.Put(ctx, "key", "value"); err != nil {
		return err
	}
	status, err := client.Status(ctx, endpoint)
	if err != nil {
		return err
	}
	hash, err := client.HashKV(ctx, endpoint, 1)
	if err != nil {
		return err
	}
	alarms, err := client.AlarmList(ctx)
	if err != nil {
		return err
	}
	if _, err := client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return err
	}
	if _, err := client.Defragment(ctx, endpoint); err != nil {
		return err
	}
	if _, err := client.MoveLeader(ctx, status.Leader); err != nil {
		return err
	}
	return first(
		expect(status.Leader == status.Header.MemberId && status.DbSize > 0, "status: %v", status),
		expect(hash.Hash == 1084519789, "the hash of an empty store is %d", hash.Hash),
		expect(len(alarms.Alarms) == 0, "alarms: %v", alarms),
	)
}

func members(ctx context.Context, client *clientv3.Client) error {
	list, err := client.MemberList(ctx)
	if err != nil {
		return err
	}
	if err := client.Sync(ctx); err != nil {
		return err
	}
	// The endpoints are those that the member advertises now.
	soon, cancel := context.WithTimeout(clientv3.WithRequireLeader(ctx), time.Minute)
	defer cancel()
	if _, err := client.Put(soon, "key", "value"); err != nil {
		return err
	}
	return expect(len(list.Members) == 1 && list.Members[0].Name != "", "members: %v", list)
}
