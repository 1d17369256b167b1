package kernel

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// resyncPause is how long a dump waits for what else happens when a device changes.
	resyncPause = 500 * time.Millisecond
	// dumpShare is how many times as long as a dump took nothing is dumped after it.
	dumpShare = 4
	// dumpTries is how often a dump is repeated that the table's changes interrupted.
	dumpTries = 3
)

// resync says when the table is to be dumped again.
type resync struct {
	due      time.Time // zero: no need
	earliest time.Time
}

func (r *resync) soon(now time.Time, after time.Duration) {
	due := now.Add(after)
	if due.Before(r.earliest) {
		due = r.earliest
	}
	if r.due.IsZero() || due.Before(r.due) {
		r.due = due
	}
}

// again dumps the table when notifications do not tell all.
func (t *Table) again(now time.Time) {
	t.resync.due = time.Time{}
	err := t.readAll()
	end := time.Now()
	t.resync.earliest = end.Add(end.Sub(now) * dumpShare)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stats.Resyncs++
	if err != nil {
		t.stats.LastError = fmt.Sprintf("read the kernel's routes: %v", err)
		t.resync.soon(end, resyncPause)
	}
	t.wakeWriter()
}

// readAll reads links and routes. The writer waits meanwhile.
func (t *Table) readAll() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.readLinks(); err != nil {
		return err
	}
	for try := 1; ; try++ {
		interrupted, err := t.readRoutes()
		switch {
		case err != nil:
			return err
		case !interrupted:
			return nil
		case try == dumpTries:
			t.resync.soon(time.Now(), resyncPause)
			return nil
		}
	}
}

func (t *Table) readLinks() error {
	present := map[int32]bool{}
	_, err := t.request(unix.RTM_GETLINK, unix.AF_UNSPEC, func(m message) {
		l, ok := parseLink(m.body)
		if !ok || m.kind != unix.RTM_NEWLINK {
			return
		}
		present[l.index] = true
		old := t.links.byIndex[l.index]
		if t.links.put(l) {
			down := l.flags&unix.IFF_UP == 0
			t.learner.device(l.index, down)
			t.reconsider(l, old.name, down)
		}
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for index, l := range t.links.byIndex {
		if !present[index] {
			t.links.remove(index)
			t.learner.device(index, true)
			t.reconsider(l, l.name, true)
		}
	}
	return nil
}

func (t *Table) readRoutes() (interrupted bool, err error) {
	t.mu.Lock()
	t.dump++
	t.mu.Unlock()
	others := map[netip.Prefix][]foreign{}
	now := time.Now()
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		again, err := t.request(unix.RTM_GETROUTE, family, func(m message) {
			r, ok := parseRoute(m.body)
			if !ok || m.kind != unix.RTM_NEWROUTE || r.table != t.config.TableID || r.flags&unix.RTM_F_CLONED != 0 || r.tos != 0 {
				return
			}
			if t.eligible(&r) {
				others[r.prefix] = append(others[r.prefix], foreign{metric: r.metric, protocol: r.protocol, hops: r.hops})
			}
			if r.protocol == t.config.Protocol {
				t.found(&r, now)
			}
		})
		if err != nil {
			return false, err
		}
		interrupted = interrupted || again
	}
	if interrupted {
		return true, nil
	}
	t.learner.replaceAll(others)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.missing(now)
	return false, nil
}

// found takes up a route of ours that a dump shows. It is called with mu held.
func (t *Table) found(r *kernelRoute, now time.Time) {
	at := place{r.prefix, r.metric}
	e := t.places.at(at)
	e.seen, e.held = t.dump, false
	stands, want := standingOf(r), t.wanted(at, e)
	switch {
	case stands.same(e.have):
		stands = e.have
	case stands.same(want):
		stands = want
	case e.want != nil && e.have != nil && e.have != unknown:
		t.stats.Lost++
		t.places.setHave(e, stands)
		t.places.postpone(at, now, false)
		return
	}
	t.places.setHave(e, stands)
	if !stands.same(want) && (e.want != nil || t.settled) {
		t.places.push(at, e)
	}
}

// missing takes up what a dump did not show. It is called with mu held.
func (t *Table) missing(now time.Time) {
	for at, e := range t.places.entries {
		if e.have == nil || e.seen == t.dump {
			continue
		}
		// Somebody may have replaced it; it was ours.
		e.held = e.want != nil
		known := e.have != unknown
		t.places.setHave(e, nil)
		switch {
		case e.want == nil:
			t.places.forget(at, e)
		case known && t.wanted(at, e) != nil:
			t.stats.Lost++
			t.places.postpone(at, now, false)
		default:
			t.places.push(at, e)
		}
	}
}

// request dumps routes or links; each is called with mu held. It is called with writing held.
func (t *Table) request(command uint16, family uint8, each func(message)) (interrupted bool, err error) {
	s := t.commands
	t.seq++
	seq := t.seq
	if err := s.send(appendDump(nil, command, family, seq)); err != nil {
		return false, err
	}
	for {
		datagram, err := s.receive(time.Now().Add(answerTime))
		if err != nil {
			return false, err
		}
		t.mu.Lock()
		for m, rest, ok := next(datagram); ok; m, rest, ok = next(rest) {
			switch {
			case m.seq != seq:
			case m.kind == unix.NLMSG_DONE:
				t.mu.Unlock()
				return interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0, nil
			case m.kind == unix.NLMSG_ERROR:
				t.mu.Unlock()
				number, _ := parseError(m)
				return false, fmt.Errorf("dump: %w", number)
			default:
				interrupted = interrupted || m.flags&unix.NLM_F_DUMP_INTR != 0
				each(m)
			}
		}
		t.mu.Unlock()
	}
}
