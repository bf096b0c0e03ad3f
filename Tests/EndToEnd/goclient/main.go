// etcd's own Go client at work: each scenario does what programs do with it and says what went otherwise than etcd
// promises.
//
//	goclient list
//	goclient ENDPOINT SCENARIO
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"time"

	"go.etcd.io/etcd/clientv3"
)

// A backstop for a scenario that would hang.
const patience = 2 * time.Minute

type scenario func(ctx context.Context, client *clientv3.Client) error

var scenarios = map[string]scenario{
	"kv":             readAndWrite,
	"transactions":   transact,
	"errors":         typedErrors,
	"namespace":      namespaced,
	"watch":          watchLive,
	"watch-history":  watchHistory,
	"watch-progress": watchProgress,
	"watch-many":     watchMany,
	"mirror":         mirrored,
	"leases":         useLeases,
	"lease-expiry":   letExpire,
	"session":        sessionEnds,
	"mutex":          mutexCounts,
	"election":       elect,
	"stm":            moveMoney,
	"leasing":        cached,
	"maintenance":    maintain,
	"cluster":        members,
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "list" {
		var names []string
		for name := range scenarios {
			names = append(names, name)
		}
		sort.Strings(names)
		for _, name := range names {
			fmt.Println(name)
		}
		return
	}
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "goclient:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 2 || scenarios[arguments[1]] == nil {
		return fmt.Errorf("usage: goclient ENDPOINT SCENARIO, or goclient list")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// RejectOldCluster: the client asks for the server's version before anything else.
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{arguments[0]}, DialTimeout: time.Minute, RejectOldCluster: true,
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	defer client.Close()
	return scenarios[arguments[1]](ctx, client)
}

// expect makes an error of what is not as it should be.
func expect(is bool, format string, values ...interface{}) error {
	if is {
		return nil
	}
	return fmt.Errorf(format, values...)
}

// first returns the first error there is.
func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}
