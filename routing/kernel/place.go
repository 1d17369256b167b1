package kernel

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/internal/deadline"
)

// ProtectMetric is the metric of protecting routes: the worst that there is, in both families.
const ProtectMetric = 1<<32 - 1

// place is where at most one route can stand.
type place struct {
	prefix netip.Prefix
	metric uint32
}

// protection is wanted of protected places.
var protection = &hopSet{}

// entry is what we know of a place.
type entry struct {
	want *hopSet   // nil: nothing
	have *standing // nil: no route of ours; unknown: perhaps
	// held says that the place was ours and is to be taken back from whoever has it.
	held   bool
	queued bool
	// flying says that it is being written, disturbed that it changed meanwhile.
	flying, disturbed bool
	seen              uint32 // the dump that last showed it
}

// places are all that we want, have, or had.
type places struct {
	entries map[place]*entry
	queue   []place // what may differ from what is wanted; each once
	first   int     // of the queue
	standingCount,
	wantedCount int
	trouble map[place]*trouble
	retries deadline.Queue[*trouble]
}

func newPlaces() places {
	return places{entries: map[place]*entry{}, trouble: map[place]*trouble{}}
}

func (p *places) at(at place) *entry {
	e := p.entries[at]
	if e == nil {
		e = &entry{}
		p.entries[at] = e
	}
	return e
}

func (p *places) setWant(e *entry, want *hopSet) {
	p.wantedCount += count(want != nil) - count(e.want != nil)
	e.want = want
}

func (p *places) setHave(e *entry, have *standing) {
	p.standingCount += count(have != nil && have != unknown) - count(e.have != nil && e.have != unknown)
	e.have = have
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// longQueue is what is not kept when it is empty.
const longQueue = 1 << 14

// push queues the place, once.
func (p *places) push(at place, e *entry) {
	if !e.queued {
		e.queued = true
		p.queue = append(p.queue, at)
	}
}

// pop takes the place that waited longest.
func (p *places) pop() (at place, e *entry, ok bool) {
	if p.first == len(p.queue) {
		if p.queue, p.first = p.queue[:0], 0; cap(p.queue) > longQueue {
			p.queue = nil
		}
		return place{}, nil, false
	}
	at = p.queue[p.first]
	p.first++
	if e = p.entries[at]; e != nil {
		e.queued = false
	}
	return at, e, true
}

func (p *places) pending() int { return len(p.queue) - p.first }

// forget drops an entry that says nothing.
func (p *places) forget(at place, e *entry) {
	if e.want == nil && e.have == nil && !e.queued {
		delete(p.entries, at)
		p.settle(at)
	}
}

// Waiting after trouble with a place.
const (
	firstWait = 20 * time.Millisecond
	lastWait  = 30 * time.Second
	peace     = time.Minute
)

// trouble is a place that is fought for, or that the kernel refuses.
type trouble struct {
	deadline.Slot
	at      place
	times   int
	last    time.Time
	refused bool // by the kernel, as opposed to lost
}

// postpone has the place looked at again, later each time.
func (p *places) postpone(at place, now time.Time, refused bool) {
	t := p.trouble[at]
	switch {
	case t == nil:
		t = &trouble{at: at}
		p.trouble[at] = t
	case now.Sub(t.last) > peace+lastWait:
		t.times = 0
	}
	t.refused = refused
	if !p.retries.At(t).IsZero() {
		return
	}
	p.retries.Set(t, now.Add(min(firstWait<<min(t.times, 20), lastWait)))
	t.last = now
	t.times++
}

// settle notes that a place is as wanted. Trouble is remembered for a while, lest a fight begin with short waits again.
func (p *places) settle(at place) {
	if t := p.trouble[at]; t != nil {
		t.refused = false
	}
}

// due queues what waited long enough and returns when there will be more, zero for never.
func (p *places) due(now time.Time) time.Time {
	for {
		t, at := p.retries.First()
		if at.IsZero() || at.After(now) {
			return at
		}
		p.retries.Set(t, time.Time{})
		if e := p.entries[t.at]; e != nil {
			p.push(t.at, e)
		} else {
			delete(p.trouble, t.at)
		}
	}
}

// sweep forgets trouble that is long over.
func (p *places) sweep(now time.Time) {
	for at, t := range p.trouble {
		if p.retries.At(t).IsZero() && !t.refused && now.Sub(t.last) > peace+lastWait {
			delete(p.trouble, at)
		}
	}
}

func (p *places) refused() (n int) {
	for _, t := range p.trouble {
		n += count(t.refused)
	}
	return n
}

// wanted is what should stand at a place now.
func (t *Table) wanted(at place, e *entry) *standing {
	switch e.want {
	case nil:
		return nil
	case protection:
		return unreachable
	}
	return t.links.usable(e.want, at.prefix.Addr().Is6())
}

// standingOf is what a route of ours amounts to.
func standingOf(r *kernelRoute) *standing {
	if r.kind == unix.RTN_UNREACHABLE {
		return unreachable
	}
	if r.kind != unix.RTN_UNICAST || len(r.hops) == 0 {
		return unknown
	}
	return &standing{hops: r.hops}
}
