// One worker that takes a lock as Go programs do, with etcd's concurrency.Mutex, and runs a command under it.
//
//	gomutex ENDPOINT NAME TTL COMMAND...
//
// The command finds LOCK_KEY and LOCK_TOKEN (the key's create revision) in its environment; its exit status is returned.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"go.etcd.io/etcd/clientv3"
	"go.etcd.io/etcd/clientv3/concurrency"
	"go.etcd.io/etcd/etcdserver/etcdserverpb"
)

func main() {
	if err := work(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gomutex:", err)
		os.Exit(1)
	}
}

func work(arguments []string) error {
	if len(arguments) < 4 {
		return fmt.Errorf("usage: gomutex ENDPOINT NAME TTL COMMAND...")
	}
	ttl, err := strconv.Atoi(arguments[2])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{arguments[0]}, DialTimeout: time.Minute})
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := concurrency.NewSession(client, concurrency.WithTTL(ttl))
	if err != nil {
		return err
	}
	defer session.Close()
	mutex := concurrency.NewMutex(session, arguments[1])
	if err := mutex.Lock(ctx); err != nil {
		return err
	}
	owner := etcdserverpb.Compare(mutex.IsOwner())
	command := exec.CommandContext(ctx, arguments[3], arguments[4:]...)
	command.Env = append(os.Environ(),
		"LOCK_KEY="+mutex.Key(), "LOCK_TOKEN="+strconv.FormatInt(owner.GetCreateRevision(), 10))
	command.Stdout, command.Stderr = os.Stdout, os.Stderr
	failed := command.Run()
	if err := mutex.Unlock(ctx); err != nil {
		return err
	}
	return failed
}
