package kernel

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/warrenvpn/warren/internal/deadline"
)

// watch reads notifications until the context ends.
func (t *Table) watch(ctx context.Context) error {
	stop := context.AfterFunc(ctx, t.notices.close)
	defer stop()
	t.tell()
	close(t.synced)
	var flush time.Time // when the learned is told, zero if there is nothing
	for {
		datagram, err := t.notices.receive(deadline.Earliest(flush, t.resync.due))
		now := time.Now()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, errOverrun):
			t.resync.soon(now, 0)
		case errors.Is(err, os.ErrDeadlineExceeded):
		case err != nil:
			return err
		default:
			for m, rest, ok := next(datagram); ok; m, rest, ok = next(rest) {
				t.notice(m, now)
			}
		}
		if !t.resync.due.IsZero() && !now.Before(t.resync.due) {
			t.again(now)
		}
		switch {
		case len(t.learner.dirty) == 0:
			flush = time.Time{}
		case flush.IsZero():
			flush = now.Add(learnTime)
		case !now.Before(flush) || len(t.learner.dirty) >= learnBatch:
			t.tell()
			flush = time.Time{}
		}
	}
}

// tell is free of the lock: only this goroutine changes the links.
func (t *Table) tell() {
	if t.config.Learn != nil {
		t.learner.tell(&t.links, t.config.Learn)
	}
}

func (t *Table) notice(m message, now time.Time) {
	switch m.kind {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		r, ok := parseRoute(m.body)
		if !ok || r.table != t.config.TableID || r.flags&unix.RTM_F_CLONED != 0 || r.tos != 0 {
			return
		}
		t.news(m, &r)
		if m.port == t.loud.port {
			return
		}
		t.mu.Lock()
		t.touched(m, &r, now)
		t.mu.Unlock()
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		if l, ok := parseLink(m.body); ok {
			t.link(l, m.kind == unix.RTM_DELLINK, now)
		}
	case unix.RTM_DELADDR:
		t.resync.soon(now, resyncPause)
	}
}

// news takes up what concerns routes of others.
func (t *Table) news(m message, r *kernelRoute) {
	replace := m.kind == unix.RTM_NEWROUTE && m.flags&unix.NLM_F_REPLACE != 0
	switch eligible := t.eligible(r); {
	case eligible && m.kind == unix.RTM_NEWROUTE:
		t.learner.add(r, replace)
	case eligible:
		t.learner.drop(r)
	case replace:
		t.learner.displace(r)
	}
}

// touched looks whether somebody else's change concerns a route of ours. It is called with mu held.
func (t *Table) touched(m message, r *kernelRoute, now time.Time) {
	at := place{r.prefix, r.metric}
	ours := r.protocol == t.config.Protocol
	e := t.places.entries[at]
	if e != nil && e.flying {
		// What came first is not known.
		e.disturbed = e.disturbed || ours || m.flags&unix.NLM_F_REPLACE != 0
		return
	}
	switch {
	case ours && m.kind == unix.RTM_NEWROUTE:
		e = t.places.at(at)
		stands := standingOf(r)
		if stands.same(e.have) {
			return
		}
		t.places.setHave(e, stands)
	case ours && e != nil && e.have != nil:
		// Of an IPv6 route with several hops one may have gone. Then the place is still ours, whatever stands.
		e.held = len(r.hops) < len(e.have.hops)
		t.places.setHave(e, nil)
	case !ours && m.kind == unix.RTM_NEWROUTE && m.flags&unix.NLM_F_REPLACE != 0 && e != nil && e.have != nil:
		e.held = true
		t.places.setHave(e, nil)
	default:
		return
	}
	if e.want != nil {
		t.stats.Lost++
	}
	if e.want != nil || t.settled {
		t.places.postpone(at, now, false)
		t.wakeWriter()
	}
}

// link takes up that a device came, went, or changed.
func (t *Table) link(l link, gone bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.links.byIndex[l.index]
	changed := false
	if gone {
		changed = t.links.remove(l.index)
	} else {
		changed = t.links.put(l)
	}
	if !changed {
		return
	}
	down := gone || l.flags&unix.IFF_UP == 0
	t.learner.device(l.index, down)
	t.reconsider(l, old.name, down)
	t.resync.soon(now, resyncPause)
}

// reconsider queues our routes over a device. What stands is unknown if it is down.
func (t *Table) reconsider(l link, oldName string, down bool) {
	over := func(h Hop) bool {
		return h.Device == "" && h.Index == int(l.index) || h.Device != "" && (h.Device == l.name || h.Device == oldName)
	}
	sets := map[*hopSet]bool{}
	for _, set := range t.sets.sets {
		if slices.ContainsFunc(set.hops, over) {
			sets[set] = true
		}
	}
	if len(sets) == 0 {
		return
	}
	for at, e := range t.places.entries {
		if !sets[e.want] {
			continue
		}
		if down && e.have != nil {
			e.held = true
			t.places.setHave(e, unknown)
		}
		e.disturbed = e.flying
		t.places.push(at, e)
	}
	t.wakeWriter()
}
