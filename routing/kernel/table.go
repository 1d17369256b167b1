package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Defaults of a Config.
const (
	// DefaultProtocol is our protocol number: from 5 on they are free to use (rtnetlink(7)), and 201 is in no list of
	// /etc/iproute2/rt_protos as distributed.
	DefaultProtocol = 201
	// DefaultMetric is that of our routes: worse than what people add without one, better than what IPv6 gives them (1024).
	DefaultMetric = 32
)

// ErrClosed says that the Table's life is over.
var ErrClosed = errors.New("kernel route table is closed")

// Config says which table to keep, and how.
type Config struct {
	// Namespace is a name as `ip netns` shows it, or a path; empty is the process's own.
	Namespace string
	// TableID is that of the route table; 0 is the main one, 254.
	TableID uint32
	// Protocol marks our routes; 0 is DefaultProtocol.
	Protocol uint8
	// Metric of our routes; 0 is DefaultMetric. ProtectMetric is not allowed.
	Metric uint32
	// Keep leaves our routes when Run returns.
	Keep bool
	// Learn is told which routes others have, in batches, from Run's goroutine, which reads nothing meanwhile. What it is given
	// is its own. May be nil.
	Learn func([]Learned)
}

// Table keeps a route table of the kernel. Make it with New; then Protect; then Run; Close if it never ran.
type Table struct {
	config Config
	keep   atomic.Bool
	wake   chan struct{} // of the writer
	synced chan struct{}

	// writing is held by whoever uses commands; before mu.
	writing  sync.Mutex
	commands *socket // whose changes are no news
	loud     *socket // whose changes are, as they displace what others wrote
	seq      uint32
	batch    batch

	mu      sync.Mutex
	closed  bool
	running bool
	leaving bool // what is wanted changes no more
	settled bool
	places  places
	sets    hopSets
	links   links
	dump    uint32
	stats   Stats

	// Of the goroutine that reads.
	notices *socket
	learner learner
	resync  resync
}

// Stats are numbers for people, since New.
type Stats struct {
	// Wanted routes are those of Set and Protect, Standing those that the kernel has of us (also former ones before
	// Settled), Pending those that are queued, Refused those that the kernel did not accept so far.
	Wanted, Standing, Pending, Refused int
	// Written are changes that the kernel accepted, Failures those that it refused, Lost routes those that somebody else
	// deleted or replaced, Resyncs the dumps after the first.
	Written, Failures, Lost, Resyncs uint64
	LastError                        string
}

// New opens the table, reads it, and adopts what has our protocol number. It changes nothing.
func New(config Config) (*Table, error) {
	if config.Metric == ProtectMetric {
		return nil, fmt.Errorf("metric %d is that of protecting routes; choose a better one", config.Metric)
	}
	config.TableID = or(config.TableID, unix.RT_TABLE_MAIN)
	config.Metric = or(config.Metric, DefaultMetric)
	config.Protocol = or(config.Protocol, DefaultProtocol)
	commands, err := openSocket(config.Namespace, 0, 0)
	if err != nil {
		return nil, err
	}
	loud, err := openSocket(config.Namespace, 0, 0)
	if err != nil {
		commands.close()
		return nil, err
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	notices, err := openSocket(config.Namespace, groups, commands.port)
	if err != nil {
		commands.close()
		loud.close()
		return nil, err
	}
	t := &Table{config: config, wake: make(chan struct{}, 1), synced: make(chan struct{}), commands: commands,
		loud: loud, notices: notices, places: newPlaces(), sets: hopSets{sets: map[string]*hopSet{}}, links: newLinks(), learner: newLearner()}
	t.keep.Store(config.Keep)
	if err := t.readAll(); err != nil {
		t.Close()
		return nil, fmt.Errorf("read the kernel's routes: %w", err)
	}
	return t, nil
}

func or[T comparable](value, unless T) T {
	var zero T
	if value == zero {
		return unless
	}
	return value
}

// Close ends a Table that does not run. Routes stay as they are.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.running {
		t.close()
	}
}

// close is called with mu held.
func (t *Table) close() {
	if !t.closed {
		t.closed = true
		t.commands.close()
		t.loud.close()
		t.notices.close()
	}
}

// Run keeps the table until the context ends, or until the kernel refuses to talk. It can be called once. When it
// returns our routes are removed, unless they are to be kept; protecting routes stay.
func (t *Table) Run(ctx context.Context) error {
	t.mu.Lock()
	if t.closed || t.running {
		t.mu.Unlock()
		return ErrClosed
	}
	t.running = true
	t.mu.Unlock()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	group.Go(func() {
		if err := t.watch(ctx); err != nil {
			cancel(err)
		}
	})
	group.Go(func() { t.install(ctx) })
	<-ctx.Done()
	group.Wait()
	err := context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	err = errors.Join(err, t.leave())
	t.mu.Lock()
	t.close()
	t.mu.Unlock()
	return err
}

// Synced is closed when Config.Learn was told all that stood at the start.
func (t *Table) Synced() <-chan struct{} { return t.synced }

// SetKeep decides anew whether our routes stay when Run returns.
func (t *Table) SetKeep(keep bool) { t.keep.Store(keep) }

// Set wants the prefix to lead to the hops, as multipath if there are several. It queues and returns; only arguments that
// can never be right are errors. The hops are copied.
func (t *Table) Set(prefix netip.Prefix, hops []Hop) error {
	if err := errors.Join(checkPrefix(prefix), checkHops(prefix, hops)); err != nil {
		return err
	}
	return t.change(place{prefix, t.config.Metric}, hops)
}

// Delete wants no route of ours at the prefix. It queues and returns.
func (t *Table) Delete(prefix netip.Prefix) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	return t.change(place{prefix, t.config.Metric}, nil)
}

func (t *Table) change(at place, hops []Hop) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.leaving {
		return ErrClosed
	}
	e := t.places.entries[at]
	if e == nil {
		if hops == nil {
			return nil
		}
		e = t.places.at(at)
	}
	old := e.want
	if hops == nil {
		t.places.setWant(e, nil)
	} else {
		t.places.setWant(e, t.sets.hold(hops))
	}
	t.sets.release(old)
	t.places.push(at, e)
	t.wakeWriter()
	return nil
}

// Settled says that everything that is wanted has been set: routes that an earlier process left, and that nobody set again, are
// removed.
func (t *Table) Settled() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.settled = true
	for at, e := range t.places.entries {
		if e.want == nil {
			t.places.push(at, e)
		}
	}
	t.wakeWriter()
}

// Stats returns the current numbers.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.Wanted, s.Standing, s.Pending, s.Refused = t.places.wantedCount, t.places.standingCount, t.places.pending(), t.places.refused()
	return s
}

func (t *Table) wakeWriter() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
