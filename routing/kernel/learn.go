package kernel

import (
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Learned is the route that the kernel would use for a prefix if ours were not there: of those that others installed, over
// devices that are live, that of the best metric. Withdrawn says that there is none any more; only Prefix counts then.
type Learned struct {
	Prefix    netip.Prefix
	Device    string // of several hops over live devices the one with the lowest index, and its gateway
	Gateway   netip.Addr
	Metric    uint32
	Protocol  uint8 // RTPROT_*: 2 kernel, 3 boot, 4 static, 12 bird, ...
	Withdrawn bool
}

const (
	// learnTime is how long news wait for more, learnBatch how many are handed over at once.
	learnTime  = 2 * time.Millisecond
	learnBatch = 4096
)

// foreign is a route of others.
type foreign struct {
	metric   uint32
	protocol uint8
	hops     []hop // not empty, in the order of compareHops
}

type learned struct {
	routes []foreign
	told   Learned
	dirty  bool
}

// learner knows the routes of others. It belongs to the goroutine that reads.
type learner struct {
	prefixes map[netip.Prefix]*learned
	dirty    []netip.Prefix
}

func newLearner() learner { return learner{prefixes: map[netip.Prefix]*learned{}} }

// eligible says whether a route of others can be of use: unicast, beyond the link, not for some types of service only.
func (t *Table) eligible(r *kernelRoute) bool {
	a := r.prefix.Addr()
	return t.config.Learn != nil && r.table == t.config.TableID && r.kind == unix.RTN_UNICAST && r.tos == 0 &&
		r.flags&unix.RTM_F_CLONED == 0 && r.protocol != t.config.Protocol && len(r.hops) > 0 &&
		!a.IsLinkLocalUnicast() && !a.IsMulticast()
}

func (l *learner) touch(prefix netip.Prefix) *learned {
	p := l.prefixes[prefix]
	if p == nil {
		p = &learned{told: Learned{Withdrawn: true}}
		l.prefixes[prefix] = p
	}
	if !p.dirty {
		p.dirty = true
		l.dirty = append(l.dirty, prefix)
	}
	return p
}

// add takes a route up. IPv6 has one route per metric, whose notification has all hops; IPv4 may have several.
func (l *learner) add(r *kernelRoute, replace bool) {
	p := l.touch(r.prefix)
	n := foreign{metric: r.metric, protocol: r.protocol, hops: r.hops}
	i := slices.IndexFunc(p.routes, func(f foreign) bool {
		return f.metric == n.metric && (replace || r.prefix.Addr().Is6() || f.protocol == n.protocol && slices.Equal(f.hops, n.hops))
	})
	if i >= 0 {
		p.routes[i] = n
		return
	}
	p.routes = append(p.routes, n)
}

// drop takes a route out, or, where the notification has only some of the hops, these.
func (l *learner) drop(r *kernelRoute) {
	if l.prefixes[r.prefix] == nil {
		return
	}
	p := l.touch(r.prefix)
	i := slices.IndexFunc(p.routes, func(f foreign) bool {
		return f.metric == r.metric && f.protocol == r.protocol && (r.prefix.Addr().Is6() || slices.Equal(f.hops, r.hops))
	})
	if i < 0 {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(p.routes[i].hops), func(h hop) bool { return slices.Contains(r.hops, h) })
	if len(rest) == 0 {
		p.routes = slices.Delete(p.routes, i, i+1)
	} else {
		p.routes[i].hops = rest
	}
}

// displace takes out what a route has replaced that is not to be learned itself.
func (l *learner) displace(r *kernelRoute) {
	if l.prefixes[r.prefix] == nil {
		return
	}
	p := l.touch(r.prefix)
	if i := slices.IndexFunc(p.routes, func(f foreign) bool { return f.metric == r.metric }); i >= 0 {
		p.routes = slices.Delete(p.routes, i, i+1)
	}
}

// replaceAll takes up what a dump has shown.
func (l *learner) replaceAll(routes map[netip.Prefix][]foreign) {
	for prefix := range l.prefixes {
		l.touch(prefix).routes = nil
	}
	for prefix, list := range routes {
		l.touch(prefix).routes = list
	}
}

// device looks again at routes over a device whose state or name changed. The kernel removes IPv4 routes without a word if
// it is down.
func (l *learner) device(index int32, down bool) {
	over := func(h hop) bool { return h.index == index }
	for prefix, p := range l.prefixes {
		for i := len(p.routes) - 1; i >= 0; i-- {
			f := &p.routes[i]
			if !slices.ContainsFunc(f.hops, over) {
				continue
			}
			l.touch(prefix)
			if !down {
				continue
			}
			if f.hops = slices.DeleteFunc(slices.Clone(f.hops), over); len(f.hops) == 0 {
				p.routes = slices.Delete(p.routes, i, i+1)
			}
		}
	}
}

// tell hands over what changed.
func (l *learner) tell(links *links, to func([]Learned)) {
	for len(l.dirty) > 0 {
		n := min(len(l.dirty), learnBatch)
		batch := make([]Learned, 0, n)
		for _, prefix := range l.dirty[:n] {
			p := l.prefixes[prefix]
			p.dirty = false
			if now := p.best(prefix, links); now != p.told {
				batch = append(batch, now)
				p.told = now
			}
			if len(p.routes) == 0 {
				delete(l.prefixes, prefix)
			}
		}
		l.dirty = l.dirty[n:]
		if len(batch) > 0 {
			to(batch)
		}
	}
	l.dirty = nil
}

func (p *learned) best(prefix netip.Prefix, links *links) Learned {
	best := Learned{Prefix: prefix, Withdrawn: true}
	for _, f := range p.routes {
		if !best.Withdrawn && f.metric >= best.Metric {
			continue
		}
		for _, h := range f.hops {
			if device, ok := links.byIndex[h.index]; ok && device.live() {
				best = Learned{Prefix: prefix, Device: device.name, Gateway: h.gateway, Metric: f.metric, Protocol: f.protocol}
				break
			}
		}
	}
	return best
}
