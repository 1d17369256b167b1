package ike

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// One IKE SA gives way to another with the same peer: after authenticating anew, and when both sides initiated at once.

// A replacement is an IKE SA that ends as soon as another one has all of its children.
type replacement struct {
	old    *ikeSA
	reason error
	timer  timer
}

// readyAfter is how long the children of an IKE SA have to become those of the one that takes its place.
const readyAfter = 30 * time.Second

// giveWay has another IKE SA take the place of this one. What cannot be made there within readyAfter is lost.
func (sa *ikeSA) giveWay(by *ikeSA, reason error) {
	e := sa.e
	r := &replacement{old: sa, reason: reason}
	by = by.successor()
	by.replaces = append(by.replaces, r)
	e.timers.set(&r.timer, e.now.Add(readyAfter), func() {
		if by.successor().alive() {
			r.old.successor().terminate(reason)
		}
	})
	by.replace()
}

// replace makes the children that are missing and ends what has none any more that are not here too.
func (sa *ikeSA) replace() {
	for _, r := range slices.Clone(sa.replaces) {
		old := r.old.successor()
		missing := slices.DeleteFunc(old.liveChildren(), sa.hasChild)
		if old.alive() && sa.alive() && len(missing) > 0 {
			for _, name := range missing {
				sa.makeAgain(name)
			}
			continue
		}
		sa.e.timers.stop(&r.timer)
		sa.replaces = slices.DeleteFunc(sa.replaces, func(o *replacement) bool { return o == r })
		if sa.alive() {
			old.terminate(r.reason)
		}
	}
}

// makeAgain asks for a child that another IKE SA has.
func (sa *ikeSA) makeAgain(name string) {
	cfg := sa.peer.cfg.child(name)
	if !sa.queued(func(r request) bool { q, ok := r.(*newChild); return ok && q.cfg == cfg }) {
		sa.enqueue(&newChild{cfg: cfg, again: true})
	}
}

// Where both sides begin at once, or one does not know of what the other has, there are two of what there should be one: two
// IKE SAs, or two child SAs of one configuration. They work, so there is no haste: once both sides must have come to rest, that
// with the lower SPIs gives way to the other, and who made it sees to that. So both sides agree on it in whatever order they saw
// the two.

// before says whether an IKE SA was up before another one was begun, so that both sides know which is the older.
func (sa *ikeSA) before(o *ikeSA) bool { return sa != o && sa.life.authenticated.Before(o.life.born) }

// tidyAfter is how long SAs are left alone after they were made; an IKE SA that was begun while another was up, since it is to
// replace that, for as long as this may take.
const tidyAfter = 5 * time.Second

// tidyLater looks for what there is twice, as soon as that is at rest.
func (p *peer) tidyLater() {
	if p.tidy.place == 0 && !p.removed {
		p.e.timers.set(&p.tidy, p.e.now.Add(tidyAfter), p.tidyUp)
	}
}

func (p *peer) tidyUp() {
	twice := false
	sas := slices.Clone(p.sas)
	for i, a := range sas {
		for _, b := range sas[:i] {
			if a.alive() && b.alive() && !p.cfg.template() && a.ids.remote.Equal(b.ids.remote) {
				twice = true
				a.tidy(b)
			}
		}
	}
	for _, sa := range sas {
		for i, c := range sa.children {
			for _, o := range sa.children[:i] {
				if c.live() && o.live() && c.cfg == o.cfg {
					twice = true
					c.tidy(o)
				}
			}
		}
	}
	if twice {
		p.tidyLater()
	}
}

// tidy ends one of two IKE SAs with the same peer, if it is ours to do that.
func (sa *ikeSA) tidy(o *ikeSA) {
	wait := tidyAfter
	if sa.before(o) || o.before(sa) {
		wait += readyAfter
	}
	rests := func(sa *ikeSA) bool {
		return sa.swap.ours == nil && sa.swap.theirs == nil && len(sa.replaces) == 0 && sa.e.now.Sub(sa.life.established) >= wait
	}
	if !rests(sa) || !rests(o) {
		return
	}
	order := cmp.Or(cmp.Compare(sa.spi.Initiator, o.spi.Initiator), cmp.Compare(sa.spi.Responder, o.spi.Responder))
	if order > 0 {
		sa, o = o, sa
	}
	if sa.initiator {
		sa.giveWay(o, errDuplicate)
	}
}

// tidy deletes one of two child SAs of the same configuration, if it is ours to do that.
func (c *child) tidy(o *child) {
	rests := func(c *child) bool {
		return c.rekey == nil && c.theirs == nil && c.sa.e.now.Sub(c.born) >= tidyAfter
	}
	if !rests(c) || !rests(o) {
		return
	}
	if cmp.Or(cmp.Compare(max(c.is.In, c.is.Out), max(o.is.In, o.is.Out)), cmp.Compare(min(c.is.In, c.is.Out), min(o.is.In, o.is.Out))) > 0 {
		c, o = o, c
	}
	if c.is.ByUs {
		c.become(redundant, errDuplicate)
		c.sa.enqueue(&deleteChild{child: c, reason: errDuplicate})
	}
}

// successor is what an IKE SA has become by rekeying.
func (sa *ikeSA) successor() *ikeSA {
	for sa.swap.heir != nil {
		sa = sa.swap.heir
	}
	return sa
}

// errEarly is what ends a child that the peer deleted before we knew that it was made.
var errEarly = errors.New("the peer deleted it at once")
