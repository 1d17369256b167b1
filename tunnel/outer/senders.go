package outer

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/warrenvpn/warren/dataplane"
)

// Senders finds the tunnels that may have sent what an ICMP error quotes, by the number that stands in front of their frames:
// ESP's SPI, WireGuard's receiver index. The peers choose it, so two tunnels may have the same. The zero value is empty.
type Senders[T Sender] struct {
	mu sync.Mutex
	of map[uint32][]T
}

// Sender is a tunnel that knows where its frames go; nil is nowhere.
type Sender interface {
	comparable
	Path() *dataplane.Path
}

// Add records that a tunnel seals with a number.
func (s *Senders[T]) Add(number uint32, t T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[uint32][]T{}
	}
	s.of[number] = append(s.of[number], t)
}

// Remove undoes one Add.
func (s *Senders[T]) Remove(number uint32, t T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ts := s.of[number]
	i := slices.Index(ts, t)
	switch {
	case i < 0:
	case len(ts) == 1:
		delete(s.of, number)
	default:
		s.of[number] = slices.Delete(ts, i, i+1)
	}
}

// Quoted returns the tunnels whose frame an ICMP error may quote: they seal with that number, and what they send goes where the
// error says it went (RFC 4301 section 8.2.1).
func (s *Senders[T]) Quoted(number uint32, u dataplane.Underlay, e *dataplane.PathError) []T {
	s.mu.Lock()
	candidates := slices.Clone(s.of[number])
	s.mu.Unlock()
	return going(candidates, u, e.Remote.Addr())
}

// Towards returns the tunnels whose frames go through an underlay to an address: those that an error speaks of which the system itself
// reports. A tunnel with several numbers comes several times.
func (s *Senders[T]) Towards(u dataplane.Underlay, to netip.Addr) []T {
	s.mu.Lock()
	var all []T
	for _, ts := range s.of {
		all = append(all, ts...)
	}
	s.mu.Unlock()
	return going(all, u, to)
}

// going keeps of the tunnels those whose frames go there.
func going[T Sender](candidates []T, u dataplane.Underlay, to netip.Addr) []T {
	return slices.DeleteFunc(candidates, func(t T) bool {
		p := t.Path()
		return p == nil || p.Underlay != u || p.Remote.Addr() != to
	})
}
