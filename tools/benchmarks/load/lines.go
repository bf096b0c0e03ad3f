package main

import (
	"context"
	"fmt"
	"sort"
	"strings"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
	"go.etcd.io/etcd/etcdserver/api/v3lock/v3lockpb"
	"go.etcd.io/etcd/etcdserver/etcdserverpb"
	"google.golang.org/grpc"
)

// place is how one client stands in one line, again and again: a lock's or an election's, by one of the interfaces.
type place interface {
	// take enters the line and returns at the head of it, with the place's create revision (0: not told).
	take(ctx context.Context) (token int64, err error)
	give(ctx context.Context) error
}

// interfaces to a line, as the flag -by names them. open makes one loop's place in the line called name, and says
// how to end what it keeps.
var interfaces = map[string]struct {
	about string
	open  openFunction
}{
	"mutex":         {"etcd's Go client: concurrency.Mutex, one session a loop", openMutexPlace},
	"election":      {"etcd's Go client: concurrency.Election, one session a loop", openElectionPlace},
	"service":       {"etcd's Lock service: Lock and Unlock, one lease a loop", openServicePlace},
	"acquire":       {"berth.v1.Locks: Acquire and Release, which grant and revoke a lease each time", openAcquirePlace},
	"acquire-kept":  {"berth.v1.Locks with one lease a loop", keptLease(openAcquirePlace)},
	"campaign":      {"berth.v1.Elections: Campaign and Resign, which grant and revoke a lease each time", openCampaignPlace},
	"campaign-kept": {"berth.v1.Elections with one lease a loop", keptLease(openCampaignPlace)},
}

func interfaceNames() string {
	var names []string
	for name, by := range interfaces {
		names = append(names, name+" ("+by.about+")")
	}
	sort.Strings(names)
	return strings.Join(names, "; ")
}

// openPlace makes a loop's place by the interface that the flags name.
func openPlace(ctx context.Context, o *options, loop int, name string) (place, func(), error) {
	by, known := interfaces[o.by]
	if !known {
		return nil, nil, fmt.Errorf("-by %s is unknown; known: %s", o.by, interfaceNames())
	}
	return by.open(ctx, o, loop, name)
}

// openSession starts a session of its own for a loop, so that each loop stands in a queue as a client of its own.
func openSession(ctx context.Context, o *options, loop int) (*concurrency.Session, func(), error) {
	session, err := concurrency.NewSession(
		o.client(loop), concurrency.WithTTL(leaseSeconds), concurrency.WithContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	return session, func() { _ = session.Close() }, nil
}

type mutexPlace struct{ mutex *concurrency.Mutex }

func openMutexPlace(ctx context.Context, o *options, loop int, name string) (place, func(), error) {
	session, end, err := openSession(ctx, o, loop)
	if err != nil {
		return nil, nil, err
	}
	return &mutexPlace{concurrency.NewMutex(session, name)}, end, nil
}

func (p *mutexPlace) take(ctx context.Context) (int64, error) {
	if err := p.mutex.Lock(ctx); err != nil {
		return 0, err
	}
	owner := etcdserverpb.Compare(p.mutex.IsOwner())
	return owner.GetCreateRevision(), nil
}

func (p *mutexPlace) give(ctx context.Context) error { return p.mutex.Unlock(ctx) }

type electionPlace struct {
	election *concurrency.Election
	proposal string
}

func openElectionPlace(ctx context.Context, o *options, loop int, name string) (place, func(), error) {
	session, end, err := openSession(ctx, o, loop)
	if err != nil {
		return nil, nil, err
	}
	return &electionPlace{concurrency.NewElection(session, name), fmt.Sprintf("candidate %d", loop)}, end, nil
}

func (p *electionPlace) take(ctx context.Context) (int64, error) {
	err := p.election.Campaign(ctx, p.proposal)
	return p.election.Rev(), err
}

func (p *electionPlace) give(ctx context.Context) error { return p.election.Resign(ctx) }

type servicePlace struct {
	service v3lockpb.LockClient
	name    []byte
	lease   int64
	key     []byte
}

func openServicePlace(ctx context.Context, o *options, loop int, name string) (place, func(), error) {
	client := o.client(loop)
	lease, err := client.Grant(ctx, leaseSeconds)
	if err != nil {
		return nil, nil, err
	}
	p := &servicePlace{v3lockpb.NewLockClient(client.ActiveConnection()), []byte(name), int64(lease.ID), nil}
	return p, func() { _, _ = client.Revoke(ctx, lease.ID) }, nil
}

func (p *servicePlace) take(ctx context.Context) (int64, error) {
	answer, err := p.service.Lock(ctx, &v3lockpb.LockRequest{Name: p.name, Lease: p.lease})
	if err == nil {
		p.key = answer.Key
	}
	return 0, err
}

func (p *servicePlace) give(ctx context.Context) error {
	_, err := p.service.Unlock(ctx, &v3lockpb.UnlockRequest{Key: p.key})
	return err
}

// berthPlace takes in one call and gives back in one; the lease is the server's business, or the loop's when kept.
type berthPlace struct {
	connection *grpc.ClientConn
	request    takeRequest
	held       handle
}

type openFunction func(ctx context.Context, o *options, loop int, name string) (place, func(), error)

// keptLease brings one lease for all turns of a loop.
func keptLease(open openFunction) openFunction {
	return func(ctx context.Context, o *options, loop int, name string) (place, func(), error) {
		client := o.client(loop)
		lease, err := client.Grant(ctx, leaseSeconds)
		if err != nil {
			return nil, nil, err
		}
		p, _, err := open(ctx, o, loop, name)
		if err != nil {
			return nil, nil, err
		}
		request := &p.(*berthPlace).request
		request.ttl, request.lease = 0, int64(lease.ID)
		return p, func() { _, _ = client.Revoke(ctx, lease.ID) }, nil
	}
}

func openAcquirePlace(_ context.Context, o *options, loop int, name string) (place, func(), error) {
	request := takeRequest{name: []byte(name), ttl: leaseSeconds}
	return &berthPlace{connection: o.client(loop).ActiveConnection(), request: request}, nil, nil
}

func openCampaignPlace(_ context.Context, o *options, loop int, name string) (place, func(), error) {
	proposal := []byte(fmt.Sprintf("candidate %d", loop))
	request := takeRequest{name: []byte(name), ttl: leaseSeconds, value: proposal, campaign: true}
	return &berthPlace{connection: o.client(loop).ActiveConnection(), request: request}, nil, nil
}

func (p *berthPlace) take(ctx context.Context) (token int64, err error) {
	p.held, err = take(ctx, p.connection, &p.request)
	return p.held.token, err
}

func (p *berthPlace) give(ctx context.Context) error {
	return give(ctx, p.connection, &giveRequest{handle: p.held, resign: p.request.campaign})
}

// inLine counts the keys of a line.
func inLine(ctx context.Context, client *clientv3.Client, name string) (int64, error) {
	answer, err := client.Get(ctx, name+"/", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return 0, err
	}
	return answer.Count, nil
}
