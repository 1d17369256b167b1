package ike

import (
	"errors"
	"log/slog"
	"slices"
	"time"
)

// A peer is a configured peer: what shall be up with it, and what is.
type peer struct {
	e   *Endpoint
	cfg PeerConfig
	// sas are its IKE SAs that are established or that we initiate, oldest first; those that end are not in it.
	sas     []*ikeSA
	removed bool
	// parting counts the IKE SAs whose DELETE is out: the peer may still have them.
	parting int
	// tries counts the initiations that failed one after the other; want is what to initiate when retry is due.
	tries int
	want  []string
	retry timer
	tidy  timer
	// armed are the children for which a trap is set.
	armed map[string]bool
}

// begin does the start actions.
func (p *peer) begin() {
	var start []string
	for i := range p.cfg.Children {
		c := &p.cfg.Children[i]
		if c.Start {
			start = append(start, c.Name)
		}
		if c.Trap && !c.Start {
			p.arm(c.Name, true)
		}
	}
	if len(start) > 0 {
		p.initiate(start...)
	}
}

func (p *peer) childNames() []string {
	var names []string
	for i := range p.cfg.Children {
		names = append(names, p.cfg.Children[i].Name)
	}
	return names
}

func (p *peer) log(level slog.Level, err error, format string, args ...any) {
	p.e.log(level, p.cfg.Name, nil, err, format, args...)
}

// arm sets or removes a trap.
func (p *peer) arm(child string, on bool) {
	if p.armed[child] != on {
		p.armed[child] = on
		p.e.emit(Trap{Peer: p.cfg.Name, Child: child, On: on})
	}
}

// known says whether there is an IKE SA with the peer, so that an INITIAL_CONTACT would be a lie, or would have the peer forget
// what it is about to be told of, and not answer.
func (p *peer) known() bool {
	return p.parting > 0 || slices.ContainsFunc(p.sas, func(sa *ikeSA) bool { return sa.state == established })
}

// current is the IKE SA with which children are made: the newest that is established, else one that is being initiated.
func (p *peer) current() *ikeSA {
	var best *ikeSA
	for _, sa := range p.sas {
		if sa.alive() || best == nil || !best.alive() {
			best = sa
		}
	}
	return best
}

func (p *peer) liveChild(name string) *child {
	for _, sa := range p.sas {
		for _, c := range sa.children {
			if c.live() && c.is.Name == name {
				return c
			}
		}
	}
	return nil
}

func (p *peer) hasChild(name string) bool { return p.liveChild(name) != nil }

// sibling finds the child whose place a new one takes: of the same name, with the same peer.
func (p *peer) sibling(c *child) *child {
	for _, sa := range slices.Backward(p.sas) {
		for _, o := range sa.children {
			if o != c && o.live() && o.announced && o.is.Name == c.is.Name && sa.ids.remote.Equal(c.sa.ids.remote) {
				return o
			}
		}
	}
	return nil
}

// initiate brings children up that are not, with the IKE SA that there is or with a new one.
func (p *peer) initiate(names ...string) {
	if p.removed || p.cfg.template() {
		return
	}
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return p.cfg.child(name) == nil || p.hasChild(name) })
	if len(names) == 0 {
		return
	}
	sa := p.current()
	switch {
	case sa == nil:
		p.connect(names, nil)
	case !sa.alive():
		sa.hs.want(names...)
	default:
		for _, name := range names {
			cfg := p.cfg.child(name)
			if !sa.queued(func(r request) bool { q, ok := r.(*newChild); return ok && q.cfg == cfg }) {
				sa.enqueue(&newChild{cfg: cfg})
			}
		}
	}
}

// wantLater initiates after a while.
func (p *peer) wantLater(after time.Duration, names ...string) {
	if p.removed {
		return
	}
	for _, name := range names {
		p.want = appendNew(p.want, name)
	}
	at := p.e.now.Add(after)
	if p.retry.place != 0 && !p.retry.at.After(at) {
		return
	}
	p.e.timers.set(&p.retry, at, func() {
		want := p.want
		p.want = nil
		p.initiate(want...)
		for _, sa := range slices.Clone(p.sas) {
			sa.replace()
		}
	})
}

// failed is called when an initiation came to nothing: it is tried again, each time later, as often as the configuration says.
func (p *peer) failed(sa *ikeSA, reason error) {
	hs := sa.hs
	names := hs.wanted
	if hs.child != nil {
		p.e.cfg.SPIs.Release(hs.child.spi)
		names = append([]string{hs.child.cfg.Name}, names...)
		hs.child = nil
	}
	sa.log(slog.LevelWarn, reason, "initiating to %v failed", sa.path.Remote)
	p.e.emit(IKEDown{IKE: sa.info(), Reason: reason})
	if deliberate(reason) {
		return
	}
	if hs.reauth != nil {
		if old := hs.reauth.successor(); old.alive() {
			old.life.reauthAt = p.e.now.Add(p.backOff())
			p.e.timers.set(&old.life.reauth, old.life.reauthAt, old.reauthenticate)
			return
		}
	}
	p.tryAgain(names)
}

// deliberate says whether a reason is one of ours, so that nothing is to be restarted.
func deliberate(reason error) bool {
	for _, r := range []error{errTerminated, errRemoved, errStopped, errReplaced, errDuplicate, errRestarted} {
		if errors.Is(reason, r) {
			return true
		}
	}
	return false
}

// backOff is the time to the next try: twice as long as the last, and a little random.
func (p *peer) backOff() time.Duration {
	wait := p.e.cfg.RetryMin << min(max(p.tries-1, 0), 16)
	return p.e.jitter(min(wait, p.e.cfg.RetryMax) * 2 / 3)
}

func (p *peer) tryAgain(names []string) {
	p.tries++
	if p.cfg.KeyingTries > 0 && p.tries >= p.cfg.KeyingTries {
		p.log(slog.LevelError, nil, "gave up after %d tries", p.tries)
		p.tries = 0
		for _, name := range names {
			p.rearm(name)
		}
		return
	}
	for _, name := range names {
		p.rearm(name)
	}
	p.wantLater(p.backOff(), names...)
}

// rearm sets a child's trap again if it is configured and the child is not up.
func (p *peer) rearm(name string) {
	if c := p.cfg.child(name); c != nil && c.Trap && !p.removed && !p.hasChild(name) {
		p.armed[name] = false
		p.arm(name, true)
	}
}

func (p *peer) childUp(c *child) {
	p.arm(c.is.Name, false)
	c.sa.replace()
}

// childFailed is called when a child could not be made in an IKE SA that stays.
func (p *peer) childFailed(sa *ikeSA, name string, err error) {
	sa.log(slog.LevelWarn, err, "child %q could not be made", name)
	p.tryAgain([]string{name})
}

// childClosed does the close action of a child that ended by itself or by the peer.
func (p *peer) childClosed(c *child, reason error) { p.closed(c.cfg, reason) }

func (p *peer) closed(cfg *ChildConfig, reason error) {
	if !p.hasChild(cfg.Name) {
		p.act(cfg.CloseAction, cfg.Name, reason)
	}
}

// down does what is configured for children whose IKE SA ended.
func (p *peer) down(sa *ikeSA, children []*child, reason error) {
	sa.log(slog.LevelInfo, reason, "ended")
	for _, c := range children {
		switch {
		case p.hasChild(c.is.Name):
		case errors.Is(reason, errTimeout):
			p.act(c.cfg.DPDAction, c.is.Name, reason)
		case deliberate(reason):
			p.rearm(c.is.Name)
		default:
			p.act(c.cfg.CloseAction, c.is.Name, reason)
		}
	}
}

// act restarts or traps. A peer that ended what it had shall not be met with a storm.
func (p *peer) act(action CloseAction, name string, reason error) {
	switch {
	case p.removed || p.cfg.template():
	case action == ActionStart && errors.Is(reason, errTimeout):
		p.wantLater(0, name)
	case action == ActionStart:
		p.wantLater(p.backOff(), name)
	case action == ActionTrap:
		p.arm(name, true)
	default:
		p.rearm(name)
	}
}

// terminate ends a child, or all.
func (p *peer) terminate(name string) {
	if name != "" {
		p.want = slices.DeleteFunc(p.want, func(n string) bool { return n == name })
		for _, sa := range p.sas {
			if sa.alive() {
				sa.enqueue(&deleteChild{name: name, reason: errTerminated})
			} else if sa.hs != nil {
				sa.hs.wanted = slices.DeleteFunc(sa.hs.wanted, func(n string) bool { return n == name })
			}
		}
		return
	}
	p.want = nil
	p.e.timers.stop(&p.retry)
	for _, sa := range slices.Clone(p.sas) {
		sa.terminate(errTerminated)
	}
}

// rekey rekeys a child, or the IKE SAs.
func (p *peer) rekey(name string) {
	for _, sa := range slices.Clone(p.sas) {
		switch {
		case !sa.alive():
		case name == "":
			sa.rekeyNow()
		default:
			for _, c := range sa.children {
				if c.is.Name == name {
					c.rekeyNow()
				}
			}
		}
	}
}

// settle is called when an IKE SA and its first child are established: what it makes superfluous is to end.
func (p *peer) settle(sa *ikeSA, hs *handshake) {
	if hs.reauth != nil {
		hs.reauth.giveWay(sa, errReplaced)
	}
	for _, o := range slices.Clone(p.sas) {
		if o.state == initiating {
			o.overtaken()
		}
	}
	if len(p.sas) > 1 {
		p.tidyLater()
	}
}
