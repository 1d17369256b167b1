package bgp

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"

	"github.com/warrenvpn/warren/routing/bgp/message"
	"github.com/warrenvpn/warren/routing/route"
)

// memTable is a Table that announces what it was given, and keeps what each neighbour announces.
type memTable struct {
	own []Change

	mu       sync.Mutex
	sessions map[string]*Session
	routes   map[string]map[netip.Prefix]memRoute
	log      []string
	slow     chan struct{} // if not nil, Update waits for it
}

type memRoute struct {
	attrs *route.Attrs
	stale bool
}

func newMemTable(own ...Change) *memTable {
	return &memTable{own: own, sessions: map[string]*Session{}, routes: map[string]map[netip.Prefix]memRoute{}}
}

func (m *memTable) Established(s *Session) {
	m.mu.Lock()
	if m.sessions[s.Peer.Name] != nil {
		panic("a second session of " + s.Peer.Name)
	}
	m.sessions[s.Peer.Name] = s
	if m.routes[s.Peer.Name] == nil {
		m.routes[s.Peer.Name] = map[netip.Prefix]memRoute{}
	}
	m.log = append(m.log, "up "+s.Peer.Name)
	own := m.own
	m.mu.Unlock()
	s.Advertise(own)
	s.EndOfRIB()
}

func (m *memTable) Update(s *Session, routes []Route) (c Counts) {
	m.mu.Lock()
	slow := m.slow
	m.mu.Unlock()
	if slow != nil {
		<-slow
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	table := m.routes[s.Peer.Name]
	for _, r := range routes {
		if r.Attrs == nil {
			delete(table, r.Prefix)
		} else {
			table[r.Prefix] = memRoute{attrs: r.Attrs}
		}
	}
	return countsOf(table)
}

func countsOf(table map[netip.Prefix]memRoute) (c Counts) {
	for p := range table {
		if p.Addr().Is4() {
			c.IPv4++
		} else {
			c.IPv6++
		}
	}
	return c
}

func (m *memTable) EndOfRIB(s *Session, f message.Family) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, fmt.Sprintf("end of %v", f))
}

func (m *memTable) Sweep(peer *route.Peer, f message.Family) Counts {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.routes[peer.Name], func(p netip.Prefix, r memRoute) bool {
		return r.stale && message.FamilyOf(p.Addr()) == f
	})
	m.log = append(m.log, fmt.Sprintf("sweep %v", f))
	return countsOf(m.routes[peer.Name])
}

func (m *memTable) Down(s *Session, stale message.Families, why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.sessions, s.Peer.Name)
	for p, r := range m.routes[s.Peer.Name] {
		if stale.Has(message.FamilyOf(p.Addr())) {
			m.routes[s.Peer.Name][p] = memRoute{r.attrs, true}
		} else {
			delete(m.routes[s.Peer.Name], p)
		}
	}
	m.log = append(m.log, fmt.Sprintf("down %s: %v", s.Peer.Name, why))
}

// count is how many prefixes of a neighbour are there, and how many of these are stale.
func (m *memTable) count(name string) (n, stale int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.routes[name] {
		n++
		if r.stale {
			stale++
		}
	}
	return n, stale
}

func (m *memTable) saw(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Contains(strings.Join(m.log, "\n"), text)
}

// advertise tells all sessions.
func (m *memTable) advertise(changes ...Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		s.Advertise(changes)
	}
}
