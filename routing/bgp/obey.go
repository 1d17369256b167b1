package bgp

import (
	"log/slog"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// obey carries out what the machine wants.
func (p *peer) obey() {
	for _, a := range p.machine.Actions() {
		switch a := a.(type) {
		case Dial:
			p.dial(a.Conn)
		case Send:
			if l := p.links[a.Conn]; l != nil {
				l.send(a.Data)
			}
		case Close:
			p.close(a.Conn)
		case StateChange:
			p.shown.change(a)
			p.log.Debug("state", "from", a.From, "to", a.To, "why", a.Why)
		case Up:
			p.up(a)
		case Down:
			p.down(a)
		case Refresh:
			if p.session != nil && p.session.out != nil {
				p.session.out.refresh(a.Family)
			}
		case EndOfRIB:
			p.flush()
			p.tell(delivery{kind: deliverEndOfRIB, family: a.Family})
		case Sweep:
			p.flush()
			p.tell(delivery{kind: deliverSweep, family: a.Family})
			p.stale &^= message.FamiliesOf(a.Family)
		case Learned:
			p.learned(a.Update)
		case Warning:
			p.log.Warn("session", "warning", a.Err)
		}
	}
}

func (p *peer) close(id ConnID) {
	if cancel := p.dials[id]; cancel != nil {
		cancel()
		delete(p.dials, id)
	}
	if l := p.links[id]; l != nil {
		delete(p.links, id)
		l.drop()
	}
}

// up begins a session. The neighbour's identity among the routes stays the same as long as it can, so that what is stale is
// replaced and not doubled.
func (p *peer) up(a Up) {
	l, n := p.links[a.Conn], p.neighbor
	local, remote := l.addrs()
	now := route.Peer{Source: route.BGP, Name: n.Name, Address: n.Address.WithZone(""), RouterID: a.Negotiated.Open.RouterID, AS: n.AS,
		IBGP: n.IBGP(p.config.Local)}
	if p.peer == nil || *p.peer != now {
		for _, f := range p.stale.List() {
			p.tell(delivery{kind: deliverSweep, family: f})
		}
		p.peer, p.stale = &now, 0
	}
	p.session = &Session{Neighbor: n, Peer: p.peer, Negotiated: a.Negotiated, Local: local, Remote: remote}
	x := newExporter(p.config.Local, n, p.peer, a.Negotiated, local)
	p.session.out = newAdjOut(x, a.Negotiated, n.Exports)
	if err := x.missing(a.Negotiated.Families); err != nil && n.Exports {
		p.log.Warn("session", "warning", err)
	}
	p.session.out.wake = l.poke
	p.interned, p.complained = newInterner(), false
	l.attach(p.session.out)
	p.log.Info("established", "hold_time", a.Negotiated.Hold, "families", a.Negotiated.Families)
	p.shown.up(p.session)
	p.tell(delivery{kind: deliverUp})
}

func (p *peer) down(a Down) {
	p.flush()
	p.log.Info("down", "why", a.Why)
	p.shown.down()
	p.stale = a.Stale
	p.tell(delivery{kind: deliverDown, stale: a.Stale, why: a.Why})
	p.session, p.interned = nil, nil
}

// learned adds an UPDATE to the batch. Announcements that we must not use replace what the neighbour announced before by
// nothing (RFC 4271 section 9.1.2).
func (p *peer) learned(u *message.Update) {
	p.counters.updatesIn.Add(1)
	if u.Treatment == message.TreatAsWithdraw {
		p.counters.withdrawnAs.Add(1)
	}
	if u.Treatment != message.Accepted {
		level := slog.LevelWarn
		if p.complained { // the log is ours, not the neighbour's
			level = slog.LevelDebug
		}
		p.complained = true
		p.log.Log(p.dialing, level, "malformed UPDATE", "treatment", u.Treatment, "problem", u.Problem)
	}
	if p.batch == nil {
		p.batch = (*p.pools.batches.Get().(*[]Route))[:0]
	}
	for _, prefix := range u.Withdrawn {
		p.batch = append(p.batch, Route{Prefix: prefix})
	}
	kept := false
	for _, reach := range u.Reach {
		attrs := reach.Attrs
		if p.ours(attrs) {
			p.counters.looped.Add(1)
			attrs = nil
		} else {
			attrs = p.interned.intern(attrs)
			kept = kept || attrs == reach.Attrs
		}
		for _, prefix := range reach.Prefixes {
			p.batch = append(p.batch, Route{prefix, attrs})
		}
	}
	if !kept {
		u.Unused()
	}
}

// ours says whether a route leads back to us: our AS is in its path, our address is its next hop, or we originated it
// (RFC 4271 sections 9.1.2 and 5.1.3, RFC 4456 section 8).
func (p *peer) ours(a *route.Attrs) bool {
	l := p.config.Local
	if a.Contains(l.AS) || p.neighbor.LocalAS != 0 && a.Contains(p.neighbor.LocalAS) {
		return true
	}
	if a.OriginatorID.Is4() && a.OriginatorID == routerID(l.RouterID) {
		return true
	}
	return p.session != nil && a.NextHop.IsValid() && a.NextHop == p.session.Local.WithZone("")
}
